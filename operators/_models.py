"""The part of a form about the model: which one, where its weights are, and what it takes."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo

from facevlm.backends import cards
from facevlm.errors import InputError

from . import _forms, _remote, _trust

OTHER = "other"


def model_inputs(ctx: foo.ExecutionContext, inputs: Any) -> cards.Card | None:
    """Which model; None while that is not said."""
    known = {name: card for name, card in cards.shipped().items() if card.is_asked_freely()}
    shipped = {name: f"{name}: {card.title}" for name, card in known.items()}
    options = shipped | {OTHER: "Another checkpoint"} | _remote.choices()
    model = _forms.dropdown(inputs, "model", options, label="Model", default="demo")
    if ctx.params.get("model") == OTHER:
        model = inputs.str(
            "checkpoint",
            label="Checkpoint",
            description="Hugging Face id, folder on the App's machine, onnx:FOLDER, or SCHEME:MODEL of an installed "
            "package",
            required=True,
        )
        code = inputs.bool("trust_remote_code", label="Run code that comes with the checkpoint", default=False)
        _forms.attempt(code, lambda: _trust.runs_code(ctx, model_name(ctx)))
        if not ctx.params.get("checkpoint"):
            _forms.lacks(model, "Name a checkpoint.")
            return None
    if ctx.params.get("model") == _remote.API:
        model = inputs.str("api_model", label="Model", description="As the server names it", required=True)
        if not ctx.params.get("api_model"):
            _forms.lacks(model, "Name the model.")
            return None
    card = _forms.attempt(model, lambda: card_of(ctx))
    if card is not None:
        _forms.attempt(model, lambda: check(card))
        _forms.notice(inputs, "licence", f"Licence: {card.licence}. {'' if model.invalid else _weights(card)}")
    if card is not None and card.hosted and not card.scheme:
        _remote.inputs(ctx, inputs, card.name)
    return card


def check(card: cards.Card) -> None:
    """Raise :class:`~facevlm.errors.FacevlmError` for a model whose folder is not one of a model, and for one that
    cannot choose from labels as it is."""
    card.check_here()
    if not card.is_asked_freely():
        raise InputError(
            f"'{card.name}' is a {card.family().title}, which answers only what it was tuned for and cannot choose "
            f"from labels. Choose another model, or a checkpoint that was tuned, with a {cards.CARD_FILE} beside it."
        )


def _weights(card: cards.Card) -> str:
    """Where a model's weights are and what they take, as far as is known."""
    if card.hosted:
        return "The model runs at a server, which sees the pictures."
    if card.scheme:
        return f"It is opened by another package, as {card.scheme}:MODEL."
    needs = f" {card.memory():.3g} GB of memory in bfloat16." if card.memory() >= 0.1 else ""
    if card.is_here():
        return f"The weights are on this machine.{needs}"
    login = " Gated: accept the licence and log in first." if card.gated else ""
    fetched = f" about {card.download * len(set(card.checkpoints.values())):.3g} GB" if card.download else ""
    return f"The weights are not on this machine: the first run downloads{fetched or ' them'}.{needs}{login}"


def card_of(ctx: foo.ExecutionContext) -> cards.Card:
    """The card of the model that the form chooses, with the adapter that is put on it.

    Raises :class:`~facevlm.errors.FacevlmError` for one that cannot be, or may not be named.
    """
    card = cards.find(model_name(ctx))
    return cards.find(card.name, _trust.told(ctx, "adapter")) if card.is_checkpoint else card


def model_name(ctx: foo.ExecutionContext) -> str:
    """The model that the form chooses, as :func:`facevlm.apply` takes it."""
    model = _trust.told(ctx, "model") or "demo"
    if model == _remote.API:
        return _remote.model_name(ctx)
    # Behind a name of the user's own may stand a scheme, which the model's check knows.
    return _trust.model(cards.named(_trust.told(ctx, "checkpoint") or "")) if model == OTHER else str(model)
