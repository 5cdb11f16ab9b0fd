"""The part of the form about attributes: a box to tick for each, and one of the user's own."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import attributes as registry
from facevlm.backends import cards
from facevlm.types import Attribute

from . import _forms

ASK = "ask_"


def inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card, *, whom: str = "every face") -> None:
    """A box to tick for every attribute that the model can be asked about, and one of the user's own."""
    inputs.view("attributes", types.Header(label="Attributes", description=f"What to ask about {whom}", divider=True))
    for attribute in registry.shipped().attributes.values():
        # A tick stays when another model is chosen, so it stays in sight until it is taken away.
        strange = not card.answers(attribute.name)
        if not strange or attribute.name in ticked(ctx):
            labels = ", ".join(attribute.labels)
            box = inputs.bool(ASK + attribute.name, label=attribute.title, description=labels, default=False)
            if strange:
                box.invalid = True
                box.error_message = f"Model '{card.name}' answers {', '.join(card.questions)}: untick this."
    if not card.questions:
        _own_inputs(ctx, inputs)


def remind(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """Say that nothing is asked yet, if so."""
    if not ticked(ctx) and not ctx.params.get("own"):
        _forms.notice(inputs, "none_ticked", "Tick at least one attribute.", types.Warning)


def _own_inputs(ctx: foo.ExecutionContext, inputs: Any) -> None:
    inputs.bool("own", label="An attribute of your own", default=False)
    if ctx.params.get("own"):
        inputs.str("own_name", label="Name", description="Becomes part of the field's name", required=True)
        labels = inputs.list("own_labels", types.String(), label="Labels", view=types.AutocompleteView(), required=True)
        inputs.str("own_question", label="Question", required=True)
        if all(ctx.params.get(k) for k in ("own_name", "own_labels", "own_question")):
            _forms.attempt(labels, lambda: _own(ctx))


def _own(ctx: foo.ExecutionContext) -> Attribute:
    labels = ctx.params.get("own_labels") or []
    return registry.define(ctx.params.get("own_name") or "", labels, ctx.params.get("own_question") or "")


def ticked(ctx: foo.ExecutionContext) -> list[str]:
    """Names of the shipped attributes that are ticked."""
    return [name for name in registry.shipped().attributes if ctx.params.get(ASK + name)]


def asked(ctx: foo.ExecutionContext) -> list[str | Attribute]:
    """What is ticked, and the user's own.

    Raises :class:`~facevlm.errors.FacevlmError` where that is no attribute.
    """
    own: list[str | Attribute] = [_own(ctx)] if ctx.params.get("own") else []
    return [*ticked(ctx), *own]
