"""Describe people in pictures."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends import Briefing, Options, Remote, cards
from facevlm.backends.choice import default_prefix
from facevlm.backends.options import SCENE
from facevlm.backends.remote import words
from facevlm.errors import InputError
from facevlm.faces.people import PEOPLE
from facevlm.store import descriptions, predictions, targets
from facevlm.store.rows import detections_fields
from facevlm.tasks._options import Settings
from facevlm.tasks.describe import DescribeResult, DescribeRun, brief

from . import _forms, _operator, _options, _remote, _trust, choose_attributes
from ._marks import Marked, code, joined, marked, plain

NAME = "describe_people"
LABEL = "Describe people in pictures"
FREE = "free_"
MODEL = "gpt-4o"
FOUND, BOXES = "found", "boxes"
SHOWN = {
    "numbers": "Their numbers are drawn on the picture: the surest",
    "crops": "Only their crops are sent, nothing else of the picture",
    BOXES: "The picture as it is: the model's boxes are met with theirs",
}


class DescribePeople(_operator.Operator):
    """Asks a model behind an API about everybody in a picture at once and stores a Detection per person."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Describe everybody in a picture in one request to a model behind an API. Takes a model, attributes and words "
        "to be written; stores a box with perceived labels and words for each person, at a price that is told first.",
        "groups",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        card = _model_inputs(ctx, inputs)
        if card is not None:
            _people_inputs(ctx, inputs)
            choose_attributes.inputs(ctx, inputs, card, whom="every person")
            _free_inputs(ctx, inputs)
            _storage_inputs(ctx, inputs, card)
            if _asks(ctx):
                _remote.cost(ctx, inputs, lambda: _brief(ctx, card.name))
            else:
                _forms.refuse(inputs, "none_chosen", "Choose at least one attribute or question.")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Asking the server what it can do")
        run = DescribeRun(
            ctx.target_view(),
            _model_name(ctx),
            choose_attributes.asked(ctx),
            **_about(ctx),
            prefix=ctx.params.get("prefix") or None,
            overwrite=_forms.overwrites(ctx),
            settings=Settings(options=Options(remote=_remote_of(ctx)), secrets=_trust.secrets(ctx)),
        )
        run.begin(lambda step: _remote.confirmed(ctx, step))
        yield from self.followed(ctx, run, "pictures")
        result = run.result()
        yield from _forms.finished(ctx, [result.people_field], "People are described", _summary(result))


def _model_name(ctx: foo.ExecutionContext) -> str:
    model = _trust.told(ctx, "model") or MODEL
    return _remote.model_name(ctx) if model == _remote.API else str(model)


def _model_inputs(ctx: foo.ExecutionContext, inputs: Any) -> cards.Card | None:
    model = _forms.dropdown(inputs, "model", _remote.choices(), label="Model", default=MODEL)
    if ctx.params.get("model") == _remote.API:
        model = inputs.str("api_model", label="Model", description="As the server names it", required=True)
        if not ctx.params.get("api_model"):
            _forms.lacks(model, "Name the model.")
            return None
    card = _forms.attempt(model, lambda: cards.find(_model_name(ctx)))
    if card is not None:
        _remote.inputs(ctx, inputs, card.name, votes=_mark(ctx) is not None, usual=SCENE)
    return card


def _people_inputs(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """Whom to ask about, and how they are told apart."""
    inputs.view("people", types.Header(label="People", description="Whom to ask about", divider=True))
    known = {name: f"The faces in '{name}'" for name in detections_fields(ctx.target_view())}
    options = {FOUND: "Nobody yet: the model finds them"} | known
    _forms.dropdown(inputs, "faces", options, label="Known faces", default=next(iter(known), FOUND))
    if _faces(ctx) is not None:
        view = _forms.choices(types.RadioGroup(), SHOWN)
        inputs.enum("mark", list(SHOWN), view=view, label="How they are told apart", default="numbers")
    inputs.str("who", label="Only", description="A phrase such as: the person wearing a head scarf; empty: everybody")


def _free_inputs(ctx: foo.ExecutionContext, inputs: Any) -> None:
    inputs.view("words", types.Header(label="In words", description="Answered in a few words", divider=True))
    for name, question in _offered(ctx).items():
        inputs.bool(FREE + name, label=plain(name.capitalize()), description=plain(question), default=False)
    own = inputs.list(
        "own_free",
        types.String(),
        label="Questions of your own",
        description="As NAME: QUESTION, such as mood: what is the mood?",
        view=types.AutocompleteView(),
        required=False,
    )
    _forms.attempt(own, lambda: descriptions.check_free(_free(ctx), choose_attributes.names(ctx)))


def _offered(ctx: foo.ExecutionContext) -> Mapping[str, str]:
    """Free questions to tick: those of the wording; the shipped ones while it cannot be read, which its field says."""
    try:
        return words.load(_trust.told(ctx, "template") or "").free
    except InputError:
        return words.shipped().free


def _free(ctx: foo.ExecutionContext) -> dict[str, str]:
    """Questions in words by name, those of the user's own last."""
    ticked = {name: "" for name in _offered(ctx) if _forms.is_ticked(ctx, FREE + name)}
    return ticked | dict(_named(text) for text in ctx.params.get("own_free") or ())


def _named(text: str) -> tuple[str, str]:
    name, colon, question = text.partition(":")
    if not colon or not question.strip():
        raise InputError(f"Got '{text}', expected NAME: QUESTION such as mood: what is the mood?")
    return name.strip(), question.strip()


def _faces(ctx: foo.ExecutionContext) -> str | None:
    """The field of known faces; the first there is unless another is chosen."""
    usual = next(iter(detections_fields(ctx.target_view())), FOUND)
    chosen = ctx.params.get("faces") or usual
    return None if chosen == FOUND else str(chosen)


def _about(ctx: foo.ExecutionContext) -> dict[str, Any]:
    """Words, phrase and faces as the form says."""
    return {
        "free": _free(ctx),
        "who": ctx.params.get("who") or None,
        "faces": _faces(ctx),
        "mark": _mark(ctx),
    }


def _mark(ctx: foo.ExecutionContext) -> str | None:
    """How known faces are told apart; None by their boxes."""
    mark = ctx.params.get("mark") or "numbers"
    return None if _faces(ctx) is None or mark == BOXES else str(mark)


def _remote_of(ctx: foo.ExecutionContext) -> Remote:
    """What the form says about the API; samples only where it offers them."""
    remote = _options.remote(ctx, SCENE)
    return remote if _mark(ctx) is not None else replace(remote, samples=1)


def _asks(ctx: foo.ExecutionContext) -> bool:
    free = any(ctx.params.get(FREE + name) for name in _offered(ctx))
    return bool(choose_attributes.names(ctx) or ctx.params.get("own") or free or ctx.params.get("own_free"))


def _brief(ctx: foo.ExecutionContext, model: str) -> Briefing:
    return brief(ctx.target_view(), model, choose_attributes.asked(ctx), remote=_remote_of(ctx), **_about(ctx))


def _storage_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    inputs.view("storage", types.Header(label="Storage", divider=True))
    default = default_prefix(card.name)
    prefix = inputs.str(
        "prefix",
        label="Field prefix",
        description=plain(f"Fields are named PREFIX_ATTRIBUTE, and PREFIX_{PEOPLE} for words"),
        default=default,
    )
    _forms.attempt(prefix, lambda: _check_storage(ctx, ctx.params.get("prefix") or default))
    _forms.existing(inputs, "picture")


def _check_storage(ctx: foo.ExecutionContext, prefix: str) -> None:
    target = ctx.target_view()
    targets.check(target)
    names = [*choose_attributes.names(ctx), PEOPLE]
    descriptions.check_fields(target, [predictions.field_name(prefix, name) for name in names])


def _summary(result: DescribeResult) -> Marked:
    if not result.asked:
        return plain(f"Nothing to ask: all {result.skipped:,} pictures have their answers.")
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(result.pictures.items()))
    lines = [
        f"{result.asked:,} pictures asked, {result.skipped:,} had their answers, {result.tally.seconds:.1f} s."
        + _remote.spent(result),
        marked("{:,} people, described in {}. Pictures: {}. ", result.people, code(result.people_field), counts)
        + plain(f"Wrong number of people: {result.wrong_counts:,}."),
        *([_forms.outcome_table(result)] if result.fields else []),
        *_forms.remarks(result),
    ]
    return joined("\n\n", lines)
