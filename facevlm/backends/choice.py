"""Which model is meant, which attributes are asked of it, and what tells its answers from all others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from facevlm import attributes as registry_module
from facevlm.attributes import Registry
from facevlm.backends import Backend, BackendInfo, Options, Secrets, open_backend
from facevlm.backends.cards import ANY, Card, find
from facevlm.errors import InputError
from facevlm.types import GREEDY, Attribute, Question, digest


def fingerprint(info: BackendInfo, card: Card, question: Question, shown: Mapping[str, Any] | None = None) -> str:
    """Eight hex digits of all that decides an answer: checkpoint, its revision, the question, the way of decoding, and
    how faces are ``shown`` that are not whole pictures."""
    checkpoint = card.checkpoint(question.attribute.name)
    decided = [checkpoint, info.identity.get(checkpoint), question.fingerprint(), info.decode]
    rule = [] if info.decision == GREEDY else [info.decision]
    return digest([*decided, *rule, *([shown] if shown else [])])


def card_of(model: str | Backend, options: Options | None = None) -> Card:
    """The card of a model name, with the adapter that the options put on it; of a backend of the caller's own, one that
    asks in the attributes' own words."""
    if isinstance(model, str):
        return find(model, options.adapter if options else None)
    return Card(model.info.model, {ANY: model.info.model}, prompt="{question}")


def backend_of(
    model: str | Backend, options: Options, attributes: Sequence[Attribute], secrets: Secrets | None = None
) -> Backend:
    """The backend of a model name with the checkpoints that the attributes need; a backend as it is."""
    return open_backend(model, options, [a.name for a in attributes], secrets) if isinstance(model, str) else model


def default_prefix(model: str) -> str:
    """``demo`` for demo, ``my_model`` for hf:org/My-Model."""
    short = model.rstrip("/").split("/")[-1].removeprefix("hf:").removeprefix("onnx:").removeprefix("openai:")
    name = re.sub(r"\W+", "_", short.lower()).strip("_")
    return name if name.isidentifier() else f"vlm_{name}"


def prefix_of(card: Card) -> str:
    """The prefix of a model's answers where none is told: an adapter's are apart from those of its base."""
    return default_prefix(card.adapter.source if card.adapter else card.name)


def resolve_attributes(
    wanted: Sequence[str | Attribute], card: Card | None = None, registry: Registry | None = None
) -> list[Attribute]:
    """Attributes by name or as they are, each once.

    Raises :class:`~facevlm.errors.InputError` for none and :class:`~facevlm.errors.UnknownName` for an unknown one.
    """
    known = registry or registry_module.shipped()
    if isinstance(wanted, str):
        raise InputError(f"Got attributes='{wanted}', expected a list such as ['{wanted}'].")
    if not wanted:
        names = card.questions if card and card.questions else known.attributes
        raise InputError(f"Got no attribute, expected at least one of {', '.join(names)}.")
    chosen = [known.get(a) if isinstance(a, str) else a for a in wanted]
    return list({a.name: a for a in chosen}.values())
