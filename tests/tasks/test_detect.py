"""Faces found in pictures of a dataset: every picture ends with one outcome, and nothing is searched or lost twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.detection import DetectorInfo, FoundFace
from facevlm.errors import FacevlmError, FieldError, InputError, TargetError, UnknownName
from facevlm.store import runs
from facevlm.store.rows import detections_fields
from facevlm.tasks import sources as sources_task
from facevlm.tasks.detect import DetectRun
from tests.detection.yunet import WEIGHTS, needs_yunet


class Bright:
    """A detector at the boundary: one face for every picture that is not black, as large as its grey level says."""

    def __init__(self, name: str = "bright") -> None:
        self.info = DetectorInfo(name, "1", "none")
        self.seen: list[int] = []

    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        levels = [int(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]
        self.seen += levels
        marks = ((0.2, 0.2), (0.4, 0.2), (0.3, 0.3), (0.2, 0.4), (0.4, 0.4))
        return [[FoundFace((0.1, 0.1, level / 255, 0.5), 0.9, marks)] if level else [] for level in levels]


@pytest.fixture
def levels(tmp_path: Path, dataset_name: str) -> fo.Dataset:
    """Twenty pictures by grey level, the first of them black, the last one no picture."""
    for k in range(19):
        Image.new("RGB", (100, 100), (10 * k,) * 3).save(tmp_path / f"{k:02}.png")
    (tmp_path / "19.png").write_bytes(b"no picture")
    dataset = fo.Dataset(dataset_name)
    dataset.add_samples([fo.Sample(filepath=tmp_path / f"{k:02}.png") for k in range(20)])
    return dataset


def run(target: Any, detector: Any = None, **options: Any) -> Any:
    return facevlm.detect(target, detector=detector or Bright(), progress=False, **options)


def test_every_picture_ends_with_one_outcome(levels: fo.Dataset) -> None:
    result = run(levels)
    assert (result.asked, result.skipped, result.faces) == (20, 0, 18)
    assert result.outcomes == {"ok": 18, "no_face": 1, "failed": 1}
    assert list(result.reasons) == ["not a picture, or of an unknown format: 19.png"]
    levels.reload()
    assert levels.values("faces.outcome") == ["no_face", *["ok"] * 18, "failed"]
    assert levels.first().faces.reason == "no face was found"
    third = levels.skip(2).first().faces.detections
    assert [d.label for d in third] == ["face"]
    assert third[0].bounding_box == pytest.approx([0.1, 0.1, 20 / 255, 0.5])
    assert third[0].landmarks[2:4] == [0.4, 0.2]
    record = runs.read(levels, result.run_key)
    assert record["outcomes"] == {"ok": 18, "no_face": 1, "failed": 1}
    assert record["detector"]["name"] == "bright"
    assert record["status"] == "done"
    # A search for faces is no run that predicted something.
    assert runs.prefixes(levels) == []
    assert detections_fields(levels) == ["faces"]


def test_a_second_run_searches_what_was_not_searched(levels: fo.Dataset) -> None:
    run(levels[:5])
    again = Bright()
    result = run(levels, again)
    assert (result.asked, result.skipped) == (15, 5)
    assert sorted(again.seen) == [10 * k for k in range(5, 19)]
    # What could not be read is tried again, what was searched is not, also where nobody was found.
    assert run(levels).asked == 1


class Beside(Bright):
    """A detector that sees every face a little to the right, and of dark pictures none."""

    def __init__(self, name: str = "beside") -> None:
        super().__init__(name)

    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        levels = [int(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]
        return [[FoundFace((0.11, 0.1, level / 255, 0.5), 0.8)] if level > 20 else [] for level in levels]


def held(dataset: fo.Dataset) -> list[Any]:
    """All boxes, as the database holds them."""
    return [box for sample in dataset._sample_collection.find() for box in (sample["faces"] or {})["detections"]]


def test_another_detector_is_refused_and_both_are_named(levels: fo.Dataset) -> None:
    run(levels[:5])
    before = levels.values("faces.detections.id")
    with pytest.raises(FieldError, match="found by bright, and this run would search by beside") as refused:
        run(levels, Beside())
    assert "overwrite" in str(refused.value)
    # Also where the view itself has no picture that was searched: a field holds faces of one detector.
    with pytest.raises(FieldError, match="found by bright"):
        run(levels[10:], Beside())
    finer = Bright()
    finer.info = DetectorInfo("bright", "2", "none")
    with pytest.raises(FieldError, match=r"found by bright, .* search by bright, with other weights or options"):
        run(levels, finer)
    assert levels.values("faces.detections.id") == before
    assert run(levels, Beside(), field="beside").asked == 20


def test_auto_does_not_become_another_detector(levels: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_YUNET", "/nowhere/yunet.onnx")
    run(levels[:19], Bright("yunet"))
    with pytest.raises(FieldError, match="found by yunet, and this run would search by haar"):
        facevlm.detect(levels, progress=False)
    again = facevlm.detect(levels[:19], progress=False)
    assert (again.asked, again.skipped) == (0, 19)
    assert "were found by yunet; 'auto' stands for haar by now" in " ".join(again.warnings)


def edited(dataset: fo.Dataset) -> dict[str, str]:
    """What somebody does to boxes: one is drawn, others are tagged, labelled, moved or told something; ids by what."""
    by = {}
    for k, what in enumerate(("drawn", "tagged", "labelled", "moved", "told"), 3):
        sample = dataset.skip(k).first()
        box = sample.faces.detections[0]
        if what == "drawn":
            box = fo.Detection(label="face", bounding_box=[0.6, 0.7, 0.1, 0.1])
            sample.faces.detections.append(box)
        elif what == "tagged":
            box.tags.append("checked")
        elif what == "labelled":
            box.label = "child"
        elif what == "moved":
            box.bounding_box = [0.5, 0.5, 0.4, 0.4]
        else:
            box["gender"] = "Female"
        sample.save()
        by[what] = box.id
    return by


def test_overwriting_keeps_the_ids_of_faces_and_all_that_somebody_made(levels: fo.Dataset) -> None:
    run(levels)
    by = edited(levels)
    ids = dict(zip(*levels.values(["id", "faces.detections.id"]), strict=True))
    made = {str(box["_id"]): box for box in held(levels) if str(box["_id"]) in by.values()}
    result = run(levels, Beside(), overwrite=True)
    levels.reload()
    after = {str(box["_id"]): box for box in held(levels)}
    assert {i: after[i] for i in made} == made
    # Two dark pictures: their boxes were not found again. The moved box meets no face, which is a new one.
    assert (result.kept, result.replaced, result.removed, result.added) == (5, 12, 2, 1)
    assert result.boxes == "1 added, 12 found again, under the ids they had, 5 kept as they were, 2 removed"
    dark = levels.skip(1).limit(2).values("faces.detections.id", unwind=True)
    assert dark == []
    third = levels.skip(9).first()
    assert [d.id for d in third.faces.detections] == ids[third.id]
    assert third.faces.detections[0].bounding_box[0] == pytest.approx(0.11)
    assert runs.read(levels, result.run_key)["boxes"]["kept"] == 5
    # Searched in this way now, so that the first detector would be another one.
    with pytest.raises(FieldError, match="found by beside, and this run would search by bright"):
        run(levels)


def test_answers_follow_their_faces(levels: fo.Dataset) -> None:
    seen = levels[5:9]
    run(seen)
    facevlm.apply(seen, "demo", ["gender"], faces="faces", prefix="p", progress=False)
    run(seen, Beside(), overwrite=True)
    assert facevlm.apply(seen, "demo", ["gender"], faces="faces", prefix="p", progress=False).asked == 0


@pytest.mark.parametrize(("moved", "asked"), [(0.01, 0), (0.5, 1)])
def test_a_face_whose_box_was_moved_to_another_place_is_asked_again(
    levels: fo.Dataset, moved: float, asked: int
) -> None:
    seen = levels[5:9]
    run(seen)
    facevlm.apply(seen, "demo", ["gender"], faces="faces", prefix="p", progress=False)
    sample = next(sample for sample in seen if sample.faces.detections)
    box = sample.faces.detections[0].bounding_box
    sample.faces.detections[0].bounding_box = [box[0] + moved, *box[1:]]
    sample.save()
    ids = seen.values("p_gender.detections.face")
    again = facevlm.apply(seen, "demo", ["gender"], faces="faces", prefix="p", progress=False)
    assert again.asked == asked
    assert sorted(map(sorted, seen.values("p_gender.detections.face"))) == sorted(map(sorted, ids))
    if asked:
        levels.reload()
        boxes = {d.face: d.bounding_box for d in levels[sample.id].p_gender.detections}
        assert boxes[sample.faces.detections[0].id] == [box[0] + moved, *box[1:]]


@pytest.mark.parametrize("field", ["demo_gender", "demo_faces"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_fields_of_answers_take_no_boxes_and_fields_of_boxes_no_answers(
    levels: fo.Dataset, field: str, overwrite: bool
) -> None:
    run(levels)
    facevlm.apply(levels, "demo", ["gender"], faces="faces", progress=False)
    before = levels.values(f"{field}.detections.id")
    with pytest.raises(FieldError, match=f"'{field}' is already there and was not written by a detector"):
        facevlm.detect(levels, field, detector=Bright(), overwrite=overwrite, progress=False)
    assert levels.values(f"{field}.detections.id") == before
    facevlm.detect(levels, "other_gender", detector=Bright(), progress=False)
    with pytest.raises(FieldError, match="'other_gender' is already there and holds the faces that a detector found"):
        facevlm.apply(levels, "demo", ["gender"], faces="faces", prefix="other", overwrite=overwrite, progress=False)


def test_a_picture_that_cannot_be_read_any_more_keeps_its_boxes(levels: fo.Dataset) -> None:
    run(levels[5:7])
    ids = levels.values("faces.detections.id")
    Path(levels.skip(5).first().filepath).write_bytes(b"gone")
    result = run(levels[5:7], overwrite=True)
    assert result.outcomes == {"failed": 1, "ok": 1}
    levels.reload()
    assert levels.values("faces.detections.id") == ids


def test_boxes_drawn_in_a_picture_that_was_not_searched_stay(levels: fo.Dataset) -> None:
    run(levels[:5])
    sample = levels.skip(8).first()
    on_a_face = fo.Detection(label="face", bounding_box=[0.1, 0.1, 80 / 255, 0.5])
    apart = fo.Detection(label="face", bounding_box=[0.7, 0.7, 0.1, 0.1])
    sample["faces"] = fo.Detections(detections=[on_a_face, apart])
    sample.save()
    result = run(levels)
    sample.reload()
    assert [d.id for d in sample.faces.detections] == [on_a_face.id, apart.id]
    assert sample.faces.outcome == "ok"
    assert (result.kept, result.added) == (2, 13)


def test_quality_is_added_to_the_boxes_that_are_there(levels: fo.Dataset) -> None:
    run(levels[:12])
    by = edited(levels)
    before = {str(box["_id"]): box for box in held(levels[:12].clone())}
    result = run(levels[:12], quality=True)
    assert (result.asked, result.measured) == (0, 12)
    levels.reload()
    after = {str(box["_id"]): box for box in held(levels[:12].clone())}
    assert set(after) == set(before)
    assert all(after[i].items() >= before[i].items() for i in before)
    assert all(after[i]["height_px"] for i in before)
    assert after[by["drawn"]]["height_px"] == pytest.approx(10)
    assert after[by["tagged"]]["roll"] == pytest.approx(0)
    # Pictures that are searched now are measured with the rest, and nothing twice.
    assert (run(levels, quality=True).asked, run(levels, quality=True).measured) == (8, 0)
    assert run(levels).asked == 1


def test_a_box_that_is_none_does_not_end_the_search(levels: fo.Dataset) -> None:
    run(levels[5:7])
    sample = levels.skip(5).first()
    sample.faces.detections.append(fo.Detection(label="face"))
    sample.save()
    result = run(levels[5:7], quality=True)
    assert (result.measured, len(result.reasons)) == (2, 1)
    assert run(levels[5:7], overwrite=True).kept == 1


@pytest.mark.parametrize("lost", ["its file", "its area"])
def test_a_picture_that_cannot_be_measured_is_a_reason_and_the_others_are_measured(
    levels: fo.Dataset, lost: str
) -> None:
    run(levels[5:9])
    sample = levels.skip(5).first()
    if lost == "its file":
        Path(sample.filepath).unlink()
    else:
        sample.faces.detections[0].bounding_box = [0.1, 0.1, 0.0, 0.0]
        sample.save()
    for measured in (3, 0):
        result = run(levels[5:9], quality=True)
        assert (result.measured, sum(result.reasons.values())) == (measured, 1)


def test_a_run_that_is_stopped_keeps_what_it_found(levels: fo.Dataset) -> None:
    work = DetectRun(levels, detector=Bright())
    with closing(work.steps()) as steps:
        done = next(steps).done
    assert 0 < done < 20
    levels.reload()
    assert sum(o is not None for o in levels.values("faces.outcome")) == done
    assert runs.read(levels, work.run_key)["status"] == "stopped"
    assert run(levels).asked == 20 - done


class Broken(Bright):
    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        if len(self.seen) >= 8:
            raise InputError("Got a network of paper, expected one of silicon.")
        return super().detect(images)


def test_a_detector_that_breaks_loses_nothing(levels: fo.Dataset) -> None:
    with pytest.raises(InputError, match="of paper"):
        run(levels, Broken())
    assert run(levels).skipped == 8


def test_quality_is_stored_as_numbers_to_group_by(levels: fo.Dataset) -> None:
    run(levels, quality=True)
    schema = levels.get_field_schema(flat=True)
    assert all(
        isinstance(schema[f"faces.detections.{name}"], fo.FloatField)
        for name in ("width_px", "height_px", "sharpness", "brightness", "contrast", "roll", "yaw", "pitch")
    )
    face = levels.skip(2).first().faces.detections[0]
    assert face.brightness == pytest.approx(20 / 255, abs=0.01)
    assert face.height_px == pytest.approx(50)
    assert face.roll == pytest.approx(0)


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


@pytest.mark.parametrize("detector", ["haar", pytest.param("yunet", marks=needs_yunet)])
def test_attributes_of_found_faces_are_judged_on_the_true_ones(groups: fo.Dataset, detector: str) -> None:
    weights = WEIGHTS if detector == "yunet" else None
    options = {"field": "found", "detector": detector, "weights": weights, "quality": True}
    result = facevlm.detect(groups, progress=False, **options)  # type: ignore[arg-type]
    assert result.faces == 28
    truth = {"gender": "faces.detections.gender", "race5": "faces.detections.race"}
    for field in ("faces", "found"):
        facevlm.apply(groups, "demo", list(truth), faces=field, prefix=f"on_{field}", device="cpu", progress=False)
    on_true, on_found = (
        facevlm.evaluate(groups, prefix=f"on_{f}", faces="faces", ground_truth=truth, draws=9)
        for f in ("faces", "found")
    )
    for name in truth:
        assert on_found[name].overall.n == 28
        # One face of 28 is 3.6 points; the figure that counts is that of benchmarks/detection on 2,196 faces.
        assert on_found[name].overall.accuracy >= on_true[name].overall.accuracy - 2 / 28


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"detector": "yunett"}, UnknownName, "Did you mean 'yunet'"),
        ({"field": "9 faces"}, FieldError, "expected letters, digits and underscores"),
        ({"field": "label"}, FieldError, "was not written by a detector"),
        ({"field": "boxes"}, FieldError, "was not written by a detector"),
        ({"min_confidence": 3}, InputError, "between 0 and 1"),
        ({"tiles": "perhaps"}, InputError, "auto, on, off"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    levels: fo.Dataset, options: dict[str, Any], error: type[FacevlmError], said: str
) -> None:
    levels.add_sample_field("label", fo.StringField)
    levels.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(error, match=said):
        facevlm.detect(levels, progress=False, **options)
    with pytest.raises(TargetError):
        run(levels.limit(0))
    assert "faces" not in levels.get_field_schema()
    assert levels.list_runs() == []


NAN = float("nan")


@pytest.mark.parametrize(
    "odd",
    [
        FoundFace((NAN, 0.1, 0.2, 0.2), 0.9),
        FoundFace((0.1, 0.1, float("inf"), 0.2), 0.9),
        FoundFace((10**400, 0.1, 0.2, 0.2), 0.9),
        FoundFace((0.1, 0.1, 0.0, 0.2), 0.9),
        FoundFace((0.1, 0.1, 0.2), 0.9),  # type: ignore[arg-type]
        FoundFace(("left", 0.1, 0.2, 0.2), 0.9),  # type: ignore[arg-type]
        FoundFace((0.1, 0.1, 0.2, 0.2), NAN),
        FoundFace((0.1, 0.1, 0.2, 0.2), "sure"),  # type: ignore[arg-type]
        FoundFace((0.1, 0.1, 0.2, 0.2), 0.9, ((NAN, 0.1),) * 5),
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("quality", [True, False])
def test_a_box_that_is_none_fails_its_picture_and_no_other(levels: fo.Dataset, odd: FoundFace, quality: bool) -> None:
    class Odd(Bright):
        def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
            first = not self.seen
            rows = super().detect(images)
            return [[*rows[0], odd], *rows[1:]] if first else rows

    result = facevlm.detect(levels, detector=Odd(), quality=quality, progress=False)
    assert (result.outcomes["ok"], result.outcomes["failed"]) == (18, 2)
    assert len([why for why in result.reasons if why.startswith("the detector gave the box ")]) == 1
    assert levels.first().faces.outcome == "failed"
