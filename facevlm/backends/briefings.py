"""What is said about a run before anything is sent: for forms, which have no run yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from facevlm.backends import Batching, Briefing, Hosted, Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.types import Attribute

CONFIRM_ABOVE = 5.0
"""US dollars above which a run is to be confirmed."""
Confirm = Callable[[Briefing], bool]
"""Is told where pictures go, how many, and at what cost; says whether the run may begin."""


class DryRun:
    """Passes on what a run would do, and says no; it is asked about models that run here, too."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    def __call__(self, briefing: Briefing) -> bool:
        self._say(briefing.text)
        return False


def may_begin(confirm: Confirm, briefing: Briefing | None, total: int, what: str = "faces") -> bool:
    """Whether a run may begin: nobody is asked about one that sends nothing away, but a dry run stops that, too."""
    if isinstance(confirm, DryRun) and (briefing is None or not total):
        # Without anything to do there is nothing to be sent either.
        briefing = Briefing(f"{total:,} {what} to be asked about; no picture leaves this process.", True, 0.0)
    elif briefing is None or not total:
        return True
    return confirm(briefing)


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
