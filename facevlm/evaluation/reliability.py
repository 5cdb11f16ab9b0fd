"""How far confidence and accuracy differ: bins of a reliability diagram, their error, and what it is by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facevlm.evaluation.clusters import clustered, independent
from facevlm.evaluation.intervals import LEVEL
from facevlm.evaluation.metrics import Codes, Floats, score, wilson

DRAWS = 2000
FINE = 500
WIDE = 100.0
"""Variance of the hits in a bin from which on they are drawn from a normal distribution."""
TIES = 1e-9
"""An error that differs from the one seen by rounding alone is as large."""
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


def reliability(
    confidence: Floats, right: Hits, bins: int = BINS, *, equal_mass: bool = False, clusters: Codes | None = None
) -> tuple[Bin, ...]:
    """Confidence and accuracy in bins of equal width, or of as many faces each; empty bins are left out."""
    if not len(confidence):
        return ()
    edges = _edges(confidence, bins, equal_mass)
    at = _places(edges, confidence)
    found = []
    for k in np.unique(at):
        here = at == k
        n, hits = int(here.sum()), int(right[here].sum())
        worth = worth_in(clusters, right, here)
        low, high = wilson(hits, n) if worth is None else score(hits / n * worth, worth)
        span = (float(edges[k]), float(edges[min(k + 1, len(edges) - 1)]))
        found.append(Bin(*span, n, float(confidence[here].mean()), hits / n, low, high))
    return tuple(found)


def worth_in(clusters: Codes | None, right: Hits, kept: Hits) -> float | None:
    """As how many independent faces the share of these that is right is worth; None where all are independent."""
    if clusters is None:
        return None
    return float(clustered(np.zeros(len(right), dtype=np.int64), clusters, right, kept).worth(1)[0])


def effect_of(clusters: Codes, each: Floats, few: float) -> float:
    """The design effect of the mean of values (faces,) in clusters; ``few`` is how many of them are rare."""
    inverse = np.unique(clusters, return_inverse=True)[1]
    sizes, n = np.bincount(inverse), len(each)
    off = each - each.mean()
    rest = np.maximum(1 - sizes / n, 1 / n)
    variance = float(((np.bincount(inverse, off) / n / rest) ** 2).sum())
    of = (n, float((sizes**2).sum()), few, float(off.var()), variance)
    return n / float(independent(*(np.array([v], dtype=float) for v in of))[0])


def _edges(confidence: Floats, bins: int, equal_mass: bool) -> Floats:
    even = np.linspace(0, 1, bins + 1)
    return np.unique(np.quantile(confidence, even) if equal_mass else even)


def _places(edges: Floats, confidence: Floats) -> Codes:
    """The bin of each confidence; an edge belongs to the bin below."""
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, max(0, len(edges) - 2))


def ece(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the faces; nan for none.

    Naeini, Cooper, Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning.
    """
    n = sum(b.n for b in bins)
    return sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / n if n else math.nan


@dataclass(frozen=True)
class Floor:
    """The calibration error that these confidences show when each is exactly right, by chance alone.

    ``mean`` over draws, the point ``high`` under which 95 % of them lie, and ``p_value``: how often the error is as
    large as that seen.
    """

    mean: float
    high: float
    p_value: float


def floor(confidence: Floats, seen: float, *, equal_mass: bool = False, seed: int = 0, effect: float = 1.0) -> Floor:
    """What :func:`ece` is by chance in answers that are right exactly as often as their ``confidence`` says.

    Drawn ``DRAWS`` times; where ``effect`` faces that go together are worth one, errors spread by its root.
    Vaicenavicius et al. (2019), Evaluating model calibration in classification; Bröcker, J. and Smith, L. A. (2007),
    Increasing the reliability of reliability diagrams.
    """
    if not len(confidence):
        return Floor(math.nan, math.nan, math.nan)
    bins = _places(_edges(confidence, BINS, equal_mass), confidence)
    # Faces of nearly equal confidence are drawn together, so that many cost no more than a few.
    fine = np.round(confidence * FINE).astype(np.int64) if len(confidence) > FINE else np.arange(len(confidence))
    _, at, sizes = np.unique(bins * (len(confidence) + FINE) + fine, return_inverse=True, return_counts=True)
    means = np.clip(np.bincount(at, confidence) / sizes, 0, 1)
    of = np.zeros(len(sizes), dtype=np.int64)
    of[at] = bins
    spread = np.bincount(of, sizes * means * (1 - means))
    rng, wide = np.random.default_rng(seed), spread >= WIDE
    errors = np.abs(rng.standard_normal((DRAWS, int(wide.sum()))) * np.sqrt(spread[wide])).sum(1)
    few = ~wide[of]
    if few.any():
        hits = rng.binomial(sizes[few], means[few], (DRAWS, int(few.sum())))
        starts = np.flatnonzero(np.append(True, of[few][1:] != of[few][:-1]))
        errors += np.abs(np.add.reduceat(hits - sizes[few] * means[few], starts, axis=1)).sum(1)
    errors *= math.sqrt(effect) / len(confidence)
    as_large = float((1 + (errors >= seen - TIES).sum()) / (1 + DRAWS))
    return Floor(float(errors.mean()), float(np.quantile(errors, LEVEL)), as_large)
