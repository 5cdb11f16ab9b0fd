"""Train a face attribute model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import fiftyone.operators as foo

from facevlm import attributes as registry
from facevlm.backends import cards
from facevlm.errors import InputError
from facevlm.folders import file_name
from facevlm.store import evaluations, labelled, targets
from facevlm.store.rows import detections_fields
from facevlm.tasks import _running
from facevlm.tasks import train as train_task
from facevlm.tasks._running import StoppedByUser
from facevlm.tasks._train_run import TrainRun
from facevlm.tasks.train import TrainPlan, TrainResult
from facevlm.training import recipes
from facevlm.training.output import GROUP_HEADER, group_rows

from . import _forms, _models, _operator, _trust
from ._marks import Marked, code, joined, marked, plain, table
from .apply import ApplyVlmFaceAttributes

NAME = "train_face_attribute_model"
LABEL = "Train a face attribute model"
TRUTH = "truth_"
METHODS = {
    recipes.FULL: "Every parameter",
    recipes.FROZEN: "All but the vision tower",
    recipes.LORA: "Low-rank adapters (needs peft)",
    recipes.LINEAR: "A linear classifier on the tower: minutes on a CPU",
}
BALANCES = {recipes.LABELS: "Labels", recipes.GROUPS: "Labels within groups"}
KEPT = "What was learnt up to the last save is kept; the same run goes on from there."


class TrainFaceAttributeModel(_operator.Operator):
    """Tunes a model on labelled faces into a checkpoint, and tells for whom it got better."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Tune a model on faces with true labels. Takes a model that runs here, attributes, fields of true labels, a "
        "method and a folder; gives a checkpoint that the apply operator opens, with a model card and figures before "
        "and after for every group, on faces that were not learnt from.",
        "model_training",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        known = {name: f"{name}: {card.title}" for name, card in cards.shipped().items() if not card.hosted}
        base = _forms.dropdown(
            inputs, "model", known | {_models.OTHER: "Another checkpoint"}, label="Model to tune", default="demo"
        )
        if ctx.params.get("model") == _models.OTHER:
            told = "Hugging Face id, or folder on the App's machine"
            base = inputs.str("checkpoint", label="Checkpoint", description=plain(told), required=True)
            if not ctx.params.get("checkpoint"):
                _forms.lacks(base, "Name a checkpoint.")
                return
        card = _forms.attempt(base, lambda: cards.find(_models.model_name(ctx)))
        if card is None:
            return
        _forms.attempt(base, card.check_here)
        _attribute_inputs(ctx, inputs, card)
        _forms.dropdown(inputs, "method", METHODS, label="What is tuned", default=recipes.FULL)
        _number_inputs(inputs)
        folder = inputs.str(
            "folder",
            label="Folder",
            description="To make, on the machine where FiftyOne runs; one that this run began before is gone on with",
            default=str(_usual_folder(ctx)),
        )
        _forms.attempt(folder, partial(_folder, ctx))
        _forms.notice(
            inputs, "plan", f"15 % of the faces choose the epoch, 15 % judge, and none of them is learnt from. {KEPT}"
        )

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Reading labels")
        run = TrainRun(_plan(ctx))
        with _running.job(LABEL, ctx.dataset.name) as job, closing(run.steps()) as steps:
            for step in steps:
                job.said = str(step)
                yield from _forms.progress(ctx, step.done, max(1, step.total), job.said, job)
                if job.is_stopping:
                    raise StoppedByUser(f"Stopped at {step.done:,} of {step.total:,} steps. {KEPT}")
        then = _operator.button(ApplyVlmFaceAttributes)
        yield _forms.output(ctx, "Trained", _summary(run.result()), then)


def _attribute_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    """What is to be learnt, from which labels, and by which groups it is told."""
    known = registry.shipped()
    chosen = _forms.several(
        inputs,
        "attributes",
        list(known.attributes),
        "Attributes",
        "That it is to learn, in one checkpoint",
        required=True,
    )
    target = targets.with_all_fields(ctx.target_view())
    boxes = {name: name for name in detections_fields(target)}
    if boxes:
        about = "Every face in it is cut out; empty: every picture is of one face"
        _forms.dropdown(inputs, "faces", boxes, label="Field of faces", description=plain(about), required=False)
    if not _attributes(ctx):
        _forms.lacks(chosen, "Choose an attribute.")
        return
    rows = _forms.attempt(chosen, lambda: labelled.rows_of(target, ctx.params.get("faces") or None))
    wanted = _forms.attempt(chosen, lambda: [known.get(name) for name in _attributes(ctx)])
    if rows is None or wanted is None:
        return
    fields = evaluations.truth_fields(rows)
    for attribute in wanted:
        prop = _forms.dropdown(
            inputs,
            TRUTH + attribute.name,
            {name: name for name in fields},
            label=plain(f"True labels: {attribute.title}"),
            description=plain("By default found by name"),
            default=evaluations.guess_truth(rows, attribute, known),
            required=False,
        )
        given = {a.name: field for a in [attribute] if (field := ctx.params.get(TRUTH + a.name))}
        _forms.attempt(prop, partial(_check_truth, rows, attribute, given))
    _forms.several(inputs, "groups", evaluations.group_fields(rows), "Groups", "Figures are told by these fields, too")


def _check_truth(rows: Any, attribute: Any, given: dict[str, str]) -> bool:
    """Raise :class:`~facevlm.errors.FacevlmError` where nothing can be learnt from the field."""
    found = labelled.truth_of(rows, [attribute], given, registry.shipped())
    evaluations.alignment_of(rows, found[attribute.name], attribute, registry.shipped())
    return True


def _number_inputs(inputs: Any) -> None:
    """Numbers of the tuning; empty ones are the recipe's."""
    usual = "Empty: as the method's recipe has it"
    inputs.float("epochs", label="Epochs", description=plain(usual), min=0)
    inputs.int("batch", label="Faces shown together", description=plain(usual), min=1)
    inputs.float("learning_rate", label="Learning rate", description=plain(usual), min=0)
    equally = "Empty: every face equally often"
    _forms.dropdown(
        inputs, "balance", BALANCES, label="Shown equally often", description=plain(equally), required=False
    )


def _attributes(ctx: foo.ExecutionContext) -> list[str]:
    return list(ctx.params.get("attributes") or [])


def _folder(ctx: foo.ExecutionContext) -> Any:
    """Where the checkpoint goes.

    Raises :class:`~facevlm.errors.InputError` for a folder that may not be named.
    """
    return _trust.told(ctx, "folder") or _trust.report_folder(str(_usual_folder(ctx)))


def _usual_folder(ctx: foo.ExecutionContext) -> Path:
    return _trust.reports_root() / f"{file_name(ctx.dataset.name)}-tuned"


def _plan(ctx: foo.ExecutionContext) -> TrainPlan:
    """The training that the form describes.

    Raises :class:`~facevlm.errors.FacevlmError` where it cannot begin.
    """
    if not _attributes(ctx):
        raise InputError("Got no attribute, expected at least one to learn.")
    names = ("epochs", "batch", "learning_rate", "balance")
    made: TrainPlan = train_task.plan(
        ctx.target_view(),
        _models.model_name(ctx),
        _attributes(ctx),
        out=_folder(ctx),
        truth={name: field for name in _attributes(ctx) if (field := ctx.params.get(TRUTH + name))},
        faces=ctx.params.get("faces") or None,
        groups=ctx.params.get("groups") or (),
        method=ctx.params.get("method") or recipes.FULL,
        progress=False,
        **{name: value for name in names if (value := ctx.params.get(name)) not in (None, "")},
    )
    return made


def _summary(result: TrainResult) -> Marked:
    parts = []
    for one in result.judged:
        parts.append(marked("**{}**, per cent", one.after.attribute))
        parts.append(table(list(GROUP_HEADER), group_rows(one)))
        if one.pair is not None and one.pair.p_value is not None:
            only = f"Right only after: {one.pair.only_a}, only before: {one.pair.only_b}"
            parts.append(plain(f"{only}; McNemar's p = {one.pair.p_value:.2g}."))
    left = ", ".join(f"{n:,} {reason}" for reason, n in result.left_out.items()) or "none"
    use = marked("Its model card lies in {}. To use it, apply the model {}.", code(result.out), code(result.model))
    return joined("\n\n", [*parts, plain(f"Faces left out: {left}."), *_forms.warned(result.warnings), use])
