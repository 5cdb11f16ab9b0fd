"""The evaluate operator where predictions are on faces."""

from __future__ import annotations

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

import facevlm
from facevlm.reports import build, markdown, text
from facevlm.store import reporting, workspace
from facevlm.tasks import sources as sources_task
from tests.operators.test_operators import EVALUATE, errors, execute, form
from tests.store import on_faces


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    dataset = sources_task.sample_groups(dataset_name)
    on_faces.store(dataset, "demo", on_faces.answers(dataset, ("gender", "age5")))
    return dataset


def test_ground_truth_on_faces_is_offered_and_evaluated(groups: fo.Dataset) -> None:
    properties = form(EVALUATE, groups)
    choices = properties["truth_gender"]["view"]["choices"]
    assert {"faces.detections.gender", "(do not evaluate)"} == {c["value"] for c in choices}
    assert properties["truth_gender"]["default"] == "faces.detections.gender"
    assert "faces" not in properties
    execute(EVALUATE, groups, truth_age5="faces.detections.age")
    assert sorted(groups.list_evaluations()) == ["demo_eval_age5", "demo_eval_gender"]
    assert groups.list_workspaces() == [workspace.NAME]
    figures = groups.load_run_results("facevlm_demo_eval")
    assert figures.faces == "faces"
    assert figures.ground_truth == {"gender": "faces.detections.gender", "age5": "faces.detections.age"}


def test_of_two_fields_of_faces_one_is_to_be_chosen(groups: fo.Dataset) -> None:
    groups.clone_sample_field("faces", "people")
    asked = form(EVALUATE, groups)
    assert {c["value"] for c in asked["faces"]["view"]["choices"]} == {"faces", "people"}
    assert "expected one of: faces, people" in errors(asked)["faces"]
    assert "truth_gender" not in asked
    chosen = form(EVALUATE, groups, faces="people")
    assert not errors(chosen)
    assert chosen["truth_gender"]["default"] == "people.detections.gender"
    execute(EVALUATE, groups, faces="people", truth_age5="(do not evaluate)")
    assert groups.load_run_results("facevlm_demo_eval").ground_truth == {"gender": "people.detections.gender"}


def test_the_operator_lays_the_panel_beside_the_grid(groups: fo.Dataset) -> None:
    request = {"dataset_name": groups.name, "operator_uri": EVALUATE, "params": {}}
    context = ExecutionContext(request, executor=Executor(), operator_uri=EVALUATE)
    steps = list(foo.get_operator(EVALUATE).execute(context))
    said = [str(step.to_json()) for step in steps]
    assert any("set_spaces" in step and workspace.PANEL in step for step in said)
    assert any("show_output" in step and workspace.path(groups) in step for step in said)


def test_predictions_of_no_face_are_said_everywhere(groups: fo.Dataset) -> None:
    sample = groups.first()
    sample.demo_gender.detections.append(fo.Detection(label="Male", bounding_box=[0, 0, 0.01, 0.01], outcome="ok"))
    sample.save()
    result = facevlm.evaluate(groups, ["gender"], prefix="demo", draws=20)
    assert "1 of no face" in text.text(result.evaluations)
    assert "predictions of no face" in markdown.render(build(reporting.read(groups)))
