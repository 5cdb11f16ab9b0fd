"""What explains a part of the differences, and which labels are still possible: in the form and in the panel."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest
from fiftyone.operators.executor import ExecutionError

import facevlm
from facevlm.reports import adjusting, calibrated
from facevlm.store import inspection
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task
from tests.operators.test_panel import send
from tests.operators.test_verbs import URI, errors, execute, form, says

EVALUATE = URI + "evaluate_face_attributes"


@pytest.fixture
def asked(dataset_name: str) -> fo.Dataset:
    """The sample faces with answers about gender, in bright and dim light."""
    made = sources_task.sample_faces(dataset_name)
    facevlm.apply(made, "demo", ["gender"], progress=False)
    made.set_values("light", [["bright", "dim"][k % 2] for k in range(len(made))])
    made.set_values("band", [["young", "old"][k % 3 == 0] for k in range(len(made))])
    return made


def offered(prop: dict[str, Any]) -> set[str]:
    return {choice["value"] for choice in prop["view"]["choices"]}


def shown(text: str) -> str:
    return text.replace("\\", "")


def test_the_form_offers_what_is_not_grouped_by(asked: fo.Dataset) -> None:
    usual = form(EVALUATE, asked)
    assert {"light", "band", "gender"} <= offered(usual["adjust"])
    assert not usual["adjust"]["required"]
    grouped = form(EVALUATE, asked, groups=["light"], adjust=["band"])
    assert errors(grouped) == {}
    assert offered(grouped["adjust"]) == offered(usual["adjust"]) - {"light"}


@pytest.mark.parametrize(
    ("adjust", "said"),
    [
        (["nowhere"], "Field to adjust by 'nowhere'"),
        (["light"], "Got 'light' both to group by and to adjust by"),
    ],
)
def test_what_cannot_be_adjusted_by_is_said_at_the_field(asked: fo.Dataset, adjust: list[str], said: str) -> None:
    params = {"groups": ["light"], "adjust": adjust}
    told = errors(form(EVALUATE, asked, **params))["adjust"]
    # The form reads the field as one of groups.
    assert shown(told).startswith(said) or f"'{adjust[0]}'" in shown(told)
    with pytest.raises(ExecutionError, match=adjust[0]):
        execute(EVALUATE, asked, **params)
    assert asked.list_evaluations() == []


def test_what_the_form_says_is_adjusted_and_stands_in_the_panel(asked: fo.Dataset) -> None:
    execute(EVALUATE, asked, groups=["light"], adjust=["band"])
    stored = results_store.load(asked, "demo_eval")
    assert stored["adjust"] == ["band"]
    (table,) = inspection.figures_of(stored, "gender")["groups"]
    held = adjusting.table_of(table)
    assert [row.cells[0].shown for row in held.rows] == ["bright", "dim"]
    gaps = shown(send(asked, "on_load", {"tab": "groups"}).panel["gaps"]["default"])
    assert f"**{held.title}**" in gaps
    for row in held.rows:
        assert f"| {' | '.join(cell.shown for cell in row.cells)} |" in gaps
    assert all(sentence in gaps for sentence in adjusting.sentences(table))


def test_without_a_field_to_adjust_by_the_panel_has_no_such_table(asked: fo.Dataset) -> None:
    execute(EVALUATE, asked, groups=["light"])
    assert "adjusted" not in send(asked, "on_load", {"tab": "groups"}).panel["gaps"]["default"]


def test_label_sets_are_behind_a_box_and_stand_in_the_panel(asked: fo.Dataset) -> None:
    assert "sets" not in form(EVALUATE, asked)
    assert errors(form(EVALUATE, asked, advanced=True, sets=0.9)) == {}
    wrong = errors(form(EVALUATE, asked, advanced=True, sets=90.0))["sets"]
    assert "expected a share from 0.5 to 0.99" in shown(wrong)
    with pytest.raises(ExecutionError, match="expected a share from"):
        execute(EVALUATE, asked, advanced=True, sets=90.0)
    execute(EVALUATE, asked, groups=["light"], advanced=True, sets=0.9)
    confidence = inspection.figures_of(results_store.load(asked, "demo_eval"), "gender")["confidence"]
    table = calibrated.label_sets(confidence)
    assert table is not None
    drawn = send(asked, "on_load", {"tab": "confidence"}).panel
    (sentence,) = calibrated.sets_told(confidence)
    assert says({"view": {"label": drawn["sets_said_0"]["default"]}}) == sentence
    assert table.rows[0].cells[4].shown in drawn["label_sets"]["default"]
    execute(EVALUATE, asked, groups=["light"])
    assert "label_sets" not in send(asked, "on_load", {"tab": "confidence"}).panel


@pytest.mark.parametrize("verb", ["evaluate_face_attributes", "compare_face_attribute_runs"])
def test_faces_that_go_together_are_named_in_the_form(asked: fo.Dataset, verb: str) -> None:
    facevlm.apply(asked, "demo", ["gender"], prefix="again", progress=False)
    asked.set_values("place", ["here"] * len(asked))
    usual = form(URI + verb, asked)
    assert {"light", "band", "place"} <= offered(usual["cluster"])
    assert not usual["cluster"]["required"]
    assert errors(form(URI + verb, asked, cluster="band")) == {}
    assert "one value, 'here', for all faces" in shown(errors(form(URI + verb, asked, cluster="place"))["cluster"])
    with pytest.raises(ExecutionError, match="one value, 'here', for all faces"):
        execute(URI + verb, asked, cluster="place")


def test_an_evaluation_by_the_form_knows_which_faces_go_together(asked: fo.Dataset) -> None:
    assert "gender" not in offered(form(EVALUATE, asked)["cluster"])
    execute(EVALUATE, asked, groups=["light"], cluster="band")
    stored = results_store.load(asked, "demo_eval")
    assert stored["cluster"] == "band"
    assert inspection.figures_of(stored, "gender")["overall"]["clusters"]["n"] == 2
