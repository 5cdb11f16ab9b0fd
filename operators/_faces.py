"""The part of the form about what is asked about: whole pictures, or the faces in a field of boxes."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.detection import FIELD
from facevlm.errors import check_sizes
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import asking, detections, targets
from facevlm.store.rows import detections_fields
from facevlm.tasks.apply import selected
from facevlm.tasks.detect import DetectRun

from . import _forms

WHOLE, FIRST = "whole", "first"
"""Choices beside the fields of boxes: the picture as a whole, and faces that are found first."""


def target(ctx: foo.ExecutionContext) -> targets.Collection:
    """The pictures or patches of the view, those that are selected, or only the selected faces of them."""
    view = targets.with_all_fields(ctx.target_view())
    if not _forms.is_ticked(ctx, "selected_faces") or not ctx.selected_labels:
        return view
    return view.select_labels(labels=ctx.selected_labels, fields=chosen_field(ctx, view))


def selection(ctx: foo.ExecutionContext, view: targets.Collection) -> Selection | None:
    """The faces that the form chooses; None for whole pictures.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    field = chosen_field(ctx, view)
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
    return Crop(margin=usual.margin if margin is None else margin, align=_forms.is_ticked(ctx, "align"))


def search(ctx: foo.ExecutionContext) -> DetectRun | None:
    """The search for faces that comes first, if the form wants one.

    Raises :class:`~facevlm.errors.FacevlmError` where it cannot begin.
    """
    view = ctx.target_view()
    return DetectRun(view) if chosen_field(ctx, view) == FIRST else None


def count(ctx: foo.ExecutionContext) -> int:
    """How many faces the form is about; one per picture where they are still to be found."""
    view = target(ctx)
    return targets.size(view) if chosen_field(ctx, view) == FIRST else asking.count(view, selection(ctx, view))


def inputs(ctx: foo.ExecutionContext, inputs: Any, usual: Crop, *, finds: bool = True) -> None:
    """Which faces, and how they are cut out; with ``finds`` they may be found first."""
    view = ctx.target_view()
    shown = targets.patches_field(view)
    fields = [shown] if shown else detections_fields(view._root_dataset)
    inputs.view("subject", types.Header(label="Faces", description="What to ask about", divider=True))
    whole = {} if shown else {WHOLE: "Whole pictures, each of one person"}
    options = whole | {name: f"Every box in '{name}'" for name in fields}
    if not shown and finds:
        options[FIRST] = f"Every face, found first where that was not done ('{FIELD}')"
    about = _forms.dropdown(inputs, "about", options, label="About", default=chosen_field(ctx, view))
    chosen = chosen_field(ctx, view)
    if chosen == FIRST and not finds:
        _forms.lacks(about, "Choose faces that are known, or run 'Detect faces' first.")
    elif chosen == FIRST:
        _forms.attempt(about, lambda: detections.check_field(view._root_dataset, FIELD))
    if chosen in (WHOLE, FIRST):
        # What was written while boxes were chosen is told to the run all the same.
        _forms.attempt(about, lambda: _check_framing(ctx, usual))
        return
    if ctx.selected_labels:
        inputs.bool("selected_faces", label=f"Only the selected labels ({len(ctx.selected_labels):,})", default=False)
    box = inputs.bool("framing", label="Which boxes, and how they are cut out", default=False)
    if ctx.params.get("framing"):
        _framing(ctx, inputs, usual)
    else:
        _forms.attempt(box, lambda: _check_framing(ctx, usual))
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
    least = inputs.int(
        "min_face_px", label="Least size in pixels", description="Smaller faces are left out, as no_face", min=1
    )
    _forms.attempt(least, lambda: _check_least(ctx))
    margin = inputs.float(
        "margin",
        label="Margin",
        description="Around the box, as a share of its size: 0.25, or 1.25 for the whole head and shoulders",
        default=usual.margin,
    )
    _forms.attempt(margin, lambda: crop(ctx, usual))
    inputs.bool("align", label="Turn faces so that the eyes are level", description="Needs landmarks", default=False)


def _check_framing(ctx: foo.ExecutionContext, usual: Crop) -> None:
    _check_least(ctx)
    crop(ctx, usual)


def _check_least(ctx: foo.ExecutionContext) -> None:
    check_sizes(min_face_px=ctx.params.get("min_face_px"))


def chosen_field(ctx: foo.ExecutionContext, view: targets.Collection) -> str:
    """The field of boxes that is chosen, or ``WHOLE``."""
    shown = targets.patches_field(view)
    if shown is not None:
        return shown
    usual = FIELD if FIELD in detections_fields(view._root_dataset) else WHOLE
    return str(ctx.params.get("about") or usual)
