"""Detect faces."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.detection import AUTO, FIELD, TILES, Search, added
from facevlm.store import detections, targets
from facevlm.tasks.detect import DetectResult, DetectRun

from . import _forms

NAME = "detect_faces"
LABEL = "Detect faces"
DETECTORS = {
    AUTO: "The best that is there: YuNet, else Haar",
    "yunet": "YuNet: boxes, confidence, landmarks",
    "haar": "Haar cascade: comes with OpenCV, frontal faces alone",
    "paligemma": "PaliGemma, asked to detect faces",
    "florence-2": "Florence-2, asked to detect faces",
}


class DetectFaces(foo.Operator):
    """Finds the faces of every picture and stores their boxes."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(NAME, LABEL, "Find faces and store their boxes, for questions about each of them")

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        return _forms.placement(LABEL)

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
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
        _forms.existing(inputs, "picture")
        _forms.attempt(detector, lambda: _search(ctx))
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Loading the detector")
        run = DetectRun(
            ctx.target_view(),
            ctx.params.get("field") or FIELD,
            ctx.params.get("detector") or AUTO,
            search=_search(ctx),
            quality=bool(ctx.params.get("quality")),
            overwrite=_forms.overwrites(ctx),
        )
        yield from _forms.followed(ctx, run, "pictures")
        yield from _forms.finished(ctx, [run.prefix], None, "Faces are stored", _summary(run.result()))


def _check(target: targets.Collection, field: str) -> None:
    targets.check(target)
    detections.check_field(target._dataset, field)


def _search(ctx: foo.ExecutionContext) -> Search:
    """What the form says. Fields that are empty, or were never sent, keep their defaults.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    names = ("min_confidence", "min_face_px", "max_faces", "tiles", "weights")
    given = {name: ctx.params.get(name) for name in names}
    return Search(**{name: value for name, value in given.items() if value not in (None, "")})


def _summary(result: DetectResult) -> str:
    if not result.asked:
        return f"Nothing to search: all {result.skipped:,} pictures were searched before."
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(result.outcomes.items()))
    lines = [
        f"{result.faces:,} faces in `{result.field}`, found by {result.detector.name} in {result.asked:,} pictures "
        f"({counts}), {result.skipped:,} were searched before, {result.seconds:.1f} s.",
        *(f"- {count} x {reason}" for reason, count in result.reasons.items()),
        *(f"**Warning:** {warning}" for warning in result.warnings),
    ]
    return "\n\n".join(lines)
