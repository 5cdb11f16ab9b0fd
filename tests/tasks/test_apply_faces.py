"""Faces in pictures: asked one by one, answers on their boxes, nothing lost whichever view they are asked from."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import facevlm
from facevlm.datasets import samples
from facevlm.errors import FacevlmError, FieldError, InputError, TargetError
from facevlm.faces import images
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import asking
from facevlm.store.rows import detections_fields
from facevlm.tasks import sources as sources_task
from facevlm.types import SMALL_PX, Question, Reply
from tests.scripted import ScriptedBackend, certain

TOP = (0.1, 0.1, 0.2, 0.2)
GENDERS = ("Male", "Female")


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


def tell(image: Image.Image, question: Question) -> Reply:
    """By the grey level in the middle of what is shown."""
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    labels = question.attribute.labels
    return certain(labels[pixel[0] // 128 % len(labels)], question)


def run(target: Any, prefix: str = "s", names: tuple[str, ...] = ("gender",), **options: Any) -> Any:
    backend = options.pop("backend", None) or ScriptedBackend(tell)
    options = {"faces": "faces"} | options
    return facevlm.apply(target, backend, list(names), prefix=prefix, progress=False, **options)


def told(dataset: fo.Dataset, name: str = "s_gender") -> dict[str, str]:
    """Id of the face -> what is stored about it."""
    dataset.reload()
    pairs = [(d.face, d.label or d.outcome) for s in dataset for d in (s[name].detections if s[name] else [])]
    assert len(dict(pairs)) == len(pairs), "a face has two answers"
    return dict(pairs)


def face_ids(dataset: fo.Dataset) -> list[str]:
    return [i for ids in dataset.values("faces.detections.id") for i in ids or ()]


def dark_and_light(folder: Path, name: str, boxes: Sequence[tuple[float, ...]]) -> fo.Dataset:
    """Three pictures with a dark (Male) and a light (Female) face each; both boxes are given in each."""
    dataset = fo.Dataset(name)
    for k in range(3):
        picture = Image.new("RGB", (200 + k, 100), (50, 50, 50))
        picture.paste((250, 250, 250), (100, 0, 200 + k, 100))
        picture.save(folder / f"{k}.png")
        made = [fo.Detection(label="face", bounding_box=list(box)) for box in boxes]
        dataset.add_sample(fo.Sample(filepath=folder / f"{k}.png", faces=fo.Detections(detections=made)))
    return dataset


def test_the_demo_model_is_right_about_faces_by_their_boxes(groups: fo.Dataset) -> None:
    result = facevlm.apply(groups, "demo", ["gender", "race5"], faces="faces", device="cpu", progress=False)
    assert (result.asked, result.outcomes["gender"]) == (28, {"ok": 28})
    true = {d.id: d for s in groups for d in s.faces.detections}
    answers = [d for s in groups for d in s.demo_gender.detections]
    assert all(d.bounding_box == true[d.face].bounding_box for d in answers)
    assert sum(d.label == true[d.face].gender for d in answers) >= 26
    # Not by luck of their order: with the boxes of every picture reversed, each face gets what it had.
    before = told(groups, "demo_gender")
    for sample in groups.iter_samples(autosave=True):
        sample.faces.detections = sample.faces.detections[::-1]
    facevlm.apply(groups, "demo", ["gender"], faces="faces", device="cpu", overwrite=True, progress=False)
    assert told(groups, "demo_gender") == before
    judged = facevlm.evaluate(groups, ["gender"], prefix="demo", draws=20)
    assert judged["gender"].overall.n == 28


def test_all_answers_about_a_face_stand_on_one_box(groups: fo.Dataset) -> None:
    run(groups)
    face = groups.first().s_faces.detections[0]
    source = groups.first().faces.detections[0]
    assert (face.id, face.face, face.bounding_box) == (source.id, source.id, source.bounding_box)
    assert (face.label, face.gender, face.outcome) == (face.gender, face.gender, "ok")
    assert face.gender_confidence == pytest.approx(0.9)
    run(groups.limit(1), names=("age5",))
    refusing = ScriptedBackend(lambda *_: Reply(refused=True, error="I will not"))
    run(groups.limit(1), names=("emotion7",), backend=refusing, prefix="s", overwrite=True)
    groups.reload()
    face = groups.first().s_faces.detections[0]
    assert face.label == f"{face.gender}, {face.age5}, ?"
    assert (face.emotion7, face.emotion7_confidence, face.outcome) == (None, None, "refused")
    other = groups.skip(1).first().s_faces.detections[0]
    assert (other.label, other.outcome) == (other.gender, "ok")
    schema = groups.get_field_schema(flat=True)
    assert {"s_faces.detections.gender", "s_faces.detections.age5_confidence"} <= set(schema)
    assert detections_fields(groups) == ["faces"]
    assert groups.filter_labels("s_faces", F("gender") == face.gender).count("s_faces.detections") > 0


def test_patches_selected_labels_and_filters_reach_just_their_faces(groups: fo.Dataset) -> None:
    ids = face_ids(groups)
    patches = groups.to_patches("faces")
    assert run(patches.limit(3), faces=None).asked == 3
    assert run(patches.skip(3).limit(4), faces="faces").asked == 4
    assert set(told(groups)) == set(ids[:7])
    record = groups.get_run_info("facevlm_s").config
    assert "ToPatches" in record.view
    assert (record.faces, record.about["field"], record.crop["margin"]) == (4, "faces", 0.25)
    assert run(groups.select_labels(ids=ids[10:12])).asked == 2
    assert run(groups.filter_labels("faces", F("gender") == "Female")).asked > 0
    females = {d.id for s in groups for d in s.faces.detections if d.gender == "Female"}
    assert set(told(groups)) == set(ids[:7]) | set(ids[10:12]) | females
    # The answers are in the dataset, where a new view of patches finds them.
    assert groups.to_patches("s_gender").count() == len(told(groups))
    assert run(groups).asked == 28 - len(set(ids[:7]) | set(ids[10:12]) | females)
    assert set(told(groups)) == set(ids)
    assert run(patches).skipped == 28


def test_labels_and_confidence_choose_faces(groups: fo.Dataset) -> None:
    for k, sample in enumerate(groups.iter_samples(autosave=True)):
        for n, face in enumerate(sample.faces.detections):
            face.label, face.confidence = ("face", "head")[n % 2], None if k == 0 else (k + n) / 20
    made = [d for s in groups for d in s.faces.detections]
    cases: tuple[tuple[dict[str, Any], Callable[[fo.Detection], bool]], ...] = (
        ({"face_labels": ["head"]}, lambda d: d.label == "head"),
        ({"min_confidence": 0.2}, lambda d: d.confidence is None or d.confidence >= 0.2),
        (
            {"face_labels": ("face",), "min_confidence": 0.3},
            lambda d: d.label == "face" and (d.confidence is None or d.confidence >= 0.3),
        ),
    )
    for options, takes in cases:
        prefix = f"p{len(groups.list_runs())}"
        result = run(groups, prefix, **options)
        chosen = {d.id for d in made if takes(d)}
        assert set(told(groups, f"{prefix}_gender")) == chosen
        selection = Selection("faces", tuple(options.get("face_labels", ())), options.get("min_confidence"))
        assert result.asked == len(chosen) == asking.count(groups, selection)
    assert 0 < len(chosen) < 28
    assert asking.count(groups, Selection("faces")) == asking.count(groups.to_patches("faces")) == 28
    assert asking.count(groups) == len(groups)


def test_faces_of_a_picture_cost_one_decode(tmp_path: Path, dataset_name: str) -> None:
    boxes = [(0.05 * k, 0.1, 0.1, 0.2) for k in range(8)]
    dataset = dark_and_light(tmp_path, dataset_name, boxes)
    with mock.patch.object(images, "load", wraps=images.load) as load:
        result = run(dataset, batch_size=5)
    assert result.asked == 24
    assert collections.Counter(call.args[0] for call in load.call_args_list) == dict.fromkeys(
        dataset.values("filepath"), 1
    )


def test_boxes_are_of_the_upright_picture(tmp_path: Path, dataset_name: str) -> None:
    dataset = dark_and_light(tmp_path, dataset_name, [(0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 0.4, 1.0)])
    exif = Image.Exif()
    exif[274] = 6
    for path in dataset.values("filepath"):
        # Lies on its side in the file, and says so.
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    run(dataset, crop=Crop(margin=0))
    for sample in dataset:
        assert [d.label for d in sample.s_gender.detections] == list(GENDERS)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((2.0, 2.0, 0.5, 0.5), "lies outside"),
        ((0.1, 0.1, 0.0, 0.5), "has no area"),
        ((math.nan, 0.1, 0.5, 0.5), "not finite"),
        ((-4e4, -4e4, 8e4, 8e4), "too large"),
        ((0.1, 0.1, 0.5), "not finite"),
    ],
)
def test_a_bad_box_fails_alone_with_its_reason(
    tmp_path: Path, dataset_name: str, box: tuple[float, ...], reason: str
) -> None:
    dataset = dark_and_light(tmp_path, dataset_name, [TOP, box, (0.7, 0.1, 0.2, 0.2)])
    result = run(dataset)
    assert result.outcomes["gender"] == {"ok": 6, "failed": 3}
    assert reason in next(iter(result.tally.reasons))
    for sample in dataset:
        assert [d.label for d in sample.s_gender.detections] == ["Male", None, "Female"]
        assert [d.label for d in sample.s_faces.detections] == ["Male", "?", "Female"]
    assert run(dataset).asked == 3


EDGES = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-1, 2))


@settings(max_examples=6, deadline=None)
@given(st.lists(st.lists(EDGES, min_size=4, max_size=4), min_size=1, max_size=40))
def test_whatever_the_boxes_every_face_has_one_outcome(boxes: list[list[float]]) -> None:
    dataset = fo.Dataset()
    try:
        faces = [fo.Detection(bounding_box=box) for box in [*boxes, [0, 0, 1, 1]]]
        path = str(samples.read("group")[0].filepath)
        dataset.add_sample(fo.Sample(filepath=path, faces=fo.Detections(detections=faces)))
        result = run(dataset)
        assert sum(result.outcomes["gender"].values()) == len(faces)
        assert result.outcomes["gender"]["ok"] >= 1
        assert len(told(dataset)) == len(faces)
    finally:
        dataset.delete()


def test_small_faces_are_flagged_and_can_be_left_out(tmp_path: Path, dataset_name: str) -> None:
    sides = [SMALL_PX - 2, SMALL_PX, 60]
    boxes = [(0.01, 0.01, side / 200, side / 100) for side in sides]
    dataset = dark_and_light(tmp_path, dataset_name, [(*box,) for box in boxes])
    result = run(dataset[:1])
    assert result.tally.small == 1
    assert [d.small for d in dataset.first().s_gender.detections] == [True, False, False]
    result = run(dataset[:1], "t", min_face_px=40)
    assert result.outcomes["gender"] == {"no_face": 2, "ok": 1}
    assert list(result.tally.reasons) == ["small: the face has less than min_face_px=40 pixels"]
    dataset.reload()
    assert [d.outcome for d in dataset.first().t_gender.detections] == ["no_face", "no_face", "ok"]
    with pytest.raises(InputError, match="min_face_px=0"):
        run(dataset, "u", min_face_px=0)


def test_pictures_without_a_face_are_said_and_known_as_looked_at(groups: fo.Dataset) -> None:
    first = groups.first()
    first.faces = fo.Detections()
    first.save()
    result = run(groups)
    assert result.pictures_without == 1
    groups.reload()
    assert groups.first().s_gender.detections == []
    # Who was looked for and not found there counts as such, where somebody should be.
    truth = fo.Detections(detections=[fo.Detection(label="face", bounding_box=list(TOP), gender="Male")])
    groups.add_sample_field("truth", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    groups.set_values("truth", {groups.first().id: truth}, key_field="id")
    groups.add_dynamic_sample_fields()
    judged = facevlm.evaluate(
        groups.limit(1),
        ["gender"],
        prefix="s",
        ground_truth={"gender": "truth.detections.gender"},
        faces="truth",
        draws=9,
    )
    assert judged["gender"].overall.outcomes == {"no_face": 1}


def test_answers_about_faces_that_are_gone_are_taken_away(groups: fo.Dataset) -> None:
    run(groups)
    sample = groups.first()
    gone = sample.faces.detections[0].id
    sample.faces.detections = sample.faces.detections[1:]
    sample.save()
    run(groups, overwrite=True)
    assert set(told(groups)) == set(face_ids(groups))
    assert gone not in told(groups)
    assert gone not in {d.id for d in groups.first().s_faces.detections}


def test_how_faces_are_cut_out_is_part_of_what_was_asked(groups: fo.Dataset) -> None:
    run(groups)
    assert run(groups, crop=Crop()).asked == 0
    with pytest.raises(FieldError, match="another model or prompt"):
        run(groups, crop=Crop(margin=1.25))
    run(groups, crop=Crop(margin=1.25), overwrite=True)
    assert groups.get_run_info("facevlm_s").config.crop["margin"] == 1.25


def test_landmarks_level_a_face(groups: fo.Dataset) -> None:
    seen: list[Image.Image] = []

    def look(image: Image.Image, question: Question) -> Reply:
        seen.append(image)
        return certain("Male", question)

    sample = groups.first()
    for face in sample.faces.detections:
        x, y, w, h = face.bounding_box
        face.landmarks = [[x, y], [x + w, y + h / 2]]
    sample.save()
    groups.add_dynamic_sample_fields()
    for align in (False, True):
        run(groups[:1], f"a{align:d}", crop=Crop(align=align), backend=ScriptedBackend(look))
    plain, level = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(plain) == len(level) == len(sample.faces.detections)
    assert all(a.tobytes() != b.tobytes() for a, b in zip(plain, level, strict=True))


def test_texts_with_dollar_signs_are_texts(groups: fo.Dataset) -> None:
    bill = ScriptedBackend(lambda *_: Reply(text="$faces.detections"))
    run(groups[:1], backend=bill)
    groups.reload()
    assert {d.text for d in groups.first().s_gender.detections} == {"$faces.detections"}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"faces": "nope"}, FieldError, "expected a field of Detections: faces"),
        ({"face_labels": ["cat"]}, FieldError, "None of the 28 faces of field 'faces' has label cat"),
        ({"min_confidence": 1.5}, InputError, "expected a share between 0 and 1"),
        ({"faces": None, "min_confidence": 0.5}, InputError, "without faces"),
    ],
)
def test_bad_choices_of_faces_are_refused_before_anything_is_written(
    groups: fo.Dataset, options: dict[str, Any], error: type[FacevlmError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(groups, **options)
    assert groups.list_runs() == []
    assert "s_gender" not in groups.get_field_schema()


def test_fields_about_pictures_and_about_faces_do_not_mix(groups: fo.Dataset) -> None:
    run(groups, faces=None)
    with pytest.raises(FieldError, match="holds predictions about whole pictures"):
        run(groups)
    run(groups, "t")
    with pytest.raises(FieldError, match="holds predictions about faces"):
        run(groups, "t", faces=None)
    groups.add_sample_field("u_faces", fo.StringField)
    with pytest.raises(FieldError, match="'u_faces' is already there and was not written by facevlm"):
        run(groups, "u")
    with pytest.raises(FieldError, match="patches of 'faces'"):
        run(groups.to_patches("faces"), "v", faces="t_gender")
    empty = groups.clone()
    empty.clear_sample_field("faces")
    with pytest.raises(FieldError, match="holds no face"):
        run(empty, "v")
    empty.delete()
    with pytest.raises(TargetError, match="no sample"):
        run(groups.limit(0))


def test_what_somebody_drew_or_tagged_among_the_answers_stays(groups: fo.Dataset) -> None:
    run(groups)
    sample = groups.first()
    drawn = fo.Detection(label="Male", bounding_box=[0.0, 0.0, 0.1, 0.1])
    sample.s_gender.detections.append(drawn)
    sample.s_faces.detections[0].tags.append("looked at")
    sample.save()
    tagged = sample.s_faces.detections[0].id
    run(groups, names=("gender", "age5"), overwrite=True)
    sample.reload()
    assert drawn.id in [d.id for d in sample.s_gender.detections]
    assert {d.id: d.tags for d in sample.s_faces.detections if d.tags} == {tagged: ["looked at"]}
    assert len(sample.s_gender.detections) == len(sample.faces.detections) + 1
