"""Both operators through FiftyOne's executor: forms, validation, execution, bad input."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from facevlm.tasks import sources as sources_task

APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"
EVALUATE = "@facevlm/face-attributes/evaluate_face_attributes"
ASK_TWO = {"model": "demo", "ask_gender": True, "ask_age5": True}


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


def form(uri: str, dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    """The properties of the form as the App gets them."""
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=uri)
    shape: dict[str, Any] = foo.get_operator(uri).resolve_input(context).to_json()
    properties: dict[str, Any] = shape["type"]["properties"]
    json.dumps(properties)
    return properties


def errors(properties: dict[str, Any]) -> dict[str, str]:
    return {name: p["error_message"] for name, p in properties.items() if p.get("invalid")}


def execute(uri: str, dataset: fo.Dataset, **params: Any) -> None:
    foo.execute_operator(uri, ctx={"dataset": dataset, "params": params})
    dataset.reload()


def test_nothing_is_ticked_beforehand(faces: fo.Dataset) -> None:
    properties = form(APPLY, faces)
    boxes = {name: p for name, p in properties.items() if name.startswith("ask_")}
    assert set(boxes) == {"ask_gender", "ask_race5", "ask_age5", "ask_emotion7"}
    assert not any(p["default"] for p in boxes.values())
    assert "none_ticked" in properties
    assert "none_ticked" not in form(APPLY, faces, ask_gender=True)


def test_the_form_says_perceived_and_the_licence(faces: fo.Dataset) -> None:
    text = json.dumps(form(APPLY, faces))
    assert "perceives" in text
    assert "non-commercial" in text


def test_another_checkpoint_offers_attributes_of_ones_own(faces: fo.Dataset) -> None:
    assert "ask_gender" not in form(APPLY, faces, model="other")
    properties = form(APPLY, faces, model="other", checkpoint="org/name", own=True)
    assert {"ask_race7", "ask_gender", "own_name", "own_labels", "own_question", "trust_remote_code"} <= set(properties)
    bad = form(
        APPLY, faces, model="other", checkpoint="x/y", own=True, own_name="a b", own_labels=["x"], own_question="?"
    )
    assert "letters, digits and underscores" in errors(bad)["own_labels"]


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"prefix": "9x"}, "prefix", "Got the field prefix '9x'"),
        ({"prefix": "age", "ask_gender": True}, "prefix", "not written by facevlm"),
        ({"batch_size": 0}, "batch_size", "from 1 on"),
        ({"model": "nope"}, "model", "Unknown model 'nope'"),
    ],
)
def test_the_form_validates(faces: fo.Dataset, params: dict[str, Any], where: str, said: str) -> None:
    faces.add_sample_field("age_gender", fo.StringField)
    assert said in errors(form(APPLY, faces, **params))[where]


def test_apply_then_evaluate(faces: fo.Dataset) -> None:
    execute(APPLY, faces, **ASK_TWO, prefix="mine")
    assert faces.count_values("mine_gender.outcome") == {"ok": 96}
    assert faces.get_field("mine_race5") is None
    properties = form(EVALUATE, faces)
    assert properties["prefix"]["default"] == "mine"
    assert properties["truth_gender"]["default"] == "gender"
    offered = properties["truth_age5"]["view"]["choices"]
    assert {c["value"] for c in offered} == {"(do not evaluate)", "age", "age_group"}
    assert any("years -> age5" in c["label"] for c in offered)
    execute(EVALUATE, faces)
    assert faces.list_evaluations() == ["mine_eval_age5", "mine_eval_gender"]
    assert sorted(faces.list_saved_views()) == ["mine_eval_age5_errors", "mine_eval_gender_errors"]


def test_the_view_target_is_honoured(faces: fo.Dataset) -> None:
    view = faces.limit(5)
    foo.execute_operator(
        APPLY, ctx={"view": view, "params": {"ask_gender": True, "prefix": "v", "view_target": "CURRENT_VIEW"}}
    )
    faces.reload()
    assert faces.count("v_gender") == 5
    chosen = faces.values("id")[10:13]
    context = {"dataset": faces, "selected": chosen}
    foo.execute_operator(
        APPLY, ctx=context | {"params": {"ask_gender": True, "prefix": "s", "view_target": "SELECTED_SAMPLES"}}
    )
    faces.reload()
    assert faces.exists("s_gender").values("id") == chosen


def test_resume_and_overwrite(faces: fo.Dataset) -> None:
    execute(APPLY, faces, ask_gender=True)
    first = faces.values("demo_gender.id")
    execute(APPLY, faces, ask_gender=True, mode="resume")
    assert faces.values("demo_gender.id") == first
    execute(APPLY, faces, ask_gender=True, mode="overwrite")
    assert faces.values("demo_gender.id") != first


def test_an_aborted_client_loses_nothing(faces: fo.Dataset) -> None:
    params = {"ask_gender": True, "batch_size": 10}
    request = {"dataset_name": faces.name, "params": params}
    context = ExecutionContext(request, executor=Executor(), operator_uri=APPLY)
    stream = foo.get_operator(APPLY).execute(context)
    for _ in range(4):
        next(stream)
    stream.close()
    faces.reload()
    assert faces.count("demo_gender") == 30
    execute(APPLY, faces, ask_gender=True)
    assert faces.count("demo_gender") == 96


@pytest.mark.parametrize(
    ("uri", "params", "said"),
    [
        (APPLY, {}, "Got no attribute, expected at least one of gender"),
        (APPLY, {"model": "nope", "ask_gender": True}, "Unknown model 'nope'"),
        (APPLY, {"ask_race7": True}, "answers gender, race5, age5, emotion7: untick this"),
        (APPLY, {"ask_gender": True, "prefix": "9x"}, "Got the field prefix '9x'"),
        (EVALUATE, {}, "holds no predictions"),
    ],
)
def test_bad_input_is_said_when_it_is_run(faces: fo.Dataset, uri: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ExecutionError, match=said):
        execute(uri, faces, **params)
    assert faces.list_runs() == []


def test_evaluate_without_predictions_says_so_in_the_form(faces: fo.Dataset) -> None:
    assert "no predictions" in errors(form(EVALUATE, faces))["nothing"]


def test_evaluate_form_refuses_ground_truth_that_does_not_map(faces: fo.Dataset) -> None:
    execute(APPLY, faces, ask_gender=True)
    wrong = form(EVALUATE, faces, truth_gender="race")
    assert "no label set of 'gender'" in errors(wrong)["truth_gender"]
    faces.delete_sample_field("gender")
    assert "none" in form(EVALUATE, faces)
    with pytest.raises(ExecutionError, match="No attribute has a ground-truth field"):
        execute(EVALUATE, faces)


def test_evaluate_form_refuses_groups_with_too_many_values(faces: fo.Dataset) -> None:
    execute(APPLY, faces, ask_gender=True)
    faces.add_samples([fo.Sample(filepath=f"/x/{k}.png", serial=f"s{k}") for k in range(101)], progress=False)
    assert "101 different values" in errors(form(EVALUATE, faces, groups=["serial"]))["groups"]


def test_a_video_dataset_is_refused_in_form_and_run(dataset_name: str) -> None:
    video = fo.Dataset(dataset_name)
    video.add_sample(fo.Sample(filepath="/x/clip.mp4"))
    assert "media of type 'video'" in errors(form(APPLY, video, ask_gender=True))["prefix"]
    with pytest.raises(ExecutionError, match="media of type 'video'"):
        execute(APPLY, video, ask_gender=True)


def test_scheduled_runs_do_the_same(faces: fo.Dataset) -> None:
    service = DelegatedOperationService()
    for uri, params in ((APPLY, {"ask_gender": True}), (EVALUATE, {})):
        context = ExecutionContext({"dataset_name": faces.name, "params": params}, operator_uri=uri)
        operation = service.queue_operation(operator=uri, context=context)
        service.execute_operation(operation)
        done = service.get(operation.id)
        assert done.run_state == "completed", done.result
        faces.reload()
    assert faces.count_values("demo_gender.outcome") == {"ok": 96}
    assert faces.list_evaluations() == ["demo_eval_gender"]


def test_the_form_says_what_a_model_needs(faces: fo.Dataset) -> None:
    assert "23.4 GB of memory in bfloat16. Gated" in json.dumps(form(APPLY, faces, model="facescan"))
    assert "The weights are on this machine." in json.dumps(form(APPLY, faces))


def test_a_model_that_cannot_choose_is_refused_in_the_form(faces: fo.Dataset) -> None:
    assert "model" not in errors(form(APPLY, faces, model="florence-2"))
    assert "only what it was tuned for" in errors(form(APPLY, faces, model="florence-2", ask_gender=True))["model"]


def test_a_tick_that_another_model_does_not_answer_stays_in_sight(faces: fo.Dataset) -> None:
    shown = form(APPLY, faces, model="facescan", ask_race5=True)
    assert "answers race7, gender, age5, emotion8: untick this" in errors(shown)["ask_race5"]
    assert "ask_race5" not in form(APPLY, faces, model="facescan")
