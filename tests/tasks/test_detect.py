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
    assert third[0].landmarks[1] == [0.4, 0.2]
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
    assert run(levels, Bright("another")).asked == 20
    ids = levels.values("faces.detections.id")
    assert run(levels, Bright("another"), overwrite=True).asked == 20
    levels.reload()
    assert levels.values("faces.detections.id") != ids


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
