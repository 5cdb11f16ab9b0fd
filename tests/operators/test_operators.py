"""Both operators through FiftyOne's executor: forms, validation, execution, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

import facevlm
from facevlm.folders import ASSETS
from facevlm.tasks import sources as sources_task
from tests.servers.server import running

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


def offered(properties: dict[str, Any], name: str = "attributes") -> dict[str, str]:
    return {choice["value"]: choice["label"] for choice in properties[name]["view"]["choices"]}


def test_nothing_is_chosen_beforehand_and_families_stand_together(faces: fo.Dataset) -> None:
    properties = form(APPLY, faces)
    assert list(offered(properties)) == ["race5", "gender", "age5", "emotion7"]
    assert offered(properties)["gender"] == "Perceived gender: Male, Female"
    assert properties["attributes"]["default"] == []
    assert properties["attributes"]["view"]["multiple"]
    assert "Got no attribute, expected at least one of gender" in errors(properties)["none_chosen"]
    for chosen in ({"ask_gender": True}, {"attributes": ["gender"]}):
        assert "none_chosen" not in form(APPLY, faces, **chosen)
        assert form(APPLY, faces, **chosen)["attributes"]["default"] == ["gender"]


def test_what_is_chosen_in_the_list_or_by_names_is_asked(faces: fo.Dataset) -> None:
    execute(APPLY, faces, attributes=["age5"], ask_gender=True, prefix="x")
    assert faces.count_values("x_gender.outcome") == faces.count_values("x_age5.outcome") == {"ok": 96}
    assert "Unknown attribute 'agee'" in errors(form(APPLY, faces, attributes=["agee"]))["attributes"]
    with pytest.raises(ExecutionError, match="Unknown attribute 'agee'"):
        execute(APPLY, faces, attributes=["agee"])


def test_words_of_ones_own_are_asked(faces: fo.Dataset) -> None:
    shown = form(APPLY, faces, attributes=["gender"], worded=True)
    assert "gender" in shown["wording_of_gender"]["default"]
    assert "wording_of_gender" not in form(APPLY, faces, attributes=["gender"])
    execute(APPLY, faces, attributes=["gender"], worded=True, wording_of_gender="man or woman?", prefix="x")
    assert faces.get_run_info("facevlm_x").config.questions["gender"]["text"] == "man or woman?"


def test_the_form_says_perceived_and_the_licence(faces: fo.Dataset) -> None:
    text = json.dumps(form(APPLY, faces))
    assert "perceives" in text
    assert "non-commercial" in text


def test_another_checkpoint_offers_attributes_of_ones_own(faces: fo.Dataset) -> None:
    assert errors(form(APPLY, faces, model="other"))["checkpoint"] == "Name a checkpoint."
    properties = form(APPLY, faces, model="other", checkpoint="org/name", own=True)
    assert {"race7", "gender"} <= set(offered(properties))
    assert {"own_name", "own_labels", "own_question", "trust_remote_code"} <= set(properties)
    assert "Give it a name" in errors(properties)["own_labels"]
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
        ({"batch_size": 2.5}, "batch_size", "Got batch_size=2.5, expected a whole number"),
        ({"loading": True, "dtype": "float99"}, "loading", "expected one of float32"),
        ({"device": "nowhere"}, "loading", "Got device 'nowhere'"),
        ({"about": "whole", "min_face_px": 0}, "about", "Got min_face_px=0"),
        ({"own": True}, "own", "answers gender, race5, age5, emotion7 alone: untick this"),
        ({"own": True, "model": "smolvlm"}, "own_labels", "Give it a name"),
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
    request = {"dataset_name": faces.name, "operator_uri": APPLY, "params": params}
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
        (APPLY, {"ask_race7": True}, "answers gender, race5, age5, emotion7; take 'race7' away"),
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
    assert "choose one for at least one attribute" in errors(form(EVALUATE, faces))["none"]
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
    assert "florence-2" not in offered(form(APPLY, faces), "model")
    said = errors(form(APPLY, faces, model="florence-2"))["model"]
    assert "only what it was tuned for" in said
    assert "prompts=" not in said


def test_a_choice_that_another_model_does_not_answer_stays_in_sight(faces: fo.Dataset) -> None:
    shown = form(APPLY, faces, model="facescan", ask_race5=True)
    assert "answers race7, gender, age5, emotion8; take 'race5' away" in errors(shown)["attributes"]
    assert "race5" in offered(shown)
    assert "race5" not in offered(form(APPLY, faces, model="facescan"))


def test_the_form_asks_whose_answers_count_where_they_are_of_several(faces: fo.Dataset) -> None:
    execute(APPLY, faces, ask_gender=True)
    assert "runs" not in form(EVALUATE, faces)
    # Another prompt is another run of the same model.
    facevlm.apply(faces[:10], "demo", ["gender"], prompts={"gender": "man or woman?"}, overwrite=True, progress=False)
    offered = form(EVALUATE, faces)["runs"]["view"]["choices"]
    assert [choice["label"].partition(" (run")[0] for choice in offered] == ["gender: 86 of demo", "gender: 10 of demo"]
    with pytest.raises(ExecutionError, match=r"Path: runs\. Reason: Required property"):
        execute(EVALUATE, faces)
    execute(EVALUATE, faces, runs=[offered[1]["value"]])
    assert faces.count_values("demo_eval_gender")[None] == 86


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("apply_vlm_face_attributes", {"model": "demo", "ask_gender": "no"}),
        ("apply_vlm_face_attributes", {"model": "demo", "ask_gender": True, "own": "no"}),
        ("detect_faces", {"detector": "haar", "quality": "no"}),
    ],
)
def test_a_program_that_ticks_a_box_by_a_word_is_refused(faces: fo.Dataset, name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ExecutionError, match=list(params)[-1]):
        execute(f"@facevlm/face-attributes/{name}", faces, **params)
    assert faces.list_runs() == []


def test_the_line_about_weights_tells_what_a_folder_lacks(faces: fo.Dataset, tmp_path: Path) -> None:
    def said(checkpoint: str) -> tuple[str, str]:
        shown = form(APPLY, faces, model="other", checkpoint=checkpoint, ask_gender=True)
        return errors(shown).get("checkpoint", ""), shown["licence"]["view"]["label"]

    assert "is not found: expected a folder with config.json" in said(str(tmp_path / "nowhere"))[0]
    (tmp_path / "jpegs").mkdir()
    (tmp_path / "jpegs" / "a.jpg").write_bytes(b"no model")
    for got, lacking in (("jpegs", "there is no config.json"), ("jpegs/a.jpg", "is a file: expected a folder")):
        wrong, line = said(str(tmp_path / got))
        assert lacking in wrong
        assert "on this machine" not in line
        assert "downloads" not in line
    (tmp_path / "jpegs" / "config.json").write_text('{"model_type": "paligemma"}')
    assert "there are no weights" in said(str(tmp_path / "jpegs"))[0]
    shutil.copytree(ASSETS / "demo_model", tmp_path / "whole")
    wrong, line = said(str(tmp_path / "whole"))
    assert wrong == ""
    assert "The weights are on this machine" in line
    wrong, line = said("nobody/no-such-checkpoint")
    assert wrong == ""
    assert "the first run downloads" in line


def renamed(faces: fo.Dataset, names: dict[str, str]) -> fo.Dataset:
    execute(APPLY, faces, ask_gender=True, ask_race5=True)
    faces.rename_sample_fields(names)
    return faces


def test_the_only_field_of_fitting_labels_is_the_truth_whatever_it_is_called(faces: fo.Dataset) -> None:
    renamed(faces, {"gender": "sex", "race": "ethnicity"})
    shown = form(EVALUATE, faces)
    assert (shown["truth_gender"]["default"], shown["truth_race5"]["default"]) == ("sex", "ethnicity")
    execute(EVALUATE, faces)
    assert faces.load_run_results("facevlm_demo_eval").ground_truth == {"gender": "sex", "race5": "ethnicity"}


def test_of_two_fields_of_fitting_labels_none_is_guessed(faces: fo.Dataset) -> None:
    renamed(faces, {"gender": "sex"}).clone_sample_field("sex", "said_later")
    shown = form(EVALUATE, faces)
    assert shown["truth_gender"]["default"] == "(do not evaluate)"
    assert {"sex", "said_later"} <= set(offered(shown, "truth_gender"))


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"eval_key": "9 x"}, "eval_key", "expected letters, digits and underscores"),
        ({"groups": [f"g{k}" for k in range(9)]}, "groups", "fields to group by"),
    ],
)
def test_the_evaluate_form_validates(faces: fo.Dataset, params: dict[str, Any], where: str, said: str) -> None:
    execute(APPLY, faces, ask_gender=True)
    assert said in errors(form(EVALUATE, faces, **params))[where]


def line(faces: fo.Dataset, **params: Any) -> str:
    text: str = form(APPLY, faces, **params)["outlook"]["view"]["label"]
    return text.replace("\\", "")


def test_what_will_happen_stands_on_top(faces: fo.Dataset) -> None:
    assert "outlook" not in form(APPLY, faces)
    assert next(iter(form(APPLY, faces, ask_gender=True))) == "outlook"
    first = "All 96 faces are asked: none has its answers yet. Pictures stay on this machine."
    assert line(faces, ask_gender=True) == first
    foo.execute_operator(APPLY, ctx={"view": faces[:30], "params": {"ask_gender": True, "view_target": "CURRENT_VIEW"}})
    faces.reload()
    said = line(faces, ask_gender=True)
    assert said.startswith("66 of 96 faces have no answer yet: these are asked, in about ")
    assert "at the rate of the last run, " in said
    assert line(faces, ask_gender=True, mode="overwrite").startswith("All 96 faces are asked again, in about ")
    changed = form(APPLY, faces, ask_gender=True, worded=True, wording_of_gender="man or woman?")
    assert "another model or prompt for gender" in errors(changed)["prefix"]


def test_the_form_begins_as_the_last_run_and_a_script_does_not(faces: fo.Dataset) -> None:
    assert "as_before" not in form(APPLY, faces)
    execute(APPLY, faces, attributes=["age5"], prefix="mine", batch_size=7)
    shown = form(APPLY, faces)
    assert "As in the last run" in shown["as_before"]["view"]["label"]
    kept = {name: shown[name]["default"] for name in ("model", "attributes", "prefix", "batch_size")}
    assert kept == {"model": "demo", "attributes": ["age5"], "prefix": "mine", "batch_size": 7}
    assert form(APPLY, faces, model="demo", attributes=[])["prefix"]["default"] == "mine"
    execute(APPLY, faces, attributes=["gender"])
    assert faces.count("demo_gender") == 96


def test_no_server_and_no_key_is_remembered(faces: fo.Dataset) -> None:
    with running() as server:
        told = {"model": "api", "api_model": "m", "base_url": server.base_url, "key_name": "", "prefix": "r"}
        execute(APPLY, faces[:3]._dataset, attributes=["gender"], **told)
    shown = form(APPLY, faces)
    assert shown["model"]["default"] == "demo"
    assert "base_url" not in shown
    assert shown["prefix"]["default"] == "demo"
