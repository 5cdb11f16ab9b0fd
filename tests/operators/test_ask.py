"""Ask about faces through the operator: the plan in the form, and what the App shows afterwards."""

from __future__ import annotations

import re

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from facevlm import sources
from tests.operators.test_operators import errors, execute, form

ASK = "@facevlm/face-attributes/ask_about_faces"


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources.sample_groups(dataset_name)


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
        ({"request": "everyone wearing glasses"}, "a model that sees the whole picture"),
        ({"request": "gender", "faces": "nope"}, "expected a field of Detections"),
    ],
)
def test_what_cannot_be_read_is_said_at_the_text_box(groups: fo.Dataset, params: dict[str, str], said: str) -> None:
    assert said in errors(form(ASK, groups, **params))["request"]
    with pytest.raises(ExecutionError, match=re.escape(said)):
        execute(ASK, groups, **params)


def test_without_faces_the_form_says_what_to_do(groups: fo.Dataset) -> None:
    groups.delete_sample_field("faces")
    properties = form(ASK, groups, request="gender")
    assert "run 'Detect faces' first" in properties["no_faces"]["view"]["label"]
    assert "facevlm.detect finds faces" in errors(properties)["request"]


def test_afterwards_the_app_shows_just_those_faces(groups: fo.Dataset) -> None:
    request = {"dataset_name": groups.name, "params": {"request": "gender of the leftmost face"}}
    context = ExecutionContext(request, executor=Executor(), operator_uri=ASK)
    told = list(foo.get_operator(ASK).execute(context))
    groups.reload()
    assert groups.count("demo_gender.detections") == 8
    sent = {message.body.operator_uri: message.body.params for message in told}
    names = [name.rpartition("/")[2] for name in sent]
    assert names == ["set_progress", "reload_dataset", "set_view", "set_active_fields", "show_output"]
    output = sent[list(sent)[-1]]["results"]["summary"]
    assert output.startswith("8 faces picked.")
    assert "8 faces asked" in output
    view = fo.DatasetView._build(groups, sent[list(sent)[2]]["view"])
    assert (view.count("faces.detections"), view.count("demo_faces.detections")) == (8, 8)
