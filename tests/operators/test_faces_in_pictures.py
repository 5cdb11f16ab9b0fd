"""Faces in pictures through the operators: found, chosen, asked about, and what the forms say about them."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError

from facevlm.detection import weights
from facevlm.tasks import sources as sources_task
from tests.operators.test_operators import APPLY, errors, execute, form

DETECT = "@facevlm/face-attributes/detect_faces"
ASK = {"model": "demo", "ask_gender": True}


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


@pytest.fixture(autouse=True)
def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector that needs no weights."""
    monkeypatch.setenv(weights.OFFLINE, "1")
    monkeypatch.delenv(weights.YUNET, raising=False)


def form_of(view: fo.DatasetView | fo.Dataset, **params: Any) -> dict[str, Any]:
    """The apply form where a view is shown, and labels may be selected."""
    request: dict[str, Any] = {"dataset_name": view._root_dataset.name, "params": params}
    request["view"] = [stage._serialize() for stage in getattr(view, "_all_stages", [])]
    request["selected_labels"] = params.pop("labels", [])
    context = ExecutionContext(request, operator_uri=APPLY)
    shape: dict[str, Any] = foo.get_operator(APPLY).resolve_input(context).to_json()
    properties: dict[str, Any] = shape["type"]["properties"]
    return properties


def options(properties: dict[str, Any], name: str = "about") -> list[str]:
    return [choice["value"] for choice in properties[name]["view"]["choices"]]


def test_faces_are_found_then_asked_about(groups: fo.Dataset) -> None:
    groups.delete_sample_field("faces")
    assert options(form(APPLY, groups)) == ["whole", "first"]
    execute(DETECT, groups, quality=True)
    assert groups.count("faces.detections") == 28
    assert groups.first().faces.detections[0].sharpness > 0
    properties = form(APPLY, groups, **ASK)
    assert options(properties) == ["whole", "faces", "first"]
    assert properties["about"]["default"] == "faces"
    assert properties["boxes"]["view"]["label"] == "Faces to ask about: 28"
    execute(APPLY, groups, **ASK)
    assert groups.count_values("demo_gender.detections.outcome") == {"ok": 28}
    assert {d.label for s in groups for d in s.demo_faces.detections} == {"Male", "Female"}


def test_one_run_finds_and_asks(groups: fo.Dataset) -> None:
    groups.delete_sample_field("faces")
    execute(APPLY, groups, **ASK, about="first")
    assert groups.count("faces.detections") == groups.count("demo_gender.detections") == 28
    execute(APPLY, groups, **ASK, about="first")
    assert groups.count("demo_gender.detections") == 28


def test_a_field_of_ones_own_is_not_searched_over(groups: fo.Dataset) -> None:
    said = errors(form(APPLY, groups, **ASK, about="first"))
    assert "'faces' is already there and was not written by a detector" in said["about"]
    with pytest.raises(ExecutionError, match="was not written by a detector"):
        execute(APPLY, groups, **ASK, about="first")
    assert "faces" in groups.get_field_schema()


def test_whole_pictures_can_still_be_asked_about(groups: fo.Dataset) -> None:
    execute(APPLY, groups, **ASK, about="whole", prefix="w")
    assert groups.count_values("w_gender.outcome") == {"ok": 8}


def test_patches_and_selected_faces_are_what_the_form_is_about(groups: fo.Dataset) -> None:
    patches = groups.to_patches("faces")
    properties = form_of(patches, **ASK)
    assert options(properties) == ["faces"]
    face = groups.first().faces.detections[0]
    label = {"label_id": face.id, "sample_id": groups.first().id, "field": "faces"}
    assert form_of(groups, **ASK, labels=[label])["selected_faces"]["view"]["label"] == "Only the selected labels (1)"
    some = form_of(groups, **ASK, labels=[label], selected_faces=True)
    assert some["boxes"]["view"]["label"] == "Faces to ask about: 1"
    request = {"view": patches[:3], "params": dict(ASK)}
    foo.execute_operator(APPLY, ctx=request)
    groups.reload()
    assert groups.count("demo_gender.detections") == 3
    foo.execute_operator(
        APPLY,
        ctx={"dataset": groups, "selected_labels": [label], "params": {**ASK, "selected_faces": True, "prefix": "s"}},
    )
    groups.reload()
    assert [d.face for s in groups if s.s_gender for d in s.s_gender.detections] == [face.id]


def test_boxes_and_their_framing_are_choices(groups: fo.Dataset) -> None:
    assert "margin" not in form(APPLY, groups, **ASK)
    properties = form(APPLY, groups, **ASK, framing=True)
    assert properties["margin"]["default"] == 0
    assert {"face_labels", "face_confidence", "min_face_px", "align"} <= set(properties)
    execute(APPLY, groups, **ASK, framing=True, min_face_px=100, margin=0.1)
    assert groups.count_values("demo_gender.detections.outcome") == {"ok": 19, "no_face": 9}


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"margin": -1, "framing": True}, "margin", "from 0 to 10"),
        ({"face_labels": ["cat"]}, "about", "No box is left to ask about"),
        ({"about": "nope"}, "about", "expected a field of Detections"),
    ],
)
def test_bad_choices_are_said_in_the_form(groups: fo.Dataset, params: dict[str, Any], where: str, said: str) -> None:
    assert said in errors(form(APPLY, groups, **ASK, **params))[where]


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"field": "9"}, "field", "expected letters, digits"),
        ({"field": "faces"}, "field", "not written by a detector"),
        ({"min_confidence": 4}, "detector", "between 0 and 1"),
        ({"max_faces": 0}, "detector", "whole number from 1 on"),
        ({"detector": "yunet"}, "detector", "YuNet's weights are not on this machine"),
        ({"detector": "yunet", "weights": __file__}, "detector", "expected"),
        ({"detector": "florence-2", "tiles": "on"}, "detector", "looks at a picture as a whole"),
        ({"detector": "paligemma", "weights": "hf:/no/such"}, "detector", "is not found"),
    ],
)
def test_bad_input_to_detection_is_said_in_the_form(
    groups: fo.Dataset, params: dict[str, Any], where: str, said: str
) -> None:
    assert said in errors(form(DETECT, groups, **params))[where]
    with pytest.raises(ExecutionError):
        execute(DETECT, groups, **params)
