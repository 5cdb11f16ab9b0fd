"""The tab of review through FiftyOne's registry and context: many at once, one by one, undone."""

from __future__ import annotations

import base64
import io
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.tasks import sources
from tests.operators.test_panel import Sent, send

TAB = {"tab": "review"}


@pytest.fixture
def answered(dataset_name: str) -> fo.Dataset:
    dataset = sources.sample_faces(dataset_name)
    facevlm.apply(dataset, "demo", ["gender", "race5"], progress=False)
    return dataset


def state(**choices: Any) -> dict[str, Any]:
    return {**TAB, "review": {"attribute": "race5", **choices}}


def buttons(sent: Sent, row: str = "decide") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = sent.panel[row]["type"]["properties"]
    return {name: one["view"] for name, one in found.items()}


def patched(sent: Sent) -> dict[str, Any]:
    """What the event changed in the panel's state."""
    changed: dict[str, Any] = {}
    for one in sent.params("patch_panel_state"):
        changed |= one["state"]
    return changed


def test_the_tab_needs_no_evaluation(answered: fo.Dataset) -> None:
    begun = send(answered, "on_load")
    assert "no evaluation yet" in begun.text
    assert "Review" in begun.text
    shown = send(answered, "on_load", state())
    queue = facevlm.review(answered, "race5").queue()
    assert "96 to go" in shown.panel["asked"]["default"]
    assert f"Perceived by the model: **{queue[0].said} " in shown.panel["asked"]["default"]
    address = shown.panel[f"picture_{queue[0].id}"]["default"]
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert (picture.format, max(picture.size) <= 320) == ("JPEG", True)
    labels = {f"label_{k}" for k in range(1, 6)}
    assert set(buttons(shown)) == {"approve", *labels, "unclear", "discard", "skip", "undo"}


def test_many_are_approved_once_it_is_agreed(answered: fo.Dataset) -> None:
    split = facevlm.review(answered, "race5").split(0.8)
    begun = state() | {"sure": {"threshold": 0.8}}
    shown = send(answered, "on_load", begun)
    assert f"**{split.sure} of 96** waiting faces at or above 0.80" in shown.panel["sure_said"]["default"]
    asked = send(answered, "on_approve_many", begun)
    text = f"Approve {split.sure} answers of at least 0.80 into 'race5_reviewed'?"
    assert text in asked.text
    assert "race5_reviewed" not in answered.get_field_schema()

    def pending(n: int) -> dict[str, Any]:
        return begun | {"approving": {"n": n, "threshold": 0.8}}

    assert f"It is {split.sure} faces by now." in send(answered, "on_approve_agreed", pending(split.sure - 1)).said
    assert send(answered, "on_approve_cancelled", pending(split.sure)).said == ""
    done = send(answered, "on_approve_agreed", pending(split.sure))
    assert f"{split.sure} written to 'race5_reviewed'." in done.said
    assert answered.count("race5_reviewed.label") == split.sure
    assert f"{96 - split.sure} to go" in done.panel["asked"]["default"]


def test_one_by_one_and_undone(answered: fo.Dataset) -> None:
    shown = send(answered, "on_load", state(by="Ada"))
    params = buttons(shown)["label_2"]["params"]
    done = send(answered, "on_decide", state(by="Ada"), params=params)
    assert "95 to go" in done.panel["asked"]["default"]
    label = answered[params["face"]].race5_reviewed
    assert (label.label, label.reviewed_by, label.chosen) == ("Black", "Ada", "unsure")
    acts = patched(done)["acts"]
    # The same click again: the face does not stand any more as it was shown.
    again = send(answered, "on_decide", state(by="Bob"), params=params)
    assert "Ada decided 'changed'" in again.said
    undone = send(answered, "on_undo_decision", state() | {"acts": acts})
    assert "1 undone" in undone.said
    assert answered.count("race5_reviewed.label") == 0
    assert "Nothing was decided in this panel yet" in send(answered, "on_undo_decision", state()).said


def test_a_grid_of_one_label_is_decided_at_once(answered: fo.Dataset) -> None:
    shown = send(answered, "on_show_queue", state(label="White"))
    view = shown.view
    assert set(view.values("demo_race5.label")) == {"White"}
    sure = view.values("demo_race5.confidence")
    assert sure == sorted(sure)
    chosen = view.values("id")[:5]
    kept = state(label="White") | {"in_grid": patched(shown)["in_grid"]}
    drawn = send(answered, "on_change_selected", kept, selected=chosen)
    assert "Approve 5 selected" in drawn.text
    params = buttons(drawn)["approve"]["params"]
    done = send(answered, "on_decide", kept, params=params, selected=chosen)
    assert "5 written" in done.said
    assert answered.count_values("race5_reviewed.label") == {"White": 5, None: 91}


def test_groups_order_and_progress(answered: fo.Dataset) -> None:
    assert "Choose a field under 'Groups by' first" in send(answered, "on_load", state(order="groups")).text
    shown = send(answered, "on_load", state(order="groups", groups="gender"))
    assert "unsure faces of the groups that lack most" in shown.panel["asked"]["default"]
    assert "| Male |" in shown.panel["progress_table"]["default"]
    drawn = send(answered, "on_load", state(order="random"))
    assert "96 to go" in drawn.panel["asked"]["default"]


def test_what_cannot_be_reviewed_is_said(dataset_name: str, answered: fo.Dataset) -> None:
    opened = send(answered, "on_open_face", state(), params={"sample": answered.first().id})
    assert opened.params("open_sample") == [{"id": answered.first().id, "group_id": None}]
    facevlm.review(answered, "race5").approve(0.5)
    locked = answered.get_field("race5_reviewed")
    locked.read_only = True
    locked.save()
    assert "is read-only" in send(answered, "on_load", state()).text
    none = fo.Dataset(f"{dataset_name}-none")
    try:
        none.add_sample(answered.first().copy())
        none.delete_sample_fields(["demo_race5", "demo_gender"])
        assert "There are no predictions to review" in send(none, "on_load", TAB).text
    finally:
        none.delete()


def test_answers_of_two_runs_are_chosen_between(answered: fo.Dataset) -> None:
    words = {"race5": "which race does the person in the image seem to be?"}
    facevlm.apply(answered[:10], "demo", ["race5"], prompts=words, overwrite=True, progress=False)
    shown = send(answered, "on_load", state())
    assert "Whose answers" in shown.text
    assert "86 to go" in shown.panel["asked"]["default"]
