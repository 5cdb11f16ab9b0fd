"""Ask about faces through the operator: the plan in the form, and what the App shows afterwards."""

from __future__ import annotations

import re

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from facevlm.tasks import sources as sources_task
from tests.operators.test_operators import errors, execute, form

ASK = "@facevlm/face-attributes/ask_about_faces"


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


def test_the_plan_stands_under_the_text_box(groups: fo.Dataset) -> None:
    properties = form(ASK, groups, request="emotion of the leftmost woman")
    assert list(properties)[:2] == ["request", "plan"]
    said = properties["plan"]["default"]
    assert "- Asked: Perceived emotion, 7 classes (emotion7)." in said
    assert "- In each picture only the leftmost of these." in said
    assert "- gender is asked first, of 28 faces" in said
    assert not errors(properties)
    assert "plan" not in form(ASK, groups)
    assert "plan" not in form(ASK, groups, request=" ", model="demo")
    assert "plan" not in form(ASK, groups, request="gender", model="api")
    assert not [name for name in groups.get_field_schema() if name.startswith("demo")]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"request": "nationality of the man"}, "none of the attributes that can be asked"),
        ({"request": "who is this"}, "never answered"),
        ({"request": "gender", "faces": "nope"}, "expected a field of Detections"),
        ({"request": "who is this", "planner": "openai:m"}, "never answered"),
    ],
)
def test_what_cannot_be_read_is_said_at_the_text_box(groups: fo.Dataset, params: dict[str, str], said: str) -> None:
    assert said in errors(form(ASK, groups, **params))["request"]
    with pytest.raises(ExecutionError, match=re.escape(said)):
        execute(ASK, groups, **params)


GLASSES = {"request": "gender of everyone wearing glasses"}
SERVER = "http://127.0.0.1:9/v1"


def test_other_words_take_a_model_that_the_form_offers(groups: fo.Dataset) -> None:
    said = errors(form(ASK, groups, **GLASSES))["request"]
    assert said.endswith("choose a model under 'Who picks people by other words'.")
    offered = [c["value"] for c in form(ASK, groups)["grounding"]["view"]["choices"]]
    assert offered[:3] == ["model", "paligemma", "florence-2"]
    assert {"gpt-4o", "api"} <= set(offered)
    unnamed = form(ASK, groups, **GLASSES, grounding="api")
    assert (unnamed["grounding_model"]["required"], "plan" in unnamed, errors(unnamed)) == (True, False, {})
    named = form(ASK, groups, **GLASSES, grounding="api", grounding_model="m", base_url=SERVER)
    assert not errors(named)
    assert "openai:m decides, by numbers drawn on the faces" in named["plan"]["default"]
    assert named["briefing"]["view"]["label"].startswith("8 pictures go to 127.0.0.1:9")
    assert "briefing_1" not in named


def test_what_is_sent_is_said_step_by_step(groups: fo.Dataset) -> None:
    served = {"model": "api", "api_model": "m", "base_url": SERVER}
    said = form(ASK, groups, request="race of the women wearing glasses", **served)
    steps = [said[name]["view"]["label"] for name in ("briefing", "briefing_1", "briefing_2")]
    assert [step.partition(" go to ")[0] for step in steps] == [
        "28 pictures of faces",
        "8 pictures",
        "28 pictures of faces",
    ]
    assert "briefing" not in form(ASK, groups, request="race of the women")


def test_a_planner_is_asked_when_the_user_says_so(groups: fo.Dataset) -> None:
    odd = {"request": "kindly tell me how the ladies feel"}
    waiting = form(ASK, groups, **odd, planner="openai:m", base_url=SERVER)
    assert not errors(waiting)
    assert "Only the planner, openai:m, can read this" in waiting["later"]["view"]["label"]
    assert {"plan_now", "base_url"} <= set(waiting)
    assert not {"plan_now", "base_url"} & set(form(ASK, groups, **odd))
    bad = errors(form(ASK, groups, **odd, planner="demo"))
    assert "expected a model behind an API" in bad["planner"]
    assert "'kindly' is not known" in bad["request"]


def test_without_faces_the_form_says_what_to_do(groups: fo.Dataset) -> None:
    groups.delete_sample_field("faces")
    properties = form(ASK, groups, request="gender")
    assert "run 'Detect faces' first" in properties["no_faces"]["view"]["label"]
    assert "run 'Detect faces'" in errors(properties)["request"]


def test_afterwards_the_app_shows_just_those_faces(groups: fo.Dataset) -> None:
    request = {"dataset_name": groups.name, "operator_uri": ASK, "params": {"request": "gender of the leftmost face"}}
    context = ExecutionContext(request, executor=Executor(), operator_uri=ASK)
    told = list(foo.get_operator(ASK).execute(context))
    groups.reload()
    assert groups.count("demo_gender.detections") == 8
    sent = {message.body.operator_uri: message.body.params for message in told}
    names = [message.body.operator_uri for message in told]
    assert names[-4:] == ["set_active_fields", "reload_dataset", "set_view", "show_output"]
    output = sent["show_output"]["results"]["summary"]
    assert output.startswith("**Faces are picked**\n\n8 faces picked.")
    assert "8 faces asked" in output
    view = fo.DatasetView._build(groups, sent["set_view"]["view"])
    assert (view.count("faces.detections"), view.count("demo_faces.detections")) == (8, 8)
