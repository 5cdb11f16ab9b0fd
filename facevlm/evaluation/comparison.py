"""Two or more models or wordings on the same faces: who is right where the other is wrong, how often answers flip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from facevlm.evaluation.clusters import clustered, flipped
from facevlm.evaluation.evaluate import to_plain
from facevlm.evaluation.groups import SMALL, grouping
from facevlm.evaluation.intervals import DRAWS, percentiles
from facevlm.evaluation.metrics import Codes, Floats, score, wilson
from facevlm.evaluation.reliability import effect_of

HALF = 0.5
"""Flip rate of the face that is thought of where no face flips."""
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


@dataclass(frozen=True)
class Pair:
    """Two runs on the faces that both were asked about; with ground truth, on those of them that have it.

    ``agreement`` is the share of faces with equal answers, and ``table`` counts them: rows ``a``, columns ``b``, the
    last of each for no answer. All else needs ground truth, and is None or nan without: a face without an answer is
    wrong; ``p_value`` is McNemar's exact test that both err equally often; ``difference`` is the accuracy of ``a``
    minus that of ``b``, with its 95 % bootstrap interval over faces.

    McNemar, Q. (1947), Note on the sampling error of the difference between correlated proportions.
    """

    a: str
    b: str
    n: int
    agreement: float
    table: tuple[tuple[int, ...], ...]
    both_right: int | None = None
    only_a: int | None = None
    only_b: int | None = None
    neither: int | None = None
    p_value: float | None = None
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Flips:
    """How many faces got more than one answer over all runs, with its 95 % Wilson interval; no answer is an answer."""

    group: str
    n: int
    rate: float
    low: float
    high: float

    @property
    def small(self) -> bool:
        return self.n < SMALL


@dataclass(frozen=True)
class FlipRates(Flips):
    """Flips, and the mean over faces of the flip rate (:func:`flip_rates`) with its 95 % bootstrap interval."""

    mean: float
    mean_low: float
    mean_high: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of runs of one attribute, and flips over all of them, overall and by each grouping field.

    ``ground_truth`` is the field that they were judged by, ``views`` are names of saved views, ``notes`` say what a
    reader should know. ``cluster`` is the field by which faces go together, None where they are independent.
    """

    attribute: str
    labels: tuple[str, ...]
    runs: tuple[str, ...]
    pairs: tuple[Pair, ...]
    flips: Flips
    flips_by: Mapping[str, tuple[Flips, ...]]
    ground_truth: str | None = None
    views: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cluster: str | None = None

    @property
    def judged(self) -> bool:
        """Whether it is known who is right."""
        return all(pair.p_value is not None for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def compare(
    attribute: str,
    labels: Sequence[str],
    truth: Codes | None,
    runs: Mapping[str, Codes],
    groups: Mapping[str, Sequence[str | None]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    clusters: Codes | None = None,
) -> Comparison:
    """Compare runs by label indices per face, -1 for no answer; all sequences are parallel.

    ``clusters`` say which faces go together, such as those of one person.
    """
    table = np.stack(list(runs.values()))
    flipped = (table != table[0]).any(0)
    pairs = [
        compare_two(a, b, truth, runs[a], runs[b], len(labels), draws=draws, seed=seed, clusters=clusters)
        for a, b in itertools.combinations(runs, 2)
    ]
    by = {
        name: tuple(
            _flips(group, flipped[inside], None if clusters is None else clusters[inside])
            for group, inside in members(name, values)
        )
        for name, values in groups.items()
    }
    return Comparison(attribute, tuple(labels), tuple(runs), tuple(pairs), _flips("all", flipped, clusters), by)


def compare_two(
    a: str,
    b: str,
    truth: Codes | None,
    first: Codes,
    second: Codes,
    labels: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    clusters: Codes | None = None,
) -> Pair:
    """Compare two runs, named ``a`` and ``b``, of an attribute with so many ``labels``.

    Of faces in ``clusters`` the interval is that of as many as they are worth, and the p-value that of turning whole
    clusters from one run to the other.
    """
    width = labels + 1
    counted = np.bincount((first % width) * width + second % width, minlength=width * width)
    return Pair(
        a=a,
        b=b,
        n=len(first),
        agreement=float((first == second).mean()) if len(first) else math.nan,
        table=tuple(tuple(row) for row in counted.reshape(width, width).tolist()),
        **(_judged(first == truth, second == truth, draws, seed, clusters) if truth is not None else {}),
    )


def _judged(right_a: Flags, right_b: Flags, draws: int, seed: int, clusters: Codes | None) -> dict[str, Any]:
    """The figures of a pair that need ground truth."""
    n, rng = len(right_a), np.random.default_rng(seed)
    cells = np.array(
        [(right_a & right_b).sum(), (right_a & ~right_b).sum(), (~right_a & right_b).sum(), (~right_a & ~right_b).sum()]
    )
    both, only_a, only_b, neither = (int(v) for v in cells)
    low = high = math.nan
    p_value = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    worth, each = n, right_a.astype(float) - right_b
    if clusters is not None and n:
        worth = max(1, round(n / effect_of(clusters, each, only_a + only_b)))
        p_value = flipped(np.bincount(np.unique(clusters, return_inverse=True)[1], each), seed)
    if n:
        drawn = rng.multinomial(worth, cells / n, size=draws)
        low, high = (float(v[0]) for v in percentiles(((drawn[:, 1] - drawn[:, 2]) / worth)[:, None]))
    return {
        "both_right": both,
        "only_a": only_a,
        "only_b": only_b,
        "neither": neither,
        "p_value": p_value,
        "difference": (only_a - only_b) / n if n else math.nan,
        "low": low,
        "high": high,
    }


def flip_rates(runs: Sequence[Codes], labels: int) -> Floats:
    """Of every face the share of runs whose answer is not its most frequent one: 0 if all agree, at most 1 - 1/runs.

    ``runs`` are label indices (faces,), -1 for no answer, which counts as an answer like any other; but a face without
    an answer in any run has no flip rate, nan: nothing was said that could change.
    """
    table = np.stack(runs)
    counts = np.stack([(table == code).sum(0) for code in range(-1, labels)])
    rates: Floats = 1 - counts.max(0) / len(table)
    rates[counts[0] == len(table)] = math.nan
    return rates


def summarise(group: str, rates: Floats, *, draws: int = DRAWS, seed: int = 0) -> FlipRates:
    """Flips and mean flip rate of the faces that have one.

    Resampling faces is drawing how many have each rate from a multinomial. One face more takes part in it, which flips
    as those do that flip, or else in half of the wordings: few faces without any flip do not show that there is none.
    """
    known = rates[np.isfinite(rates)]
    flips = _flips(group, known > 0)
    mean = low = high = math.nan
    if len(known):
        flipping = known[known > 0]
        values, counts = np.unique(np.append(known, flipping.mean() if len(flipping) else HALF), return_counts=True)
        drawn = np.random.default_rng(seed).multinomial(len(known), counts / counts.sum(), size=draws)
        mean = float(known.mean())
        low, high = (float(v[0]) for v in percentiles((drawn @ values / len(known))[:, None]))
    return FlipRates(group, flips.n, flips.rate, flips.low, flips.high, mean, low, high)


def members(name: str, values: Sequence[str | None]) -> list[tuple[str, Flags]]:
    """Every group of a field in order, and which faces are in it."""
    part = grouping(name, values)
    return [(key[0], part.codes == k) for k, key in enumerate(part.keys)]


def _flips(name: str, flipped: Flags, clusters: Codes | None = None) -> Flips:
    n, hits = len(flipped), int(flipped.sum())
    if clusters is not None and n:
        worth = float(clustered(np.zeros(n, dtype=np.int64), clusters, flipped).worth(1)[0])
        return Flips(name, n, hits / n, *score(hits / n * worth, worth))
    return Flips(name, n, hits / n if n else math.nan, *wilson(hits, n))
