"""The part of the form about what is asked about: whole pictures, or the faces in a field of boxes."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.detection import FIELD
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import asking, targets
from facevlm.store import detections as found_store
from facevlm.store.rows import detections_fields
from facevlm.tasks.apply import selected
from facevlm.tasks.detect import DetectRun

from . import _forms

WHOLE, FIRST = "whole", "first"
"""Choices beside the fields of boxes: the picture as a whole, and faces that are found first."""


def target(ctx: foo.ExecutionContext) -> targets.Collection:
    """The pictures or patches of the view, those that are selected, or only the selected faces of them."""
    found = ctx.target_view()
    if not ctx.params.get("selected_faces") or not ctx.selected_labels:
        return found
    return found.select_labels(labels=ctx.selected_labels, fields=_about(ctx, found))


def selection(ctx: foo.ExecutionContext, found: targets.Collection) -> Selection | None:
    """The faces that the form chooses; None for whole pictures.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    field = _about(ctx, found)
    if field == WHOLE:
        return None
    if field == FIRST:
        return Selection(FIELD)
    return selected(field, ctx.params.get("face_labels") or (), ctx.params.get("face_confidence"))


def crop(ctx: foo.ExecutionContext, usual: Crop) -> Crop:
    """How faces are cut out.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    margin = ctx.params.get("margin")
    return Crop(margin=usual.margin if margin is None else margin, align=bool(ctx.params.get("align")))


def search(ctx: foo.ExecutionContext) -> DetectRun | None:
    """The search for faces that comes first, if the form wants one.

    Raises :class:`~facevlm.errors.FacevlmError` where it cannot begin.
    """
    found = ctx.target_view()
    return DetectRun(found) if _about(ctx, found) == FIRST else None


def count(ctx: foo.ExecutionContext) -> int:
    """How many faces the form is about; one per picture where they are still to be found."""
    found = target(ctx)
    return len(found) if _about(ctx, found) == FIRST else asking.count(found, selection(ctx, found))


def inputs(ctx: foo.ExecutionContext, inputs: Any, usual: Crop) -> None:
    """Which faces, and how they are cut out."""
    found = ctx.target_view()
    shown = targets.patches_field(found)
    fields = [shown] if shown else detections_fields(found._root_dataset)
    inputs.view("subject", types.Header(label="Faces", description="What to ask about", divider=True))
    whole = {} if shown else {WHOLE: "Whole pictures, each of one person"}
    options = whole | {name: f"Every box in '{name}'" for name in fields}
    if not shown:
        options[FIRST] = f"Every face, found first where that was not done ('{FIELD}')"
    about = _forms.dropdown(inputs, "about", options, label="About", default=_about(ctx, found))
    chosen = _about(ctx, found)
    if chosen == FIRST:
        _forms.attempt(about, lambda: found_store.check_field(found._root_dataset, FIELD))
    if chosen in (WHOLE, FIRST):
        return
    if ctx.selected_labels:
        inputs.bool("selected_faces", label=f"Only the selected labels ({len(ctx.selected_labels):,})", default=False)
    inputs.bool("framing", label="Which boxes, and how they are cut out", default=False)
    if ctx.params.get("framing"):
        _framing(ctx, inputs, usual)
    number = _forms.attempt(about, lambda: count(ctx))
    if number == 0:
        about.invalid, about.error_message = True, "No box is left to ask about: choose others, or a wider view."
    elif number is not None:
        _forms.notice(inputs, "boxes", f"Faces to ask about: {number:,}")


def _framing(ctx: foo.ExecutionContext, inputs: Any, usual: Crop) -> None:
    inputs.list(
        "face_labels",
        types.String(),
        label="Labels of boxes",
        description="Empty: all",
        view=types.AutocompleteView(),
        required=False,
    )
    inputs.float("face_confidence", label="Least confidence of boxes", description="Empty: any", min=0, max=1)
    inputs.int("min_face_px", label="Least size in pixels", description="Smaller faces are left out, as no_face", min=1)
    margin = inputs.float(
        "margin",
        label="Margin",
        description="Around the box, as a share of its size: 0.25, or 1.25 for the whole head and shoulders",
        default=usual.margin,
    )
    _forms.attempt(margin, lambda: crop(ctx, usual))
    inputs.bool("align", label="Turn faces so that the eyes are level", description="Needs landmarks", default=False)


def _about(ctx: foo.ExecutionContext, found: targets.Collection) -> str:
    """The field of boxes that is chosen, or ``WHOLE``."""
    shown = targets.patches_field(found)
    if shown is not None:
        return shown
    usual = FIELD if FIELD in detections_fields(found._root_dataset) else WHOLE
    return str(ctx.params.get("about") or usual)
