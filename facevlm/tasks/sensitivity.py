"""How much answers depend on how a model is asked: paraphrases and orders of the listed labels, on the same faces."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import Unpack

from facevlm.attributes import Registry, align
from facevlm.backends import Backend, Briefing, Hosted
from facevlm.backends.briefings import Confirm, may_begin, together
from facevlm.backends.cards import Card
from facevlm.backends.choice import card_of, prefix_of, resolve_attributes
from facevlm.engines.devices import let_go, opened
from facevlm.errors import InputError, check_sizes
from facevlm.evaluation.comparison import Flags, FlipRates, Pair, compare_two, flip_rates, members, summarise
from facevlm.evaluation.evaluate import to_plain
from facevlm.evaluation.intervals import DRAWS
from facevlm.evaluation.metrics import Codes, wilson
from facevlm.evaluation.readings import Truth
from facevlm.language import wordings
from facevlm.language.wordings import Wording
from facevlm.store import evaluations, flips, predictions, provenance, targets, updates
from facevlm.store.rows import PictureRows
from facevlm.tasks._options import RunOptions, Settings, settings, takes_options
from facevlm.tasks._run import announce, carry_out
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import ApplyRun
from facevlm.tasks.compare import find_truth, label_codes, read_runs
from facevlm.types import Attribute

ORDERS = 3


@dataclass(frozen=True)
class WordingResult:
    """What came of one wording; its answers stand in ``<prefix>_<attribute>``.

    ``differs`` is the share of the ``n`` faces whose answer is not that to the model's own wording, with its 95 %
    Wilson interval; no answer is an answer. ``accuracy``, with its own, is over the ``n_truth`` faces of these that
    have ground truth; a face without an answer is wrong.
    """

    prefix: str
    prompt: str
    paraphrase: int
    order: int
    labels: tuple[str, ...] | None
    n: int
    answered: int
    differs: float
    differs_low: float
    differs_high: float
    n_truth: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Sensitivity:
    """How much the answers to one attribute depend on the wording.

    ``flips`` and ``groups`` tell over how many faces: the share that got more than one answer over all wordings (with
    its 95 % Wilson interval) and the mean flip rate, that is the share of wordings whose answer is not the face's most
    frequent one (with its 95 % bootstrap interval). ``by_paraphrase`` is the same over the wordings in the labels' own
    order alone, ``by_order`` over the orders of the model's own wording alone; None where these are one or all. Faces
    without an answer to any wording are ``unanswered`` and not in these.

    ``spread`` compares the most accurate wording ``a`` with the least accurate ``b`` on the same faces; its interval
    and p-value do not know that they were picked as the extremes. It is None where all are equally accurate or there
    is no ground truth. ``field`` holds each face's flip rate, and ``view`` names the saved view of the faces with one
    above 0, the highest first.
    """

    attribute: str
    wordings: tuple[WordingResult, ...]
    flips: FlipRates
    by_paraphrase: FlipRates | None
    by_order: FlipRates | None
    groups: Mapping[str, tuple[FlipRates, ...]]
    unanswered: int
    spread: Pair | None
    ground_truth: str | None
    field: str
    view: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


@verb
@takes_options(RunOptions)
def sensitivity(
    target: targets.Collection,
    model: str | Backend = "demo",
    attributes: Sequence[str | Attribute] = (),
    *,
    prefix: str | None = None,
    paraphrases: Mapping[str, Sequence[str]] | None = None,
    orders: int = ORDERS,
    seed: int = 0,
    groups: Sequence[str] = (),
    ground_truth: Mapping[str, str] | None = None,
    overwrite: bool = False,
    draws: int = DRAWS,
    confirm: Confirm | None = None,
    **options: Unpack[RunOptions],
) -> list[Sensitivity]:
    """Ask about the same faces in several wordings, and tell how often answers flip, per face and per group.

    Every wording is a run of its own, as by :func:`facevlm.apply`, under the prefix ``<prefix>_w1``, or ``_w1o2`` in
    another order of labels; ``_w0`` is the model's own wording. Asked again, only what has no answer yet is asked.

    Args:
        target: a FiftyOne dataset or view.
        model: as of :func:`facevlm.apply`.
        attributes: names or :class:`~facevlm.types.Attribute`; at least one.
        prefix: by default the model's short name and ``_words``. Each face's flip rate goes to the number field
            ``<prefix>_<attribute>_flip_rate``.
        paraphrases: attribute name -> other wordings of its question, instead of those that facevlm ships; one that
            holds ``{labels}`` is the whole prompt.
        orders: in how many orders the labels are listed, their own included, where the prompt lists them.
        seed: of the orders.
        groups: fields by which flips are shown, as in :func:`facevlm.compare`.
        ground_truth: attribute name -> field; by default found by name, and not needed.
        draws: bootstrap draws behind the intervals of mean flip rates and of the spread.
        overwrite: as of :func:`facevlm.apply`.
        confirm: as of :func:`facevlm.apply`, asked once about all wordings together; where it says no there is no
            result.
        {options}

    Raises:
        FacevlmError: before anything is asked, saying what was got, what was expected, and what to do.
    """
    told = settings(options)
    run = SensitivityRun(
        target,
        model,
        attributes,
        prefix=prefix,
        paraphrases=paraphrases,
        orders=orders,
        seed=seed,
        groups=groups,
        ground_truth=ground_truth,
        overwrite=overwrite,
        draws=draws,
        settings=told,
    )
    with closing(run.works(confirm or announce)) as works:
        for work in works:
            carry_out(work, lambda _: True, progress=told.progress)
    return run.result() if run.is_agreed else []


class SensitivityRun:
    """Wordings that are checked, of a run each; take :meth:`works` one by one, then read :meth:`result`.

    See :func:`sensitivity` for the arguments. Raises :class:`~facevlm.errors.FacevlmError` while nothing is asked yet.
    """

    is_agreed = True

    def __init__(
        self,
        target: targets.Collection,
        model: str | Backend = "demo",
        attributes: Sequence[str | Attribute] = (),
        *,
        prefix: str | None = None,
        paraphrases: Mapping[str, Sequence[str]] | None = None,
        orders: int = ORDERS,
        seed: int = 0,
        groups: Sequence[str] = (),
        ground_truth: Mapping[str, str] | None = None,
        overwrite: bool = False,
        draws: int = DRAWS,
        settings: Settings | None = None,
    ) -> None:
        told = settings or Settings()
        self._known, self._draws = told.registry, draws
        self._target = targets.check(target)
        check_sizes(orders=orders, draws=draws)
        card = card_of(model, told.options)
        self._chosen = resolve_attributes(attributes, card, self._known)
        self._truths = dict(ground_truth or {})
        for what, given in (("paraphrases", paraphrases or {}), ("ground truth", self._truths)):
            _check_names(what, given, self._chosen)
        self.prefix = prefix if prefix is not None else usual_prefix(card)
        self._groups, self._ids = list(groups), list(self._target.values("id"))
        self._check_fields()
        fetched = None
        if not card.is_here():
            # Fetched first: how the questions are worded depends on the family that its config names.
            fetched = opened(model, told.options, self._chosen)
        self._asked = {
            a.name: wordings.wordings(
                card, a, (paraphrases or {}).get(a.name), orders=orders, seed=seed, joint=told.shares_prompts
            )
            for a in self._chosen
        }
        # One for all runs: of a model with several checkpoints, others are asked in some than in others.
        self._backend = fetched or opened(model, told.options, self._chosen)
        self._owns_backend = isinstance(model, str)
        self.planned = _planned(self._chosen, self._asked, self.prefix)
        self._make = functools.partial(ApplyRun, model=model, overwrite=overwrite, settings=told, backend=self._backend)

    def _check_fields(self) -> None:
        rows = PictureRows(self._target)
        for name in self._groups:
            evaluations.group_values(rows, name)
        for attribute in self._chosen:
            flips.check(self._target, flips.field_of(self.prefix, attribute.name))
            if self._truths.get(attribute.name):
                find_truth(rows, attribute, self._truths[attribute.name], self._known)

    def works(self, confirm: Confirm) -> Generator[ApplyRun, None, None]:
        """The runs, one after the other; each must be done before the next is asked for. None where ``confirm`` says no
        to what they send all together."""
        with ExitStack() as after:
            if self._owns_backend:
                after.callback(let_go, self._backend)
            briefing, total = self._briefing()
            self.is_agreed = may_begin(confirm, briefing, total, "faces, each counted once in every wording,")
            for one in self.planned if self.is_agreed else ():
                # Made anew: a run before it may have changed what the dataset holds.
                yield self._run(one, self._target)

    def _briefing(self) -> tuple[Briefing | None, int]:
        """What is said of all of them, and how much they ask.

        All runs are made before any is begun, so that what is wrong with one is said before anything is asked; where
        nothing is sent away, one face is enough for that."""
        tried = self._target if isinstance(self._backend, Hosted) else self._target.limit(1)
        runs = [self._run(one, tried) for one in self.planned]
        for run, one in zip(runs, self.planned, strict=True):
            if run.others:
                # Whether their answers would be lost is decided by all faces.
                self._run(one, self._target)
        said = together([run.briefing for run in runs if run.briefing is not None and run.total])
        known = len(self.planned) * len(self._target) if said is None else 0
        return said, max(known, sum(run.total for run in runs))

    def _run(self, one: Planned, target: targets.Collection) -> ApplyRun:
        return self._make(target, attributes=one.attributes, prefix=one.prefix, prompts=one.prompts)

    def result(self) -> list[Sensitivity]:
        """How much the answers depend on the wording, once all runs are done; of samples that are still there."""
        # Read anew: samples may have been deleted while they were asked about.
        rows = PictureRows(self._target)
        by = {name: evaluations.group_values(rows, name) for name in self._groups}
        found = [
            _result(
                rows,
                attribute,
                self._asked[attribute.name],
                self.prefix,
                self._truths.get(attribute.name),
                by,
                self._draws,
                self._known,
            )
            for attribute in self._chosen
        ]
        gone = tuple(updates.told(len(self._ids) - targets.size(targets.with_ids(self._target._dataset, self._ids))))
        return [replace(one, notes=(*one.notes, *gone)) for one in found]


def usual_prefix(card: Card) -> str:
    """How the runs of a model's wordings are named where nobody says so."""
    return f"{prefix_of(card)}_words"


@dataclass(frozen=True)
class Planned:
    """The run of one wording: its prefix, the attributes that have it, and the prompts by which they are asked."""

    prefix: str
    attributes: Sequence[Attribute]
    prompts: Mapping[str, str]


def _planned(attributes: Sequence[Attribute], asked: Mapping[str, Sequence[Wording]], prefix: str) -> list[Planned]:
    """One run per wording, for all attributes that have it."""
    askers: dict[str, list[tuple[Attribute, Wording]]] = {}
    for attribute in attributes:
        for wording in asked[attribute.name]:
            askers.setdefault(f"{prefix}_{wording.ending}", []).append((attribute, wording))
    return [
        Planned(name, [a for a, _ in pairs], {a.name: w.given for a, w in pairs if w.given is not None})
        for name, pairs in askers.items()
    ]


def _check_names(what: str, given: Mapping[str, object], chosen: Sequence[Attribute]) -> None:
    strange = sorted(set(given) - {a.name for a in chosen})
    if strange:
        raise InputError(f"Got {what} for {', '.join(strange)}, expected only {', '.join(a.name for a in chosen)}.")


def _result(
    rows: PictureRows,
    attribute: Attribute,
    asked: Sequence[Wording],
    prefix: str,
    truth_field: str | None,
    groups: Mapping[str, Sequence[str | None]],
    draws: int,
    known: Registry,
) -> Sensitivity:
    prefixes = [f"{prefix}_{wording.ending}" for wording in asked]
    runs, _ = read_runs(rows, prefixes, attribute, align(attribute, (), known))
    held = [provenance.runs_in(rows.target, predictions.field_name(name, attribute.name)) for name in prefixes]
    codes, labels = list(runs.values()), len(attribute.labels)
    rates = flip_rates(codes, labels)
    answered = np.isfinite(rates)
    field = flips.field_of(prefix, attribute.name)
    truth, notes = find_truth(rows, attribute, truth_field, known)
    judged = _judged(attribute, codes, truth, answered)
    if not any(wording.labels for wording in asked):
        notes += (f"The prompts about {attribute.name} list no labels, so that their order could not be changed.",)
    return Sensitivity(
        attribute=attribute.name,
        wordings=tuple(
            _wording(
                name,
                wording,
                codes_of_wording[answered],
                codes[0][answered],
                None if judged is None else judged.right(k),
            )
            for k, (name, wording, codes_of_wording) in enumerate(zip(prefixes, asked, codes, strict=True))
        ),
        flips=summarise("all", rates, draws=draws),
        by_paraphrase=_part(codes, [not w.order for w in asked], labels, draws),
        by_order=_part(codes, [not w.paraphrase for w in asked], labels, draws),
        groups={
            name: tuple(summarise(group, rates[inside], draws=draws) for group, inside in members(name, values))
            for name, values in groups.items()
        },
        unanswered=int((~answered).sum()),
        spread=_spread(prefixes, judged, draws) if judged else None,
        ground_truth=truth.field if truth else None,
        field=field,
        view=flips.save(
            rows.target,
            field,
            dict(zip(rows.ids(), rates.tolist(), strict=True)),
            prefixes,
            [by.run for answered_by in held for by in answered_by],
        ),
        notes=notes,
    )


@dataclass(frozen=True)
class _JudgedRuns:
    """Label indices, on the common label set of so many labels, of the faces with ground truth and any answer."""

    labels: int
    truth: Codes
    runs: tuple[Codes, ...]

    def right(self, run: int) -> Flags:
        """Which of the faces a run is right about."""
        same: Flags = self.runs[run] == self.truth
        return same


def _judged(attribute: Attribute, codes: Sequence[Codes], truth: Truth | None, answered: Flags) -> _JudgedRuns | None:
    if truth is None:
        return None
    common = truth.alignment.common.labels
    # The last place, reached by -1, is no answer.
    mapped = np.array([*(common.index(truth.alignment.predicted[label]) for label in attribute.labels), -1])
    true = label_codes(truth.labels(), common)
    known = answered & (true >= 0)
    return _JudgedRuns(len(common), true[known], tuple(mapped[codes_of_run[known]] for codes_of_run in codes))


def _wording(name: str, wording: Wording, predicted: Codes, own: Codes, right: Flags | None) -> WordingResult:
    n, other = len(predicted), int((predicted != own).sum())
    differs_low, differs_high = wilson(other, n)
    n_truth, hits = (len(right), int(right.sum())) if right is not None else (0, 0)
    low, high = wilson(hits, n_truth)
    return WordingResult(
        prefix=name,
        prompt=wording.prompt,
        paraphrase=wording.paraphrase,
        order=wording.order,
        labels=wording.labels,
        n=n,
        answered=int((predicted >= 0).sum()),
        differs=other / n if n else math.nan,
        differs_low=differs_low,
        differs_high=differs_high,
        n_truth=n_truth,
        accuracy=hits / n_truth if n_truth else math.nan,
        low=low,
        high=high,
    )


def _part(codes: Sequence[Codes], kept: Sequence[bool], labels: int, draws: int) -> FlipRates | None:
    """Flips over some of the wordings; None where these are one or all."""
    some = list(itertools.compress(codes, kept))
    return summarise("all", flip_rates(some, labels), draws=draws) if 1 < len(some) < len(codes) else None


def _spread(prefixes: Sequence[str], judged: _JudgedRuns, draws: int) -> Pair | None:
    """The most accurate wording against the least accurate one, of equals the first; None without ground truth."""
    hits = [int(judged.right(k).sum()) for k in range(len(prefixes))]
    best, worst = hits.index(max(hits)), hits.index(min(hits))
    if not len(judged.truth) or best == worst:
        return None
    a, b = judged.runs[best], judged.runs[worst]
    return compare_two(prefixes[best], prefixes[worst], judged.truth, a, b, judged.labels, draws=draws)
