"""What is said about a run before anything is sent: for forms, which have no run yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from facevlm.backends import Batching, Briefing, Hosted, Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.types import Attribute

CONFIRM_ABOVE = 5.0
"""US dollars above which a run is to be confirmed."""


def brief(
    model: str, attributes: Sequence[Attribute], faces: int, options: Options, *, batch: bool = False
) -> Briefing | None:
    """Where the pictures of so many faces go and at what cost at most, at the price of a batch if they are to be one;
    None for a model that runs here.

    Nothing is sent and no key is needed. Raises :class:`~facevlm.errors.FacevlmError` as the run would.
    """
    card = find(model)
    if not card.hosted:
        return None
    questions = questions_for(card, list(attributes))
    unkept = replace(options, remote=replace(options.remote, cache="off"))
    backend = open_backend(model, unkept)
    if not isinstance(backend, Hosted):
        return None
    if batch and isinstance(backend, Batching):
        briefing = backend.batch_briefing(faces, questions)
    else:
        briefing = backend.briefing(faces, questions)
    backend.close()
    return briefing


def fresh(options: Options) -> Options:
    """Options under which no reply of an earlier run is used."""
    if options.remote.cache != "on":
        return options
    return replace(options, remote=replace(options.remote, cache="refresh"))


def together(steps: Sequence[Briefing]) -> Briefing | None:
    """What is said about several steps that are agreed to at once; None for no step.

    Its price is that of all steps; None where that of any is not known.
    """
    if len(steps) < 2:
        return steps[0] if steps else None
    prices = [step.dollars for step in steps if step.dollars is not None]
    total = sum(prices) if len(prices) == len(steps) else None
    price = "" if total is None else f" In all at most ${total:,.2f}."
    text = f"{len(steps)} times: {steps[0].text}{price}"
    return Briefing(text, all(step.is_local for step in steps), total)
