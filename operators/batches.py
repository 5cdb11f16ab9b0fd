"""Collect face attribute batches."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.tasks import batch as batch_task
from facevlm.types import OUTCOMES

from . import _forms

NAME = "collect_face_attribute_batches"
LABEL = "Collect face attribute batches"


class CollectFaceAttributeBatches(foo.Operator):
    """Tells how far batches are, and stores the answers of those that are over."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(NAME, LABEL, "Store the answers of batches that a model behind an API was given")

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
        known = batch_task.prefixes(ctx.dataset)
        if not known:
            text = "No batch was handed in. 'Apply VLM face attributes' does so with a model behind an API."
            prop = inputs.view("nothing", types.Error(label=text))
            prop.invalid, prop.error_message = True, text
            return types.Property(inputs, view=types.View(label=LABEL))
        _forms.dropdown(inputs, "prefix", {p: p for p in known}, label="Predictions", default=known[-1])
        ask = inputs.bool("ask", label="Ask the provider now how far they are", default=False)
        if ctx.params.get("ask"):
            states = _forms.attempt(ask, lambda: _states(ctx))
            if states is not None:
                inputs.view("states", types.Notice(label=states))
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Asking the provider")
        with batch_task.Batches(ctx.dataset, ctx.params.get("prefix") or None, ctx.secrets.get) as batches:
            with closing(batches.collect()) as steps:
                for step in steps:
                    yield from _forms.progress(ctx, step.done, step.total, "answers")
            result, shown = batches.collected(), batches.shown()
        yield from _forms.finished(ctx, shown, None, "Answers are stored", _summary(result))


def _states(ctx: foo.ExecutionContext) -> str:
    with batch_task.Batches(ctx.dataset, ctx.params.get("prefix") or None, ctx.secrets.get) as batches:
        lines = [
            f"{s.id}: {s.status}, {s.done:,} of {s.total:,} done{', collected' if batches.is_collected(s.id) else ''}"
            for s in batches.states()
        ]
    return "; ".join(lines) or "The provider knows of none."


def _summary(result: batch_task.Collected) -> str:
    rows = [[name, *(str(counts.get(o, 0)) for o in OUTCOMES)] for name, counts in result.outcomes.items()]
    cost = "" if result.dollars is None else f", ${result.dollars:,.4f}"
    lines = [
        f"Batches collected: {result.collected:,}, still waiting: {result.waiting:,}; "
        f"{result.input_tokens:,} + {result.output_tokens:,} tokens{cost}.",
        *([_forms.markdown_table(["attribute", *OUTCOMES], rows)] if rows else []),
        *(f"- {count} x {reason}" for reason, count in list(result.reasons.items())[:5]),
    ]
    if result.gone:
        lines.append(f"{result.gone:,} answers are about faces that are no longer there.")
    if result.kept:
        lines.append(f"{result.kept:,} failures were left out: those faces have an answer by now.")
    return "\n\n".join(lines)
