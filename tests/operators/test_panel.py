"""The panel's events through FiftyOne's registry and context: figures, views, tags, corrections, and bad states."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
import yaml
from fiftyone.operators.executor import ExecutionContext, Executor
from fiftyone.operators.registry import OperatorRegistry

import facevlm
from facevlm.store import inspection
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task
from tests.operators.test_plugin import NAME, ROOT

PANEL = f"{NAME}/face_attribute_errors"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def evaluated(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["gender", "race5"], progress=False)
    facevlm.evaluate(faces, prefix="demo", draws=20)
    return faces


class Sent:
    """What an event sent to the App."""

    def __init__(self, dataset: fo.Dataset, requests: list[dict[str, Any]]) -> None:
        json.dumps(requests)
        self._dataset, self._requests = dataset, requests
        self.panel = self.params("show_panel_output")[0]["output"]["type"]["properties"]

    def params(self, name: str) -> list[dict[str, Any]]:
        return [r["params"] for r in self._requests if r["operator_uri"] == name]

    @property
    def view(self) -> fo.DatasetView:
        (sent,) = self.params("set_view")
        return fo.DatasetView._build(self._dataset, sent["view"])

    @property
    def said(self) -> str:
        return " ".join(note["message"] for note in self.params("notify"))

    @property
    def text(self) -> str:
        return json.dumps(self.panel)


def send(dataset: fo.Dataset, method: str, state: dict[str, Any] | None = None, **request: Any) -> Sent:
    """Send an event as the App does; ``params`` of the event, ``selected`` and the like are its keywords."""
    params = {"panel_id": "p", "panel_state": state or {}, "__method__": method, **request.pop("params", {})}
    context = ExecutionContext(
        {"dataset_name": dataset.name, "params": params, **request}, executor=Executor(), operator_uri=PANEL
    )
    foo.get_operator(PANEL).execute(context)
    dataset.reload()
    return Sent(dataset, [r.to_json() for r in context.executor._requests])


def test_the_panel_is_registered_for_grid_and_modal() -> None:
    assert OperatorRegistry().list_errors() == []
    panel = foo.get_operator(PANEL)
    assert isinstance(panel, foo.Panel)
    assert panel.config.surfaces == "grid modal"
    assert yaml.safe_load((ROOT / "fiftyone.yml").read_text())["panels"] == ["face_attribute_errors"]


def test_the_figures_of_the_newest_evaluation_are_shown(evaluated: fo.Dataset) -> None:
    shown = send(evaluated, "on_load")
    figures = inspection.figures_of(results_store.load(evaluated, "demo_eval"), "race5")
    assert shown.panel["confusion"]["view"]["data"][0]["customdata"] == figures["confusion"]
    assert "n = 96" in shown.panel["overall"]["default"]
    assert {"groups", "reliability", "selective", "gaps"} <= set(shown.panel)
    assert "perceived or apparent" in shown.text
    gender = send(evaluated, "on_choose", params={"path": "choose.attribute", "value": "gender"})
    assert gender.panel["confusion"]["view"]["data"][0]["y"] == ["Male", "Female"]


def test_clicks_filter_the_grid(evaluated: fo.Dataset) -> None:
    figures = inspection.figures_of(results_store.load(evaluated, "demo_eval"), "race5")
    cell = send(evaluated, "on_cell", params={"x": "Indian", "y": "White"}).view
    labels = figures["labels"]
    assert len(cell) == figures["confusion"][labels.index("White")][labels.index("Indian")] > 0
    table = figures["groups"][1]
    state = {"choose": {"grouping": " x ".join(table["by"])}}
    for k, row in enumerate(table["rows"]):
        assert len(send(evaluated, "on_group", state, params={"idx": k}).view) == row["cell"]["n"]
    bins = figures["confidence"]["bins"]
    assert len(send(evaluated, "on_bin", params={"idx": 0}).view) == bins[0]["n"]
    assert "bins, got number 99" in send(evaluated, "on_bin", params={"idx": 99}).said
    assert "not in the evaluation any more" in send(evaluated, "on_group", params={"idx": 99}).said


def test_buttons_show_errors_and_say_where_there_is_no_face(evaluated: fo.Dataset) -> None:
    errors = send(evaluated, "on_show", params={"which": "errors"}).view
    assert len(errors) == 14
    refused = send(evaluated, "on_show", params={"which": "no_answer"})
    assert refused.params("set_view") == []
    assert "There is no such face: refused, unparsed, failed." in refused.said
    assert send(evaluated, "on_show_all").params("clear_view") == [{}]
    send(evaluated, "on_label_errors")
    assert evaluated.has_saved_view("demo_eval_race5_label_errors")


def test_disagreements_are_offered_where_another_run_is(evaluated: fo.Dataset) -> None:
    assert "Disagreements" not in send(evaluated, "on_load").text
    facevlm.apply(evaluated, "demo", ["race5"], prefix="two", prompts={"race5": "another wording"}, progress=False)
    assert "Disagreements with two" in send(evaluated, "on_load").text
    sent = send(evaluated, "on_disagree", params={"rival": "two"})
    a, b = evaluated.values(["demo_race5.label", "two_race5.label"])
    differ = sum(1 for x, y in zip(a, b, strict=True) if x != y)
    assert (len(sent.view) == differ) if differ else ("no such face" in sent.said)


def test_selected_faces_are_tagged_at_once_and_a_view_after_a_question(evaluated: fo.Dataset) -> None:
    chosen = evaluated.values("id")[:2]
    assert "2 tagged" in send(evaluated, "on_tag", params={"tag": "label_error"}, selected=chosen).said
    assert evaluated.count_sample_tags() == {"label_error": 2}
    asked = send(evaluated, "on_tag", params={"tag": "ambiguous"})
    assert "Tag all 96 faces of this view" in asked.text
    assert evaluated.count_sample_tags() == {"label_error": 2}
    send(evaluated, "on_cancel", {"pending": {"tag": "ambiguous", "n": 96}})
    assert evaluated.count_sample_tags() == {"label_error": 2}
    view = evaluated.limit(3)._serialize()
    send(evaluated, "on_confirm", {"pending": {"tag": "ambiguous", "n": 3}}, view=view)
    assert evaluated.count_sample_tags() == {"label_error": 2, "ambiguous": 3}


def test_relabelling_writes_to_a_field_of_its_own(evaluated: fo.Dataset) -> None:
    before, chosen = evaluated.values("race.label"), evaluated.values("id")[:2]
    state = {"relabel": {"label": "Indian"}}
    assert "Select at least one face" in send(evaluated, "on_relabel", state).said
    assert "Choose a label" in send(evaluated, "on_relabel", selected=chosen).said
    assert "labelled 'Indian' in 'race_corrected'" in send(evaluated, "on_relabel", state, selected=chosen).said
    assert evaluated.values("race_corrected.label")[:2] == ["Indian"] * 2
    assert evaluated.values("race.label") == before
    assert "Evaluate again with ground truth `race_corrected`" in send(evaluated, "on_load").text


def test_the_modal_shows_all_answers_about_a_face(evaluated: fo.Dataset) -> None:
    sample = evaluated.first()
    shown = send(evaluated, "on_load", current_sample=sample.id)
    shares = shown.panel["shares_demo_gender"]["view"]["data"][0]
    assert shares["y"] == ["Male", "Female"]
    assert sum(shares["x"]) == pytest.approx(1)
    assert sample.demo_race5.label in shown.panel["said_demo_race5"]["default"]
    assert "confusion" not in shown.panel
    send(evaluated, "on_tag", {"modal": True}, params={"tag": "model_error"}, current_sample=sample.id)
    assert evaluated.match_tags("model_error").values("id") == [sample.id]
    # A panel of the grid stays one while a face is open.
    assert "confusion" in send(evaluated, "on_change_current_sample", current_sample=sample.id).panel


def test_bad_states_are_said_in_the_panel(evaluated: fo.Dataset) -> None:
    results = results_store.load(evaluated, "demo_eval")
    evaluated.delete_sample_field("demo_race5")
    broken = send(evaluated, "on_load")
    assert "Field 'demo_race5' of the evaluation" in broken.panel["unreachable"]["view"]["label"]
    assert "confusion" in broken.panel
    assert "is not there any more" in send(evaluated, "on_cell", params={"x": "White", "y": "White"}).said
    for figures in results["evaluations"]:
        figures["confidence"] = None
    results_store.save(evaluated, results)
    without = send(evaluated, "on_load")
    assert "carry no scores" in without.panel["no_scores"]["view"]["label"]
    assert "reliability" not in without.panel
    for figures in results["evaluations"]:
        del figures["confidence"]
    results_store.save(evaluated, results)
    shown = send(evaluated, "on_load").panel
    assert "another version of facevlm: it lacks confidence" in shown["broken"]["view"]["label"]
    assert "evaluation" in shown["choose"]["type"]["properties"]  # another one can still be chosen


def test_before_any_evaluation_the_panel_says_what_to_run(faces: fo.Dataset) -> None:
    shown = send(faces, "on_load")
    assert "Evaluate face attributes against ground truth" in shown.panel["nothing"]["view"]["label"]
    assert "No model was asked" in send(faces, "on_load", current_sample=faces.first().id).text
    for method, params in (
        ("on_cell", {"x": "a", "y": "b"}),
        ("on_show", {"which": "errors"}),
        ("on_label_errors", {}),
    ):
        assert "keeps no figures" in send(faces, method, params=params).said
