"""Collect face attribute batches."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import fiftyone.operators as foo

from facevlm.tasks import batch as batch_task
from facevlm.types import OUTCOMES

from . import _forms, _operator, _trust
from ._marks import Marked, joined, table
from .evaluate import EvaluateFaceAttributes

NAME = "collect_face_attribute_batches"
LABEL = "Collect face attribute batches"


class CollectFaceAttributeBatches(_operator.Operator):
    """Tells how far batches are, and stores the answers of those that are over."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Store the answers of batches that were handed in to a model behind an API. Takes the prefix of the batches; "
        "stores what is answered by now as if it had been asked at once.",
        "inbox",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        known = batch_task.prefixes(ctx.dataset)
        if not known:
            text = "No batch was handed in. 'Apply VLM face attributes' does so with a model behind an API."
            _forms.refuse(inputs, "nothing", text)
            return
        _forms.dropdown(inputs, "prefix", {p: p for p in known}, label="Predictions", default=known[-1])
        inputs.bool("overwrite", label="Also in the place of what another model answered meanwhile", default=False)
        ask = inputs.bool("ask", label="Ask the provider now how far they are", default=False)
        if ctx.params.get("ask"):
            states = _forms.attempt(ask, lambda: _states(ctx))
            if states is not None:
                _forms.notice(inputs, "states", states)

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Asking the provider")
        with batch_task.Batches(ctx.dataset, ctx.params.get("prefix") or None, _trust.secrets(ctx)) as batches:
            with closing(batches.collect(overwrite=_forms.is_ticked(ctx, "overwrite"))) as steps:
                for step in steps:
                    yield from _forms.progress(ctx, step.done, step.total, _forms.so_far(step, "answers", None))
            result, shown = batches.collected(), batches.shown()
        then = _operator.button(EvaluateFaceAttributes)
        yield from _forms.finished(ctx, shown, "Answers are stored", _summary(result), then)


def _states(ctx: foo.ExecutionContext) -> str:
    with batch_task.Batches(ctx.dataset, ctx.params.get("prefix") or None, _trust.secrets(ctx)) as batches:
        lines = [
            f"{s.id}: {s.status}, {s.done:,} of {s.total:,} done{', collected' if batches.is_collected(s.id) else ''}"
            for s in batches.states()
        ]
    return "; ".join(lines) or "The provider knows of none."


def _summary(result: batch_task.Collected) -> Marked:
    rows = [[name, *(str(counts.get(o, 0)) for o in OUTCOMES)] for name, counts in result.outcomes.items()]
    cost = "" if result.dollars is None else f", ${result.dollars:,.4f}"
    lines = [
        f"Batches collected: {result.collected:,}, still waiting: {result.waiting:,}; "
        f"{result.input_tokens:,} + {result.output_tokens:,} tokens{cost}.",
        *([table(["attribute", *OUTCOMES], rows)] if rows else []),
        *_forms.counted(list(result.reasons.items())[:5]),
    ]
    if result.gone:
        lines.append(f"{result.gone:,} answers are about faces that are no longer there.")
    if result.kept:
        lines.append(f"{result.kept:,} failures were left out: those faces have an answer by now.")
    return joined("\n\n", lines)
