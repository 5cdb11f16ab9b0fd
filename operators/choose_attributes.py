"""The part of the form about attributes: those that come with facevlm, by family, one of the user's own, wordings."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import attributes as registry
from facevlm.backends import cards
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import FacevlmError, InputError
from facevlm.types import Attribute

from . import _forms
from ._marks import plain

CHOSEN = "attributes"
ASK = "ask_"
"""``ask_NAME`` chooses an attribute, too, as forms had it before and scripts may still send it."""
WORDED, WORDING = "worded", "wording_of_"
OWN = ("own_name", "own_labels", "own_question")
LONGEST = 60
"""Letters of labels that a choice shows."""


def inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card, *, whom: str = "every face") -> None:
    """What to ask: attributes that the model can be asked about, and one of the user's own."""
    inputs.view("what_to_ask", types.Header(label="What to ask", description=plain(f"About {whom}"), divider=True))
    prop = inputs.list(
        CHOSEN,
        types.String(),
        label="Attributes",
        description="One or several, those of one family beside each other",
        view=_forms.choices(
            types.DropdownView(multiple=True, allow_user_input=False, allow_duplicates=False),
            _offered(ctx, card),
        ),
        default=names(ctx),
        required=False,
    )
    _forms.attempt(prop, partial(_check, ctx, card))
    if not card.questions:
        _own_inputs(ctx, inputs)
    elif ctx.params.get("own"):
        own = inputs.bool("own", label="An attribute of your own", default=False)
        _forms.lacks(own, f"Model '{card.name}' answers {', '.join(card.questions)} alone: untick this.")


def _offered(ctx: foo.ExecutionContext, card: cards.Card) -> dict[str, str]:
    """Attributes with their labels, those of one family beside each other.

    A choice stays when another model is chosen, so it stays in sight until it is taken away.
    """
    known = registry.shipped().attributes
    families = dict.fromkeys(a.family for a in known.values())
    shown = [a for family in families for a in registry.shipped().family(family)]
    fitting = {a.name: _said(a) for a in shown if card.answers(a.name) or a.name in names(ctx)}
    return fitting | {name: name for name in names(ctx) if name not in known}


def _said(attribute: Attribute) -> str:
    labels = ", ".join(attribute.labels)
    return f"{attribute.title}: {labels if len(labels) <= LONGEST else labels[:LONGEST].rpartition(', ')[0] + ', ...'}"


def _check(ctx: foo.ExecutionContext, card: cards.Card) -> None:
    """Raise :class:`~facevlm.errors.FacevlmError` for what the model does not answer, or is no attribute."""
    for name in names(ctx):
        registry.get(name)
        if not card.answers(name):
            answered = ", ".join(card.questions)
            raise InputError(f"Model '{card.name}' answers {answered}; take '{name}' away, or choose another model.")


def require(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    """Refuse the form while nothing is asked yet."""
    if not names(ctx) and not ctx.params.get("own"):
        refuse_none(inputs, lambda: resolve_attributes([], card))


def refuse_none(inputs: Any, check: Any) -> None:
    """Say at a line of its own, in the words of the run, that there is nothing to ask."""
    prop = inputs.view("none_chosen", types.Error(label="Choose at least one attribute."))
    _forms.attempt(prop, check)


def word_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    """The questions in other words, behind a box to tick."""
    if not names(ctx):
        return
    inputs.bool(WORDED, label="Ask in words of your own", default=False)
    if ctx.params.get(WORDED):
        words(ctx, inputs, card)


def words(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    """A line for the question of every attribute that is chosen."""
    for name, text in usual_words(card, names(ctx)).items():
        label = plain(f"Question about {registry.get(name).title}")
        inputs.str(WORDING + name, label=label, description="Empty: the usual words", default=text)


def usual_words(card: cards.Card, asked: Iterable[str]) -> dict[str, str]:
    """The question of every attribute as the model is asked it; nothing for one that it cannot be asked."""
    words = {}
    for name in asked:
        try:
            [question] = cards.questions_for(card, [registry.get(name)])
        except FacevlmError:
            continue
        words[name] = question.text
    return words


def prompts(ctx: foo.ExecutionContext, card: cards.Card) -> dict[str, str]:
    """Wordings of the user's own by attribute: those that differ from the usual ones."""
    return reworded(ctx, card) if ctx.params.get(WORDED) else {}


def reworded(ctx: foo.ExecutionContext, card: cards.Card) -> dict[str, str]:
    """As :func:`prompts`, whether or not the box is ticked."""
    given = {name: ctx.params.get(WORDING + name) for name in names(ctx)}
    usual = usual_words(card, given)
    return {name: text for name, text in given.items() if text and text != usual.get(name)}


def _own_inputs(ctx: foo.ExecutionContext, inputs: Any) -> None:
    inputs.bool("own", label="An attribute of your own", default=False)
    if ctx.params.get("own"):
        inputs.str("own_name", label="Name", description="Becomes part of the field's name", required=True)
        labels = inputs.list("own_labels", types.String(), label="Labels", view=types.AutocompleteView(), required=True)
        inputs.str("own_question", label="Question", required=True)
        if all(ctx.params.get(k) for k in OWN):
            _forms.attempt(labels, lambda: _own(ctx))
        else:
            _forms.lacks(labels, "Give it a name, labels and a question.")


def _own(ctx: foo.ExecutionContext) -> Attribute:
    labels = ctx.params.get("own_labels") or []
    return registry.define(ctx.params.get("own_name") or "", labels, ctx.params.get("own_question") or "")


def names(ctx: foo.ExecutionContext) -> list[str]:
    """All names that are chosen, known ones in the order of the registry, and behind them those that are not known."""
    given = ctx.params.get(CHOSEN) or []
    wanted = [str(name) for name in ([given] if isinstance(given, str) else given)]
    known = registry.shipped().attributes
    chosen = [name for name in known if name in wanted or _forms.is_ticked(ctx, ASK + name)]
    return [*chosen, *(name for name in dict.fromkeys(wanted) if name not in known)]


def asked(ctx: foo.ExecutionContext) -> list[str | Attribute]:
    """What is chosen, and the user's own.

    Raises :class:`~facevlm.errors.FacevlmError` where that is no attribute.
    """
    own: list[str | Attribute] = [_own(ctx)] if _forms.is_ticked(ctx, "own") else []
    return [*names(ctx), *own]
