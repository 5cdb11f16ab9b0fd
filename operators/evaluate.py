"""Evaluate face attributes against ground truth."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import attributes as registry
from facevlm.errors import FacevlmError, FieldError
from facevlm.evaluation import figures, sets
from facevlm.reports.structure import figure_cells, headings
from facevlm.store import evaluations, provenance, runs, targets, workspace
from facevlm.store.predictions import field_name
from facevlm.store.rows import PictureRows, detections_fields, rows_of
from facevlm.tasks.evaluate import (
    EvaluationResult,
    check_adjust,
    check_groups,
    check_key,
    evaluate,
    predicted_attributes,
)
from facevlm.types import Attribute

from . import _forms, _operator, keep
from ._marks import Marked, joined, marked, plain, table

NAME = "evaluate_face_attributes"
LABEL = "Evaluate face attributes against ground truth"
TRUTH = "truth_"
SKIP = "(do not evaluate)"


class EvaluateFaceAttributes(_operator.Operator):
    """Compares predictions with ground truth and leaves the result in the Model Evaluation panel."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Hold predicted face attributes against ground truth. Takes the prefix of predictions and a field of ground "
        "truth for each attribute; gives accuracy, macro F1 and confusion with n and intervals, overall and per group, "
        "saved views of the errors, and an evaluation KEY_ATTRIBUTE.",
        "analytics",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        prefixes = runs.prefixes(ctx.dataset)
        if not prefixes:
            text = f"This dataset holds no predictions. Run '{'Apply VLM face attributes'}' first."
            _forms.refuse(inputs, "nothing", text)
            return
        options = {p: p for p in prefixes}
        _forms.dropdown(inputs, "prefix", options, label="Predictions", default=prefixes[-1])
        target, prefix = targets.with_all_fields(ctx.target_view()), ctx.params.get("prefix") or prefixes[-1]
        rows = _face_inputs(ctx, inputs, target, prefix)
        if rows is None:
            return
        truths = _truth_inputs(ctx, inputs, rows, prefix)
        _run_inputs(inputs, rows, prefix, list(truths))
        _group_inputs(ctx, inputs, rows, truths)
        usual = f"{prefix}_eval"
        text = "Evaluations are named KEY_ATTRIBUTE"
        key = inputs.str("eval_key", label="Evaluation key", description=plain(text), default=usual)
        fields = {name: field_name(prefix, name) for name in truths}
        _forms.attempt(key, lambda: check_key(rows, ctx.params.get("eval_key") or usual, fields))

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Evaluating")
        prefixes = runs.prefixes(ctx.dataset)
        if not prefixes:
            raise FieldError(f"Dataset '{ctx.dataset.name}' holds no predictions of facevlm. Apply a model first.")
        target, prefix = targets.with_all_fields(ctx.target_view()), ctx.params.get("prefix") or prefixes[-1]
        rows = _rows(target, prefix, ctx.params.get("faces") or None)
        truths = _truths(_choices(ctx, rows, prefix))
        if not truths:
            raise FieldError(_no_truth(rows))
        result = evaluate(
            target,
            list(truths),
            prefix=prefix,
            ground_truth=truths,
            groups=ctx.params.get("groups") or None,
            faces=getattr(rows, "faces", None),
            eval_key=ctx.params.get("eval_key") or None,
            runs=ctx.params.get("runs") or (),
            adjust=ctx.params.get("adjust") or (),
            sets=ctx.params.get("sets"),
            cluster=ctx.params.get("cluster") or None,
        )
        yield from _forms.progress(ctx, 1, 1, "Evaluated")
        yield from keep.painted(ctx)
        yield from keep.showing(ctx, result.shown)
        yield ctx.ops.set_spaces(spaces=workspace.errors_space())
        yield _forms.output(ctx, "Evaluation", _summary(ctx, result))


def _predicted(target: targets.Collection, prefix: str) -> list[Attribute]:
    known = registry.shipped()
    return [known.get(name) for name in predicted_attributes(target, prefix, known)]


def _rows(target: targets.Collection, prefix: str, faces: str | None) -> PictureRows:
    """What the predictions are about: pictures, or the faces of a field of Detections."""
    return rows_of(target, [field_name(prefix, a.name) for a in _predicted(target, prefix)], faces)


def _face_inputs(ctx: foo.ExecutionContext, inputs: Any, target: targets.Collection, prefix: str) -> PictureRows | None:
    """The field of true faces, where predictions are on faces; None where that is still to be chosen."""
    known = detections_fields(target)
    chosen = ctx.params.get("faces") or (known[0] if len(known) == 1 else None)
    try:
        rows = _rows(target, prefix, None)
    except FieldError:
        options = {name: name for name in known}
        prop = _forms.dropdown(inputs, "faces", options, label="Faces with ground truth", required=True)
        return _forms.attempt(prop, partial(_rows, target, prefix, chosen))
    return rows


@dataclass(frozen=True)
class _Choice:
    """The ground-truth field of an attribute: what the form was sent, else ``usual``, the one that it begins with."""

    attribute: Attribute
    usual: str
    field: str


def _choices(ctx: foo.ExecutionContext, rows: PictureRows, prefix: str) -> list[_Choice]:
    """What is evaluated by which field, for the form and for the run alike.

    By itself a field is taken only where its name is that of the attribute and its values fit; one that the user chose
    is taken as it is, and refused in words where it does not fit.
    """
    choices = []
    for attribute in _predicted(rows.target, prefix):
        guess = evaluations.guess_truth(rows, attribute, registry.shipped())
        usual = guess if guess is not None and _fits(rows, guess, attribute) is not None else SKIP
        choices.append(_Choice(attribute, usual, ctx.params.get(TRUTH + attribute.name) or usual))
    return choices


def _truths(choices: Sequence[_Choice]) -> dict[str, str]:
    """Attribute -> field of those that are to be evaluated."""
    return {choice.attribute.name: choice.field for choice in choices if choice.field != SKIP}


def _fits(rows: PictureRows, field: str, attribute: Attribute) -> str | None:
    """The map by which a field's values become the attribute's labels, in words; None where they do not."""
    try:
        return evaluations.alignment_of(rows, field, attribute, registry.shipped()).describe(attribute.name)
    except FacevlmError:
        return None


def _truth_inputs(ctx: foo.ExecutionContext, inputs: Any, rows: PictureRows, prefix: str) -> dict[str, str]:
    """A ground-truth field for every predicted attribute, only fields that fit offered; returns the choice."""
    inputs.view("truth", types.Header(label="Ground truth", divider=True))
    choices = _choices(ctx, rows, prefix)
    for choice in choices:
        attribute, field = choice.attribute, choice.field
        known = {name: _fits(rows, name, attribute) for name in evaluations.truth_fields(rows)}
        fitting = {name: how for name, how in known.items() if how is not None}
        options = {SKIP: SKIP} | {name: f"{name}  ({how})" for name, how in fitting.items()}
        prop = _forms.dropdown(
            inputs,
            TRUTH + attribute.name,
            options | ({} if field in options else {field: field}),
            label=plain(attribute.title),
            description=plain(fitting.get(field) or ""),
            default=choice.usual,
        )
        if field != SKIP:
            _forms.attempt(prop, partial(evaluations.alignment_of, rows, field, attribute, registry.shipped()))
    chosen = _truths(choices)
    if not chosen:
        _forms.refuse(inputs, "none", _no_truth(rows))
    return chosen


def _no_truth(rows: PictureRows) -> str:
    fields = ", ".join(evaluations.truth_fields(rows)) or "none"
    return (
        "No attribute has a ground-truth field: choose one for at least one attribute. Fields that could be ground "
        f"truth: {fields}."
    )


def _run_inputs(inputs: Any, rows: PictureRows, prefix: str, attributes: Sequence[str]) -> None:
    """Whose answers count, where a field holds those of several models or prompts."""
    held = {name: provenance.runs_in(rows.target, field_name(prefix, name)) for name in attributes}
    options = {str(by.run): f"{name}: {by}" for name, found in held.items() if len(found) > 1 for by in found}
    if options:
        inputs.list(
            "runs",
            types.String(),
            label="Whose answers",
            description="Fields hold answers of several runs, figures are made of those of one: choose one for each",
            view=_forms.choices(types.DropdownView(multiple=True), options),
            required=True,
        )


def _group_inputs(ctx: foo.ExecutionContext, inputs: Any, rows: PictureRows, truths: dict[str, str]) -> None:
    names = dict.fromkeys([*truths.values(), *evaluations.group_fields(rows)])
    groups = inputs.list(
        "groups",
        types.String(),
        label="Groups",
        description="Fields to compare groups by; empty: the ground-truth fields above",
        view=_forms.choices(types.DropdownView(multiple=True), {n: n for n in names}),
        required=False,
    )
    chosen = ctx.params.get("groups") or []
    for name in chosen:
        if name not in truths.values():
            _forms.attempt(groups, partial(evaluations.group_values, rows, name))
    _forms.attempt(groups, partial(check_groups, chosen))
    _design_inputs(ctx, inputs, rows, [n for n in names if n not in chosen], truths)


def _design_inputs(
    ctx: foo.ExecutionContext, inputs: Any, rows: PictureRows, names: Sequence[str], truths: dict[str, str]
) -> None:
    """What explains a part of the differences, and which faces go together."""
    text = "Compare groups also with the same mix of these fields' values, such as age"
    adjust = _forms.several(inputs, "adjust", names, "Adjust by", text)
    chosen = ctx.params.get("adjust") or []
    for name in chosen:
        if name not in truths.values():
            _forms.attempt(adjust, partial(evaluations.group_values, rows, name))
    _forms.attempt(adjust, partial(check_adjust, chosen, ctx.params.get("groups") or []))
    usable = {name: name for name in names if name not in truths.values()}
    text = "Faces with the same value belong together, such as pictures of one person: intervals and tests know it"
    cluster = _forms.dropdown(inputs, "cluster", usable, label="Clusters", description=plain(text), required=False)
    if name := ctx.params.get("cluster"):
        _forms.attempt(cluster, partial(evaluations.cluster_values, rows, name, list(truths.values())))
    inputs.bool("advanced", label="Advanced", default=False)
    if ctx.params.get("advanced"):
        _sets_input(ctx, inputs)


def _sets_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """Which labels are still possible."""
    text = "Share of faces whose set of labels is to hold the true one, such as 0.9; empty: no sets"
    prop = inputs.float("sets", label="Label sets", description=plain(text), required=False)
    wanted = ctx.params.get("sets")
    if wanted is not None:
        _forms.attempt(prop, partial(sets.check, wanted))


def _summary(ctx: foo.ExecutionContext, result: EvaluationResult) -> Marked:
    cells = [(evaluation.attribute, evaluation.overall) for evaluation in result.evaluations]
    ordinal = any(figures.is_ordinal(cell.figures) for _, cell in cells)
    shown = figures.shown("operator", ordinal=None if ordinal else False)
    rows = [
        [name, str(cell.n), *(c.shown for c in figure_cells("operator", shown, cell.figures))] for name, cell in cells
    ]
    header = ["attribute", "n", *headings("operator", shown)]
    beside = (
        f"Shares are in per cent. The panel 'Face attribute errors' stands beside the grid; its workspace is kept as "
        f"'{result.workspace}' ({workspace.path(ctx.dataset)})."
    )
    views = joined("\n", [marked("- {}", name) for name in result.views.values()])
    saved = "Saved views of the errors, the most confident first:"
    return joined("\n\n", [table(header, rows), *_forms.warned(result.warnings), beside, saved, views])
