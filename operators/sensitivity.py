"""Measure sensitivity to wording."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import fiftyone.operators as foo

from facevlm.backends import Briefing, cards
from facevlm.backends.briefings import brief, together
from facevlm.backends.choice import resolve_attributes
from facevlm.evaluation.comparison import FlipRates
from facevlm.evaluation.groups import SMALL
from facevlm.language import wordings
from facevlm.reports import text
from facevlm.store import evaluations, flips, targets
from facevlm.store.predictions import field_name
from facevlm.store.rows import PictureRows
from facevlm.tasks._options import Settings
from facevlm.tasks.sensitivity import ORDERS, Sensitivity, SensitivityRun, usual_prefix

from . import _forms, _operator, _options, _remote, _trust, choose_attributes, keep
from ._marks import Marked, code, joined, marked, plain, table
from ._models import model_inputs, model_name

NAME = "measure_wording_sensitivity"
LABEL = "Measure sensitivity to wording"
MOST_ORDERS = 10
LEGEND = (
    "Figures in per cent. Flipped: faces with more than one answer over the wordings, with the 95 % Wilson interval. "
    "Flip rate: share of wordings whose answer is not the face's most frequent one, mean over faces, with its 95 % "
    f"bootstrap interval. * fewer than {SMALL} faces."
)


class MeasureWordingSensitivity(_operator.Operator):
    """Asks about the same pictures in several wordings and orders of labels, and tells how often answers flip."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Ask about the same pictures in several wordings and tell how often the answers flip. Takes a model, "
        "attributes and a prefix; every wording is a run under a prefix of its own; gives a table of wordings and "
        "flips with n and intervals, a flip rate for each picture and a saved view of those that flip.",
        "alt_route",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        card = model_inputs(ctx, inputs)
        if card is None:
            return
        choose_attributes.inputs(ctx, inputs, card, whom="every picture, as a whole")
        choose_attributes.require(ctx, inputs, card)
        usual = usual_prefix(card)
        told = "Wordings are runs PREFIX_w0, PREFIX_w1, ..."
        prefix = inputs.str("prefix", label="Field prefix", description=plain(told), default=usual)
        inputs.int(
            "orders",
            label="Orders of the labels",
            description="In how many orders they are listed, where the prompt lists them",
            default=ORDERS,
            min=1,
            max=MOST_ORDERS,
        )
        target = targets.with_all_fields(ctx.target_view())
        groups = _forms.several(
            inputs,
            "groups",
            evaluations.group_fields(PictureRows(target)),
            "Groups",
            "Fields by which flips are shown",
        )
        for name in ctx.params.get("groups") or []:
            _forms.attempt(groups, partial(evaluations.group_values, PictureRows(target), name))
        _forms.existing(inputs, "picture")
        if choose_attributes.names(ctx) or ctx.params.get("own"):
            _forms.attempt(prefix, partial(_check_fields, ctx, target, usual))
            _plan_inputs(ctx, inputs, card, targets.size(target))

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Loading the model")
        options = _options.options(ctx, model_name(ctx))
        run = SensitivityRun(
            ctx.target_view(),
            model_name(ctx),
            choose_attributes.asked(ctx),
            prefix=ctx.params.get("prefix") or None,
            orders=_orders(ctx),
            groups=ctx.params.get("groups") or (),
            overwrite=_forms.overwrites(ctx),
            settings=Settings(options=options, secrets=_trust.secrets(ctx)),
        )
        with closing(run.works(lambda step: _remote.confirmed(ctx, step))) as works:
            for k, work in enumerate(works, 1):
                work.begin(lambda _: True)
                yield from self.followed(ctx, work, f"faces in wording {k} of {len(run.planned)}")
        yield from keep.reloaded(ctx)
        yield _forms.output(ctx, "Sensitivity to wording", _summary(run.result()))


def _orders(ctx: foo.ExecutionContext) -> int:
    orders = ctx.params.get("orders")
    return ORDERS if orders is None else orders


def _check_fields(ctx: foo.ExecutionContext, target: targets.Collection, usual: str) -> None:
    targets.check(target)
    for name in choose_attributes.names(ctx):
        prefix = ctx.params.get("prefix") or usual
        field_name(prefix, name)
        flips.check(target, flips.field_of(prefix, name))


def _plan_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card, pictures: int) -> None:
    """How many wordings are asked about, and at what cost; how they are worded is known once the weights are here."""
    if not card.is_here():
        text = "How many wordings there are is known once the weights are on this machine."
        _forms.notice(inputs, "plan", text)
        return
    header = inputs.view("planned", _forms.header("What is asked"))
    asked = _forms.attempt(header, lambda: _wordings(ctx, card))
    if asked is None:
        return
    each = "; ".join(f"{name} in {len(found)} wordings" for name, found in asked.items())
    times = sum(len(found) for found in asked.values())
    _forms.notice(inputs, "plan", f"Asked: {each}. {pictures:,} pictures make {pictures * times:,} questions at most.")
    if card.hosted:
        _remote.cost(ctx, inputs, lambda: _brief(ctx, card, asked, pictures))


def _wordings(ctx: foo.ExecutionContext, card: cards.Card) -> dict[str, Sequence[wordings.Wording]]:
    joint = Settings(options=_options.options(ctx, card.name)).shares_prompts
    chosen = resolve_attributes(choose_attributes.asked(ctx), card)
    return {a.name: wordings.wordings(card, a, orders=_orders(ctx), joint=joint) for a in chosen}


def _brief(
    ctx: foo.ExecutionContext, card: cards.Card, asked: dict[str, Sequence[wordings.Wording]], pictures: int
) -> Briefing | None:
    """What all wordings send together, each attribute in a request of its own: so much at most."""
    options, steps = _options.options(ctx, card.name), []
    for attribute in resolve_attributes(choose_attributes.asked(ctx), card):
        step = brief(card.name, [attribute], pictures, options)
        steps += [step] * len(asked[attribute.name]) if step is not None else []
    return together(steps)


def _summary(results: list[Sensitivity]) -> Marked:
    return joined("\n\n", [*(part for result in results for part in _parts(result)), plain(LEGEND)])


def _parts(result: Sensitivity) -> list[Marked]:
    alone = {"wording alone": result.by_paraphrase, "order of labels alone": result.by_order}
    rates = [("all wordings", result.flips), *((name, rate) for name, rate in alone.items() if rate)]
    parts = [marked("**{}**", result.attribute), _wording_table(result), _rates("over", rates)]
    parts += [_rates(name, [(g.group, g) for g in groups]) for name, groups in result.groups.items()]
    if result.spread:
        spread, points = result.spread, text.share(result.spread.difference)
        parts.append(
            plain(
                f"Most accurate {spread.a}, least {spread.b}: difference {points} "
                f"({text.share(spread.low)} - {text.share(spread.high)}), n = {spread.n:,}."
            )
        )
    if result.unanswered:
        parts.append(plain(f"Pictures without an answer in any wording, left out: {result.unanswered:,}."))
    return [
        *parts,
        *map(plain, result.notes),
        marked("For each picture: field {}, saved view {}.", code(result.field), code(result.view)),
    ]


def _wording_table(result: Sensitivity) -> Marked:
    rows = [
        [
            w.prefix,
            w.prompt,
            str(w.n),
            text.share(w.differs),
            str(w.n_truth),
            text.share(w.accuracy),
            f"{text.share(w.low)} - {text.share(w.high)}",
        ]
        for w in result.wordings
    ]
    header = ["prefix", "prompt", "n", "unlike the first", "n with ground truth", "accuracy", text.INTERVAL]
    shown = len(header) if result.ground_truth else 4
    return table(header[:shown], [row[:shown] for row in rows])


def _rates(name: str, rates: Sequence[tuple[str, FlipRates]]) -> Marked:
    rows = [
        [*text.flip_cells(rate, label), text.share(rate.mean), _interval(rate.mean_low, rate.mean_high)]
        for label, rate in rates
    ]
    return table([name, "n", "flipped", text.INTERVAL, "flip rate", "95 % bootstrap"], rows)


def _interval(low: float, high: float) -> str:
    return f"{text.share(low)} - {text.share(high)}"
