"""Does a confidence of 0.8 mean right in 80 of 100? And how many answers are left if only sure ones are kept?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from facevlm.evaluation.ages import AgeErrors as AgeErrors
from facevlm.evaluation.ages import age_errors as age_errors
from facevlm.evaluation.groups import SMALL, Grouping
from facevlm.evaluation.intervals import holm
from facevlm.evaluation.metrics import Z95, Codes, Floats
from facevlm.evaluation.reliability import BINS as BINS
from facevlm.evaluation.reliability import TIES, effect_of, worth_in
from facevlm.evaluation.reliability import Bin as Bin
from facevlm.evaluation.reliability import Floor as Floor
from facevlm.evaluation.reliability import Hits as Hits
from facevlm.evaluation.reliability import ece as ece
from facevlm.evaluation.reliability import floor as floor
from facevlm.evaluation.reliability import reliability as reliability
from facevlm.evaluation.sets import LabelSets, label_sets
from facevlm.evaluation.thresholds import Promise, promises

POINTS = 101
FOLDS = 5
MOST_FITTED = 10_000
"""Faces that a temperature is fitted on; it is known to a hundredth then."""
COLDEST, WARMEST = 0.05, 20.0
FLOOR = -700.0
"""Stands for a probability of nothing: its exponential is 0 in all but name, and sums stay finite."""


def nll(log_probs: Floats, truth: Codes) -> float:
    """Mean negative log-likelihood of the truth, in nats, from log-probabilities (n, n_labels); nan for no faces."""
    return float(-log_probs[np.arange(len(truth)), truth].mean()) if len(truth) else math.nan


def brier(log_probs: Floats, truth: Codes) -> float:
    """Mean squared distance of the probabilities (n, n_labels) from the truth, 0 to 2; nan for no faces.

    Brier, G. W. (1950), Verification of forecasts expressed in terms of probability.
    """
    if not len(truth):
        return math.nan
    aim = np.zeros_like(log_probs)
    aim[np.arange(len(truth)), truth] = 1
    return float(((np.exp(log_probs) - aim) ** 2).sum(1).mean())


def top_k(log_probs: Floats, truth: Codes, k: int) -> float:
    """Share of faces whose true label is among the ``k`` likeliest; ties count for the truth. nan for no faces."""
    if not len(truth):
        return math.nan
    own = log_probs[np.arange(len(truth)), truth]
    return float(((log_probs > own[:, None]).sum(1) < k).mean())


def scaled(log_probs: Floats, temperature: float) -> Floats:
    """Log-probabilities after division by a temperature, normalised again."""
    warm = log_probs / temperature
    return np.asarray(warm - np.logaddexp.reduce(warm, axis=1, keepdims=True))


def fit_temperature(log_probs: Floats, truth: Codes) -> float:
    """The temperature with the least negative log-likelihood of the truth, ``COLDEST`` to ``WARMEST``; 1 for no faces.

    Fit it on some faces and use it on others: on its own it flatters. Of more than ``MOST_FITTED`` faces, so many are
    drawn. Guo et al. (2017).
    """
    if not len(truth):
        return 1.0
    if len(truth) > MOST_FITTED:
        chosen = np.random.default_rng(0).choice(len(truth), MOST_FITTED, replace=False)
        log_probs, truth = log_probs[chosen], truth[chosen]

    def loss(log_temperature: float) -> float:
        return nll(scaled(log_probs, math.exp(log_temperature)), truth)

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(WARMEST)), method="bounded")
    # The search never reaches its ends, and stops short of them where the loss is flat.
    best = min((COLDEST, WARMEST), key=lambda end: loss(math.log(end)))
    return best if loss(math.log(best)) <= found.fun + TIES else float(math.exp(found.x))


@dataclass(frozen=True)
class SelectivePoint:
    """Keeping the answers with at least ``threshold`` confidence: which share of all faces, and how many are right.

    ``worth`` is as how many independent faces that share counts, None where all ``n`` are independent.
    """

    threshold: float
    coverage: float
    accuracy: float
    n: int
    worth: float | None = None


def selective(
    confidence: Floats, right: Hits, total: int, most: int | None = None, clusters: Codes | None = None
) -> tuple[SelectivePoint, ...]:
    """Accuracy against coverage, from the surest answer to all; faces without an answer count in ``total`` alone.

    One point for each distinct confidence, so that faces of equal confidence stay together, and its threshold is the
    shortest number that keeps just these; of more than ``most`` points, that many are kept, first and last among them.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.array([], dtype=np.int64)
    if most is not None and len(last) > most:
        last = last[np.unique(np.linspace(0, len(last) - 1, most).round().astype(int))]
    below, rank = np.append(sure[1:], -1.0), np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return tuple(
        SelectivePoint(
            short(float(sure[k]), float(below[k])),
            (k + 1) / total,
            float(hits[k] / (k + 1)),
            int(k + 1),
            worth_in(clusters, right, rank <= k),
        )
        for k in last.tolist()
    )


def short(confidence: float, below: float) -> float:
    """The number of fewest decimals, two or more, that keeps this confidence and not the next one ``below`` it.

    Rounded to the nearest it would keep other faces than those of whom the figures are.
    """
    for digits in range(2, 15):
        cut = float(round(math.floor(confidence * 10**digits) / 10**digits, digits))
        if below < cut <= confidence:
            return cut
    return confidence


@dataclass(frozen=True)
class Scaling:
    """What one temperature for all answers would gain.

    ``temperature`` is that with the least negative log-likelihood over all faces, ``at_limit`` where it is an end of
    the search and so means nothing. ``nll`` and ``ece`` are cross-fitted: each of ``FOLDS`` parts of the faces is read
    with the temperature of the others. ``gain`` is how much less the log-likelihood is than without, with its 95 %
    interval ``low`` to ``high``.
    """

    temperature: float
    at_limit: bool
    nll: float
    ece: float
    gain: float
    low: float
    high: float


def scale(
    log_probs: Floats, truth: Codes, answer: Codes, seed: int = 0, clusters: Codes | None = None
) -> Scaling | None:
    """The temperature of scored and answered faces; None for fewer than ``SMALL``, which fit none."""
    if len(truth) < SMALL:
        return None
    # Faces of one cluster know each other, so that they are in one part.
    own = np.arange(len(truth)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    fold = (np.random.default_rng(seed).permutation(int(own.max()) + 1) % FOLDS)[own]
    warm = np.empty_like(log_probs)
    for k in range(FOLDS):
        warm[fold == k] = scaled(log_probs[fold == k], fit_temperature(log_probs[fold != k], truth[fold != k]))
    before, after = (-table[np.arange(len(truth)), truth] for table in (log_probs, warm))
    gain, spread = float((before - after).mean()), Z95 * float((before - after).std(ddof=1)) / math.sqrt(len(truth))
    if clusters is not None:
        spread *= math.sqrt(effect_of(clusters, before - after, len(truth)))
    fitted = fit_temperature(log_probs, truth)
    return Scaling(
        temperature=fitted,
        at_limit=fitted in (COLDEST, WARMEST),
        nll=float(after.mean()),
        ece=ece(reliability(_sure(warm, answer), answer == truth)),
        gain=gain,
        low=gain - spread,
        high=gain + spread,
    )


@dataclass(frozen=True)
class GroupCalibration:
    """Calibration of the scored faces of one group, of at least ``SMALL``.

    ``p_value`` is that of :class:`Floor`, by Holm's method over the groups of the field.
    """

    by: str
    value: str
    n: int
    confidence: float
    accuracy: float
    nll: float
    brier: float
    ece: float
    chance: float
    chance_high: float
    p_value: float


@dataclass(frozen=True)
class Confidence:
    """What the confidences of the scored faces are worth.

    ``nll`` is the mean negative log-likelihood of the truth in nats. ``bins`` are of equal width, ``ece_mass`` is the
    error in bins of as many faces each, and ``floor`` and ``floor_mass`` say what both are by chance. ``scaling`` is
    None for fewer than ``SMALL`` faces. ``selective`` is the curve of accuracy against coverage, thinned to at most
    ``POINTS``, and ``promises`` the thresholds that hold on new faces. ``groups`` have calibration of their own.
    ``sets`` are the label sets that were asked for.
    """

    n: int
    nll: float
    brier: float
    top2: float
    ece: float
    floor: Floor
    ece_mass: float
    floor_mass: Floor
    bins: tuple[Bin, ...]
    selective: tuple[SelectivePoint, ...]
    scaling: Scaling | None
    promises: tuple[Promise, ...]
    groups: tuple[GroupCalibration, ...] = ()
    sets: LabelSets | None = None


def assess(
    log_probs: Floats,
    truth: Codes,
    predicted: Codes,
    groupings: Sequence[Grouping] = (),
    clusters: Codes | None = None,
    sets: float | None = None,
) -> Confidence | None:
    """Calibration and selective accuracy of the faces that were answered with scores; None where there are none.

    ``log_probs`` (n, n_labels) are normalised, nan in faces without; ``truth`` and ``predicted`` are label indices, -1
    for no answer. Of ``groupings`` of the same faces those by one field count. ``clusters`` (n,) say which faces go
    together. ``sets`` is the share of faces whose set of labels is to hold the true one; None for no sets.
    """
    scored = ~np.isnan(log_probs).any(1) & (predicted >= 0) if len(log_probs) else np.zeros(0, dtype=bool)
    if not scored.any():
        return None
    table, true, answer = np.maximum(log_probs[scored], FLOOR), truth[scored], predicted[scored]
    confidence, right = _sure(table, answer), answer == true
    own = None if clusters is None else clusters[scored]
    bins = reliability(confidence, right, clusters=own)
    mass = reliability(confidence, right, equal_mass=True)
    effect = _effect(own, confidence, right)
    return Confidence(
        n=len(true),
        nll=nll(table, true),
        brier=brier(table, true),
        top2=top_k(table, true, 2),
        ece=ece(bins),
        floor=floor(confidence, ece(bins), effect=effect),
        ece_mass=ece(mass),
        floor_mass=floor(confidence, ece(mass), equal_mass=True, effect=effect),
        bins=bins,
        selective=selective(confidence, right, len(truth), POINTS, own),
        scaling=scale(table, true, answer, clusters=own),
        promises=promises(confidence, right, len(truth), clusters=own),
        groups=tuple(
            row
            for part in groupings
            if len(part.by) == 1
            for row in _by_group(part, part.codes[scored], table, true, answer, own)
        ),
        sets=None
        if sets is None
        else label_sets(table, true, answer, sets, [(part, part.codes[scored]) for part in groupings], clusters=own),
    )


def _effect(clusters: Codes | None, confidence: Floats, right: Hits) -> float:
    """The design effect of how far confidences are off, 1 where faces are independent."""
    few = min(int(right.sum()), int((~right).sum()))
    return 1.0 if clusters is None else effect_of(clusters, right - confidence, few)


def _by_group(
    part: Grouping, codes: Codes, table: Floats, truth: Codes, answer: Codes, clusters: Codes | None = None
) -> list[GroupCalibration]:
    """Groups by one field; none where each holds one true label alone, of whose faces no confidence is a share."""
    members = [(value, codes == k) for k, (value,) in enumerate(part.keys)]
    members = [(value, here) for value, here in members if here.sum() >= SMALL]
    if all(len(np.unique(truth[here])) == 1 for _, here in members):
        return []
    found = [
        _group(part.by[0], value, table[here], truth[here], answer[here], None if clusters is None else clusters[here])
        for value, here in members
    ]
    p_values = np.array([one.p_value for one in found])
    # One of two groups may be off without the other: these are two tests.
    return [replace(one, p_value=float(p)) for one, p in zip(found, holm(p_values), strict=True)]


def _group(by: str, value: str, table: Floats, truth: Codes, answer: Codes, clusters: Codes | None) -> GroupCalibration:
    confidence, right = _sure(table, answer), answer == truth
    error = ece(reliability(confidence, right))
    chance = floor(confidence, error, effect=_effect(clusters, confidence, right))
    return GroupCalibration(
        by=by,
        value=value,
        n=len(truth),
        confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        nll=nll(table, truth),
        brier=brier(table, truth),
        ece=error,
        chance=chance.mean,
        chance_high=chance.high,
        p_value=chance.p_value,
    )


def _sure(log_probs: Floats, answer: Codes) -> Floats:
    return np.asarray(np.exp(log_probs[np.arange(len(answer)), answer]))
