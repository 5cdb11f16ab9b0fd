"""Does a confidence of 0.8 mean right in 80 of 100? And how many answers are left if only sure ones are kept?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from facevlm.evaluation.metrics import Codes, Floats, wilson

POINTS = 101
FLOOR = -700.0
"""Stands for a probability of nothing: its exponential is 0 in all but name, and sums stay finite."""
BINS = 15
"""As in Guo et al. (2017), On calibration of modern neural networks."""

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """Faces whose confidence lies in (low, high]; the Wilson interval is that of the accuracy."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def reliability(confidence: Floats, right: Hits, bins: int = BINS, *, equal_mass: bool = False) -> tuple[Bin, ...]:
    """Confidence and accuracy in bins of equal width, or of as many faces each; empty bins are left out."""
    if not len(confidence):
        return ()
    edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)) if equal_mass else np.linspace(0, 1, bins + 1)
    edges = np.unique(edges)
    at = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, max(0, len(edges) - 2))
    found = []
    for k in np.unique(at):
        here = at == k
        n, hits = int(here.sum()), int(right[here].sum())
        low, high = wilson(hits, n)
        span = (float(edges[k]), float(edges[min(k + 1, len(edges) - 1)]))
        found.append(Bin(*span, n, float(confidence[here].mean()), hits / n, low, high))
    return tuple(found)


def ece(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the faces; nan for none.

    Naeini, Cooper, Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning.
    """
    n = sum(b.n for b in bins)
    return sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / n if n else math.nan


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
    """The temperature with the least negative log-likelihood of the truth, between 0.05 and 20; 1 for no faces.

    Fit it on one split and use it on another: on its own split it flatters. Guo et al. (2017).
    """
    if not len(truth):
        return 1.0
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return float(-scaled(log_probs, math.exp(log_temperature))[rows, truth].mean())

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded")
    return float(math.exp(found.x))


@dataclass(frozen=True)
class SelectivePoint:
    """Keeping the answers with at least ``threshold`` confidence: which share of all faces, and how many are right."""

    threshold: float
    coverage: float
    accuracy: float
    n: int


def selective(confidence: Floats, right: Hits, total: int, most: int | None = None) -> tuple[SelectivePoint, ...]:
    """Accuracy against coverage, from the surest answer to all; faces without an answer count in ``total`` alone.

    One point for each distinct confidence, so that faces of equal confidence stay together; of more than ``most``
    points, that many are kept, first and last among them.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.array([], dtype=np.int64)
    if most is not None and len(last) > most:
        last = last[np.unique(np.linspace(0, len(last) - 1, most).round().astype(int))]
    return tuple(
        SelectivePoint(float(sure[k]), (k + 1) / total, float(hits[k] / (k + 1)), int(k + 1)) for k in last.tolist()
    )


@dataclass(frozen=True)
class Confidence:
    """What the confidences of the scored faces are worth.

    ``bins`` are of equal width, ``ece_mass`` is the error in bins of as many faces each. ``temperature`` is fitted on
    a random half of the faces, and ``ece_after`` measured on the others, beside ``ece_before`` on the same.
    ``selective`` is the curve of accuracy against coverage, thinned to at most ``POINTS``.
    """

    n: int
    ece: float
    ece_mass: float
    brier: float
    top2: float
    bins: tuple[Bin, ...]
    selective: tuple[SelectivePoint, ...]
    temperature: float
    ece_before: float
    ece_after: float


def assess(log_probs: Floats, truth: Codes, predicted: Codes) -> Confidence | None:
    """Calibration and selective accuracy of the faces that were answered with scores; None where there are none.

    ``log_probs`` (n, n_labels) are normalised, nan in faces without; ``truth`` and ``predicted`` are label indices, -1
    for no answer.
    """
    scored = ~np.isnan(log_probs).any(1) & (predicted >= 0) if len(log_probs) else np.zeros(0, dtype=bool)
    if not scored.any():
        return None
    table, true, answer = np.maximum(log_probs[scored], FLOOR), truth[scored], predicted[scored]
    confidence, right = _sure(table, answer), answer == true
    bins = reliability(confidence, right)
    fitting = np.random.default_rng(0).permutation(len(true)) < (len(true) + 1) // 2
    fitted = fit_temperature(table[fitting], true[fitting])
    rest, hits, answers = table[~fitting], right[~fitting], answer[~fitting]
    return Confidence(
        n=len(true),
        ece=ece(bins),
        ece_mass=ece(reliability(confidence, right, equal_mass=True)),
        brier=brier(table, true),
        top2=top_k(table, true, 2),
        bins=bins,
        selective=selective(confidence, right, len(truth), POINTS),
        temperature=fitted,
        ece_before=ece(reliability(_sure(rest, answers), hits)),
        ece_after=ece(reliability(_sure(scaled(rest, fitted), answers), hits)) if len(rest) else math.nan,
    )


def _sure(log_probs: Floats, answer: Codes) -> Floats:
    return np.asarray(np.exp(log_probs[np.arange(len(answer)), answer]))


@dataclass(frozen=True)
class AgeErrors:
    """How far apparent ages are off in years: the distance of the true age from the predicted group, 0 inside of it.

    ``minors_as_adults`` is the share of answered faces under 18 in whose predicted group nobody is under 18, and
    ``adults_as_minors`` of those from 18 on in whose group nobody is. ``n`` are the answered faces.
    """

    n: int
    mean_years: float
    n_minors: int
    minors_as_adults: float
    n_adults: int
    adults_as_minors: float


ADULT = 18


def age_errors(years: Sequence[float], predicted: Codes, edges: Sequence[float]) -> AgeErrors:
    """Errors in years of predicted age groups, which begin at ``edges`` and end below the next."""
    age = np.asarray(years, dtype=float)
    kept = (predicted >= 0) & np.isfinite(age)
    age, answer = age[kept], predicted[kept]
    begins = np.asarray(edges, dtype=float)
    ends = np.append(begins[1:], math.inf)
    low, high = begins[answer], ends[answer]
    # Ages are whole years: a face of 20 is one year off the group that ends with 19.
    off = np.maximum(0, np.maximum(low - age, np.where(age >= high, age - high + 1, 0)))
    minors = age < ADULT
    return AgeErrors(
        n=len(age),
        mean_years=_share(off.sum(), len(age)),
        n_minors=int(minors.sum()),
        minors_as_adults=_share((low[minors] >= ADULT).sum(), minors.sum()),
        n_adults=int((~minors).sum()),
        adults_as_minors=_share((high[~minors] <= ADULT).sum(), (~minors).sum()),
    )


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def threshold_for(points: tuple[SelectivePoint, ...], accuracy: float) -> SelectivePoint | None:
    """The point with the most faces among those that reach the wanted accuracy; None where none does."""
    reached = [p for p in points if p.accuracy >= accuracy]
    return max(reached, key=lambda p: p.n) if reached else None
