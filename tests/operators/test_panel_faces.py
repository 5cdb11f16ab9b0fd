"""The panel beside a face in a picture: a patch, or a box that was clicked."""

from __future__ import annotations

import base64
import io

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.store import inspection
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task
from tests.operators.test_panel import send
from tests.store import on_faces


@pytest.fixture
def evaluated(dataset_name: str) -> fo.Dataset:
    groups = sources_task.sample_groups(dataset_name)
    on_faces.store(groups, "demo", on_faces.answers(groups, ("gender",)))
    facevlm.evaluate(groups, prefix="demo")
    return groups


def test_a_face_from_the_panel_shows_its_answers_the_truth_and_its_crop(evaluated: fo.Dataset) -> None:
    found = inspection.inspect(evaluated, results_store.load(evaluated, "demo_eval"), "gender")
    cell = inspection.cell(found, "Female", "Female")
    patch = cell.first()
    shown = send(evaluated, "on_load", current_sample=patch.id, view=cell._serialize()).panel
    bars = shown["shares_demo_gender"]["view"]
    assert bars["layout"]["yaxis"]["ticktext"] == ["Male", "Female (truth)"]
    assert bars["data"][0]["marker"]["line"]["width"] == [0, 3]
    assert "ground truth: **Female**" in shown["title_gender"]["default"]
    assert "no_answers" not in shown
    address = shown["crop"]["default"]
    crop = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))
    assert max(crop.size) <= 160


@pytest.mark.parametrize("field", ["faces", "demo_gender"])
def test_a_patch_of_any_field_of_boxes_shows_the_answers_on_its_box(evaluated: fo.Dataset, field: str) -> None:
    patches = evaluated.to_patches(field)
    for patch in patches.limit(3):
        shown = send(evaluated, "on_load", current_sample=patch.id, view=patches._serialize()).panel
        picture = evaluated[patch.sample_id]
        answer = next(d for d in picture.demo_gender.detections if patch[field].id in (d.id, d.face))
        assert f"**{answer.label}**" in shown["said_demo_gender"]["default"]


def test_an_answer_without_an_id_is_found_by_its_place(evaluated: fo.Dataset) -> None:
    said = on_faces.answers(evaluated, ("gender",))
    on_faces.store(evaluated, "loose", said, by_id=False)
    patches = evaluated.to_patches("faces")
    for patch in patches.limit(3):
        shown = send(evaluated, "on_load", current_sample=patch.id, view=patches._serialize()).panel
        assert f"**{said['gender'][patch.id].label}**" in shown["said_loose_gender"]["default"]


def test_a_whole_picture_says_that_its_faces_were_asked_and_a_clicked_box_shows_them(evaluated: fo.Dataset) -> None:
    picture = evaluated.first()
    whole = send(evaluated, "on_load", current_sample=picture.id)
    faces = picture.faces.detections
    assert f"Models were asked about {len(faces)} faces in this picture" in whole.text
    clicked = [{"label_id": faces[0].id, "sample_id": picture.id, "field": "faces"}]
    shown = send(evaluated, "on_load", current_sample=picture.id, selected_labels=clicked).panel
    assert "shares_demo_gender" in shown
    assert "No model was asked about this picture" not in str(shown)


def test_a_face_that_was_not_asked_about_says_so(dataset_name: str) -> None:
    groups = sources_task.sample_groups(dataset_name)
    patches = groups.to_patches("faces")
    shown = send(groups, "on_load", current_sample=patches.first().id, view=patches._serialize())
    assert "No model was asked about this face" in shown.text
    assert "crop" in shown.panel


def test_faces_of_a_patches_view_are_tagged_relabelled_and_undone(evaluated: fo.Dataset) -> None:
    patches = evaluated.to_patches("faces")
    ids = patches.values("id")[:2]
    sent = send(evaluated, "on_tag", params={"tag": "ambiguous"}, selected=ids, view=patches._serialize())
    assert evaluated.count_label_tags("faces") == {"ambiguous": 2}
    send(evaluated, "on_undo", sent.state)
    assert evaluated.count_label_tags("faces") == {}
    before = evaluated.values("faces.detections.gender")
    made = send(evaluated, "on_relabel", {"relabel": {"label": "Male"}}, selected=ids)
    assert "2 labelled 'Male'" in made.said
    field = made.said.split("'")[3]
    assert evaluated.get_field(field) is not None
    send(evaluated, "on_undo", made.state)
    assert evaluated.get_field(field) is None
    assert evaluated.values("faces.detections.gender") == before


def test_a_refused_face_reads_refused(evaluated: fo.Dataset) -> None:
    picture = evaluated.first()
    refused = picture.demo_gender.detections[0]
    refused.label, refused.confidence, refused.logits = None, None, None
    refused["outcome"], refused["reason"] = "refused", "the server declined"
    picture.save()
    patches = evaluated.to_patches("faces")
    shown = send(evaluated, "on_load", current_sample=refused.face, view=patches._serialize()).panel
    assert "**refused**" in shown["said_demo_gender"]["default"]
    assert "null" not in str(shown)
    assert "None" not in shown["said_demo_gender"]["default"]


def test_runs_on_faces_are_compared_and_shown_without_truth(evaluated: fo.Dataset) -> None:
    said = on_faces.answers(evaluated, ("gender",))
    other = {"gender": dict(list(said["gender"].items())[:-2])}
    on_faces.store(evaluated, "two", other)
    shown = send(evaluated, "on_load", {"tab": "compare"})
    counted = {t["name"]: t["customdata"][0] for t in shown.panel["sides"]["view"]["data"]}
    for side, title in (("both", "both right"), ("neither", "both wrong"), ("second", "only two right")):
        sent = send(evaluated, "on_side", shown.state, params={"side": side})
        assert (len(sent.view) == counted[title]) if counted[title] else ("no such face" in sent.said)
    assert sum(counted.values()) > 0
    evaluated.delete_run("facevlm_demo_eval")
    state = {"told_by": {"run": "demo", "attribute": "gender"}}
    bars = send(evaluated, "on_load", state).panel["labels"]["view"]["data"][0]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == evaluated.count_values("demo_gender.detections.label")
    assert len(send(evaluated, "on_label_said", state, params={"y": bars["y"][0]}).view) == bars["x"][0]
    assert "no such face" in send(evaluated, "on_differ", state, params={"rival": "two"}).said
