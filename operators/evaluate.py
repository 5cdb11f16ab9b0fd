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
from facevlm.evaluation import figures
from facevlm.reports.structure import figure_cells, headings
from facevlm.store import evaluations, runs, targets, workspace
from facevlm.store.predictions import field_name
from facevlm.store.rows import PictureRows, detections_fields, rows_of
from facevlm.tasks.evaluate import EvaluationResult, evaluate, predicted_attributes
from facevlm.types import Attribute

from . import _forms

NAME = "evaluate_face_attributes"
LABEL = "Evaluate face attributes against ground truth"
TRUTH = "truth_"
SKIP = "(do not evaluate)"


class EvaluateFaceAttributes(foo.Operator):
    """Compares predictions with ground truth and leaves the result in the Model Evaluation panel."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(
            NAME, LABEL, "Accuracy, macro F1 and confusion of predicted face attributes, overall and per group"
        )

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        return _forms.placement(LABEL)

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        prefixes = runs.prefixes(ctx.dataset)
        if not prefixes:
            text = f"This dataset holds no predictions. Run '{'Apply VLM face attributes'}' first."
            prop = inputs.view("nothing", types.Error(label=text))
            prop.invalid, prop.error_message = True, text
            return types.Property(inputs, view=types.View(label=LABEL))
        options = {p: p for p in prefixes}
        _forms.dropdown(inputs, "prefix", options, label="Predictions", default=prefixes[-1])
        target, prefix = ctx.target_view(), ctx.params.get("prefix") or prefixes[-1]
        rows = _face_inputs(ctx, inputs, target, prefix)
        if rows is None:
            return types.Property(inputs, view=types.View(label=LABEL))
        truths = _truth_inputs(ctx, inputs, rows, prefix)
        _group_inputs(ctx, inputs, rows, truths)
        inputs.str(
            "eval_key",
            label="Evaluation key",
            description="Evaluations are named KEY_ATTRIBUTE",
            default=f"{prefix}_eval",
        )
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Evaluating")
        prefixes = runs.prefixes(ctx.dataset)
        if not prefixes:
            raise FieldError(f"Dataset '{ctx.dataset.name}' holds no predictions of facevlm. Apply a model first.")
        target, prefix = ctx.target_view(), ctx.params.get("prefix") or prefixes[-1]
        rows = _rows(target, prefix, ctx.params.get("faces") or None)
        truths = _truths(_choices(ctx, rows, prefix))
        if not truths:
            fields = ", ".join(evaluations.truth_fields(rows)) or "none"
            raise FieldError(f"No attribute has a ground-truth field. Fields that could be ground truth: {fields}.")
        result = evaluate(
            target,
            list(truths),
            prefix=prefix,
            ground_truth=truths,
            groups=ctx.params.get("groups") or None,
            faces=getattr(rows, "faces", None),
            eval_key=ctx.params.get("eval_key") or None,
        )
        yield from _forms.progress(ctx, 1, 1, "evaluations")
        yield ctx.ops.reload_dataset()
        yield ctx.ops.set_spaces(spaces=workspace.errors_space())
        yield ctx.ops.show_output(_outputs().to_json(), {"summary": _summary(ctx, result)})


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
            label=attribute.title,
            description=fitting.get(field),
            default=choice.usual,
        )
        if field != SKIP:
            _forms.attempt(prop, partial(evaluations.alignment_of, rows, field, attribute, registry.shipped()))
    chosen = _truths(choices)
    if not chosen:
        _forms.notice(inputs, "none", "No attribute has ground truth: choose at least one field.", types.Warning)
    return chosen


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
    for name in ctx.params.get("groups") or []:
        if name not in truths.values():
            _forms.attempt(groups, partial(evaluations.group_values, rows, name))


def _outputs() -> Any:
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    return types.Property(outputs, view=types.View(label="Evaluation"))


def _summary(ctx: foo.ExecutionContext, result: EvaluationResult) -> str:
    cells = [(evaluation.attribute, evaluation.overall) for evaluation in result.evaluations]
    ordinal = any(figures.is_ordinal(cell.figures) for _, cell in cells)
    shown = figures.shown("operator", ordinal=None if ordinal else False)
    rows = [
        [name, str(cell.n), *(c.shown for c in figure_cells("operator", shown, cell.figures))] for name, cell in cells
    ]
    header = ["attribute", "n", *headings("operator", shown)]
    views = "\n".join(f"- {name}" for name in result.views.values())
    return (
        f"{_forms.markdown_table(header, rows)}\n\nShares are in per cent. The panel 'Face attribute errors' stands "
        f"beside the grid; its workspace is kept as '{result.workspace}' ({workspace.path(ctx.dataset)}).\n\nSaved "
        f"views of the errors, the most confident first:\n\n{views}"
    )
