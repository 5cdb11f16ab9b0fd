"""Evaluate face attributes against ground truth."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import attributes as registry
from facevlm.errors import FacevlmError, FieldError
from facevlm.reports import text as report
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
        truths = _chosen(ctx, rows, prefix)
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


def _truth_inputs(ctx: foo.ExecutionContext, inputs: Any, rows: PictureRows, prefix: str) -> dict[str, str]:
    """A ground-truth field for every predicted attribute, only fields that fit offered; returns the choice."""
    inputs.view("truth", types.Header(label="Ground truth", divider=True))
    known, chosen = registry.shipped(), {}
    for attribute in _predicted(rows.target, prefix):
        fitting = _fitting(rows, attribute)
        guess = evaluations.guess_truth(rows, attribute, known)
        default = guess if guess in fitting else SKIP
        options = {SKIP: SKIP} | {name: f"{name}  ({how})" for name, how in fitting.items()}
        field = ctx.params.get(TRUTH + attribute.name) or default
        if field not in options:
            options[field] = field
        prop = _forms.dropdown(
            inputs,
            TRUTH + attribute.name,
            options,
            label=attribute.title,
            description=fitting.get(field),
            default=default,
        )
        if field != SKIP:
            chosen[attribute.name] = field
            _forms.attempt(prop, partial(evaluations.alignment_of, rows, field, attribute, known))
    if not chosen:
        _forms.notice(inputs, "none", "No attribute has ground truth: choose at least one field.", types.Warning)
    return chosen


def _fitting(rows: PictureRows, attribute: Attribute) -> dict[str, str]:
    """Fields whose values fit the attribute, with the map that would be used."""
    found = {}
    for name in evaluations.truth_fields(rows):
        try:
            alignment = evaluations.alignment_of(rows, name, attribute, registry.shipped())
        except FacevlmError:
            continue
        found[name] = alignment.describe(attribute.name)
    return found


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


def _chosen(ctx: foo.ExecutionContext, rows: PictureRows, prefix: str) -> dict[str, str]:
    """Attribute -> field from the form; what the form was not sent is guessed as the form would."""
    chosen = {}
    for attribute in _predicted(rows.target, prefix):
        guess = evaluations.guess_truth(rows, attribute, registry.shipped())
        field = ctx.params.get(TRUTH + attribute.name) or guess or SKIP
        if field != SKIP:
            chosen[attribute.name] = field
    if not chosen:
        fields = ", ".join(evaluations.truth_fields(rows)) or "none"
        raise FieldError(f"No attribute has a ground-truth field. Fields that could be ground truth: {fields}.")
    return chosen


def _outputs() -> Any:
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    return types.Property(outputs, view=types.View(label="Evaluation"))


def _summary(ctx: foo.ExecutionContext, result: EvaluationResult) -> str:
    rows = []
    for evaluation in result.evaluations:
        cell = evaluation.overall
        interval = f"{report.share(cell.low)} - {report.share(cell.high)}"
        figures = [report.share(v) for v in (cell.coverage, cell.accuracy)]
        rows.append([evaluation.attribute, str(cell.n), *figures, interval, report.share(cell.f1)])
    header = ["attribute", "n", "answered %", "accuracy %", report.INTERVAL, "macro F1 %"]
    views = "\n".join(f"- {name}" for name in result.views.values())
    return (
        f"{_forms.markdown_table(header, rows)}\n\nThe panel 'Face attribute errors' stands beside the grid; its "
        f"workspace is kept as '{result.workspace}' ({workspace.path(ctx.dataset)}).\n\nSaved views of the errors, the "
        f"most confident first:\n\n{views}"
    )
