"""Detect faces."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo

from facevlm.detection import AUTO, FIELD, TILES, Search, added, check
from facevlm.store import detections, targets
from facevlm.tasks.detect import DetectResult, DetectRun

from . import _forms, _operator, _trust
from ._marks import Marked, code, joined, marked, plain
from .apply import ApplyVlmFaceAttributes

NAME = "detect_faces"
LABEL = "Detect faces"
MODES = {
    _forms.RESUME: "Leave them, and search only the others",
    _forms.OVERWRITE: "Search every picture again: boxes that somebody drew, moved, tagged or labelled stay",
}
DETECTORS = {
    AUTO: "The best that is there: YuNet, else Haar",
    "yunet": "YuNet: boxes, confidence, landmarks",
    "haar": "Haar cascade: comes with OpenCV, frontal faces alone",
    "paligemma": "PaliGemma, asked to detect faces",
    "florence-2": "Florence-2, asked to detect faces",
}


class DetectFaces(_operator.Operator):
    """Finds the faces of every picture and stores their boxes."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Find the faces of every picture and store their boxes; nobody is recognised. Takes a detector and a field; "
        "gives a field of Detections, by default 'faces', to ask about each face.",
        "center_focus_strong",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "about", "Faces are found, nobody is recognised.")
        others = {name: f"{name}, from {addition.package}" for name, addition in added().items()}
        detector = _forms.dropdown(inputs, "detector", DETECTORS | others, label="Detector", default=AUTO)
        inputs.str(
            "weights",
            label="Weights",
            description="YuNet's file, or hf:ID-or-folder of another model",
        )
        field = inputs.str("field", label="Field", description="Where the boxes go", default=FIELD)
        target = ctx.target_view()
        _forms.attempt(field, lambda: _check(target, ctx.params.get("field") or FIELD))
        inputs.float("min_confidence", label="Least confidence", description="Empty: 0.8 for YuNet", min=0, max=1)
        inputs.int("min_face_px", label="Least size in pixels", description="Of the shorter side of a face", min=1)
        inputs.int("max_faces", label="Most faces of a picture", description="The most confident ones", min=1)
        tiles = {
            "auto": "Where a picture shows a crowd, or is very large and shows nobody",
            "on": "Always",
            "off": "Never",
        }
        _forms.dropdown(inputs, "tiles", tiles, label="Look at large pictures piece by piece", default=TILES[0])
        inputs.bool(
            "quality",
            label="Measure quality",
            description="Size, sharpness, brightness, contrast, pose: to group errors by",
            default=False,
        )
        _forms.choice(inputs, MODES, "Pictures that were searched")
        _forms.attempt(detector, lambda: check(_trust.told(ctx, "detector") or AUTO, _search(ctx)))

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Loading the detector")
        run = DetectRun(
            ctx.target_view(),
            ctx.params.get("field") or FIELD,
            _trust.told(ctx, "detector") or AUTO,
            search=_search(ctx),
            quality=_forms.is_ticked(ctx, "quality"),
            overwrite=_forms.overwrites(ctx),
        )
        yield from self.followed(ctx, run, "pictures")
        then = _operator.button(ApplyVlmFaceAttributes)
        yield from _forms.finished(ctx, [run.prefix], "Faces are stored", _summary(run.result()), then)


def _check(target: targets.Collection, field: str) -> None:
    targets.check(target)
    detections.check_field(target._dataset, field)


def _search(ctx: foo.ExecutionContext) -> Search:
    """What the form says. Fields that are empty, or were never sent, keep their defaults.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    names = ("min_confidence", "min_face_px", "max_faces", "tiles")
    given = {name: ctx.params.get(name) for name in names} | {"weights": _trust.told(ctx, "weights")}
    return Search(**{name: value for name, value in given.items() if value not in (None, "")})


def _summary(result: DetectResult) -> Marked:
    if not result.asked:
        nothing = plain(f"Nothing to search: all {result.skipped:,} pictures were searched before.")
        return joined("\n\n", [nothing, *_remarks(result)])
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(result.outcomes.items()))
    lines = [
        marked("{:,} faces in {}, found by {}", result.faces, code(result.field), result.detector.name)
        + marked(" in {:,} pictures ({}), {:,} were searched", result.asked, counts, result.skipped)
        + marked(" before, {:.1f} s.", result.seconds),
        *_remarks(result),
    ]
    return joined("\n\n", lines)


def _remarks(result: DetectResult) -> list[Marked]:
    """What became of the boxes, and what a user should read."""
    return [
        *([plain(f"Boxes: {result.boxes}.")] if result.asked or result.measured else []),
        *_forms.counted(result.reasons.items()),
        *_forms.warned(result.warnings),
    ]
