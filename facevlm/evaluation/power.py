"""How often a gap is found by the test that is printed beside it: how many faces that takes, or how large a gap.

A gap is one group served worse than all others, which are served equally well. It is found where the range of the
groups' shares has a p-value of at most alpha among tables with the same margins, which is the test of
:func:`facevlm.evaluation.gaps.by_chance`. That has no closed form for more than two groups; it is simulated here, and
only the search for a number of faces begins at a formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from facevlm.evaluation.intervals import LEVEL
from facevlm.evaluation.metrics import Counts, Floats

POWER = 0.8
MOST = 1_000_000
"""Faces of a group beyond which none are looked for."""
HALVINGS = 10
"""Of the search for a gap: it ends within a thousandth of the base rate."""
FAR = 9
"""Standard deviations from the mean within which counts of hits are looked for."""
CLOSE = 200
"""The search for a number of faces ends within one in so many."""
MANY = 100
"""Hits, and misses, of each group from which on chance tables are as good as drawn from a normal distribution."""


@dataclass(frozen=True)
class ChanceTables:
    """What tables with the same margins show by chance, for some totals of hits; between these it is interpolated.

    ``totals`` (kinds, points) of two groups are even in the first row and odd in the second, since the difference
    between groups of one size is even or odd as the total is; of more groups there is one row. ``ranges`` (kinds,
    points, tables) are sorted.
    """

    totals: Counts
    ranges: Floats

    def p_values(self, seen: Floats, total: Counts) -> Floats:
        """Of samples with the ranges ``seen`` and so many hits in all: the probability of a range as large as each."""
        kinds = len(self.totals)
        of_kinds = np.stack([self._of(kind, seen, total) for kind in range(kinds)])
        p_values: Floats = of_kinds[total % kinds, np.arange(len(total))]
        return p_values

    def _of(self, kind: int, seen: Floats, total: Counts) -> Floats:
        at, tables = self.totals[kind], self.ranges.shape[-1]
        smaller = np.array([np.searchsorted(drawn, seen - 1e-12) for drawn in self.ranges[kind]])
        known = (1 + tables - smaller) / (1 + tables)
        right = np.clip(np.searchsorted(at, total), 1, len(at) - 1)
        weight = np.clip((total - at[right - 1]) / (at[right] - at[right - 1]), 0, 1)
        sample = np.arange(len(total))
        p_values: Floats = (1 - weight) * known[right - 1, sample] + weight * known[right, sample]
        return p_values


@dataclass(frozen=True)
class LargeTables:
    """What tables with the same margins show by chance, where every group of ``n`` faces has ``MANY`` hits and misses.

    ``ranges`` (tables,) are sorted, in standard deviations of a single face. They are the same for every total of hits.
    """

    n: Counts
    ranges: Floats

    def p_values(self, seen: Floats, total: Counts) -> Floats:
        """As those of :class:`ChanceTables`."""
        everybody, tables = int(self.n.sum()), len(self.ranges)
        rate = total / everybody
        single = np.sqrt(rate * (1 - rate) * everybody / max(1, everybody - 1))
        # The difference of two groups takes steps, as one hit passes from one to the other.
        step = float((1 / self.n).sum()) if len(self.n) == 2 else 0.0
        smaller = np.searchsorted(self.ranges, (seen - step / 2) / np.maximum(single, 1e-12))
        p_values: Floats = (1 + tables - smaller) / (1 + tables)
        return p_values


def large_tables(n: Counts, tables: int, rng: np.random.Generator) -> LargeTables:
    """So many tables of groups of these sizes."""
    drawn = rng.standard_normal((tables, len(n))) / np.sqrt(n)
    return LargeTables(n, np.sort(np.ptp(drawn, axis=1)))


def range_of(hits: Counts, n: Counts) -> Floats:
    """The largest difference between two groups' shares, for samples (samples, groups)."""
    widest: Floats = np.ptp(hits / n, axis=1)
    return widest


def chances(n: Counts, low: float, high: float, points: int, tables: int, rng: np.random.Generator) -> ChanceTables:
    """Tables at so many totals between two shares of hits."""
    everybody, kinds = int(n.sum()), 2 if len(n) == 2 else 1
    first = np.unique(np.linspace(low * everybody, high * everybody, points).astype(np.int64) // kinds * kinds)
    first = first if len(first) > 1 else first[0] + np.array([0, kinds])
    totals = np.stack([first + kind for kind in range(kinds)])
    drawn = [
        [range_of(rng.multivariate_hypergeometric(n, min(t, everybody), tables, method="marginals"), n) for t in row]
        for row in totals.tolist()
    ]
    return ChanceTables(totals, np.sort(np.array(drawn), axis=-1))


@dataclass(frozen=True)
class Samples:
    """Samples of groups of the sizes ``n``, in which all are served at ``rate`` but the first of the smallest ones.

    That one has ``size`` faces; ``lowest`` and ``highest`` (samples,) are the shares of the others, and ``others`` all
    their hits. The same draws serve every gap, so that a larger one is never found less often by luck.
    """

    n: Counts
    rate: float
    size: int
    lowest: Floats
    highest: Floats
    others: Counts
    uniform: Floats

    def with_gap(self, gap: float) -> tuple[Floats, Counts]:
        """The range (samples,), and all hits (samples,), where the smallest group is served worse by ``gap``."""
        worse = max(0.0, self.rate - gap)
        reach = FAR * math.sqrt(self.size * worse * (1 - worse))
        first, last = math.floor(self.size * worse - reach), math.ceil(self.size * worse + reach)
        likely = np.arange(max(0, first), min(self.size, last) + 1)
        hits = likely[0] + np.searchsorted(special.bdtr(likely[:-1], self.size, worse), self.uniform)
        share = hits / self.size
        return np.maximum(self.highest, share) - np.minimum(self.lowest, share), self.others + hits


def samples(n: Counts, rate: float, draws: int, rng: np.random.Generator) -> Samples:
    """So many samples of groups of these sizes."""
    hits, uniform = rng.binomial(n, rate, size=(draws, len(n))), rng.random(draws)
    worst = int(np.argmin(n))
    others, sizes = np.delete(hits, worst, axis=1), np.delete(n, worst)
    shares = others / sizes
    return Samples(n, rate, int(n[worst]), shares.min(1), shares.max(1), others.sum(1), uniform)


def found(n: Counts, rate: float, gap: float, alpha: float = 1 - LEVEL, draws: int = 4000, seed: int = 0) -> float:
    """The share of samples in which a gap is found."""
    rng = np.random.default_rng(seed)
    seen, total = samples(n, rate, draws, rng).with_gap(gap)
    shares = total / n.sum()
    tables = chances(n, shares.min(), shares.max(), points=5, tables=draws, rng=rng)
    return float((tables.p_values(seen, total) <= alpha).mean())


def detectable(
    n: Counts, rate: float, power: float = POWER, alpha: float = 1 - LEVEL, draws: int = 1000, seed: int = 0
) -> float:
    """The smallest gap that groups of these sizes show in a share ``power`` of samples, the others served at ``rate``.

    nan where even a group that is never right would not be told apart. To a thousandth of ``rate``.
    """
    rng, least = np.random.default_rng(seed), int(n.min())
    drawn = samples(n, rate, draws, rng)
    if least * (1 - rate) >= MANY:
        about = _smallest(drawn, large_tables(n, tables=5 * draws, rng=rng), power, alpha)
        if least * (rate - about) >= MANY:
            return about
    wide = chances(n, rate * (1 - least / n.sum()), rate, points=5, tables=draws, rng=rng)
    about = _smallest(drawn, wide, power, alpha)
    about = about if math.isfinite(about) else rate
    near = np.stack([drawn.with_gap(about * part)[1] for part in (1.2, 0.8)]) / n.sum()
    narrow = chances(n, float(near.min()), float(near.max()), points=9, tables=draws, rng=rng)
    return _smallest(drawn, narrow, power, alpha)


def _smallest(drawn: Samples, tables: ChanceTables | LargeTables, power: float, alpha: float) -> float:
    low, high = 0.0, drawn.rate

    def is_shown(gap: float) -> bool:
        return bool((tables.p_values(*drawn.with_gap(gap)) <= alpha).mean() >= power)

    if not is_shown(high):
        return math.nan
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high


def needed(
    gap: float, groups: int, rate: float, power: float = POWER, alpha: float = 1 - LEVEL, least: int = 1, seed: int = 0
) -> int | None:
    """The faces that each group needs for a gap to be found in a share ``power`` of samples, at least ``least``.

    None where more than ``MOST`` would be. The search begins at :func:`by_formula`.
    """

    def is_enough(size: int) -> bool:
        return found(np.full(groups, size), rate, gap, alpha, seed=seed) >= power

    if is_enough(least):
        return least
    high = min(MOST, max(least + 1, by_formula(gap, groups, rate, power, alpha)))
    low = least
    while not is_enough(high):
        if high == MOST:
            return None
        low, high = high, min(MOST, high + high // 4 + 1)
    while high - low > max(1, high // CLOSE):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def by_formula(gap: float, groups: int, rate: float, power: float, alpha: float) -> int:
    """Faces of a group at which one pair of groups is told apart, with the critical value of all pairs.

    Fleiss, J. L., Levin, B., Paik, M. C. (2003), Statistical Methods for Rates and Proportions, ch. 4, without
    continuity correction; Tukey's studentised range as in :func:`facevlm.evaluation.gaps.critical`.
    """
    worse = rate - gap
    pooled = rate - gap / groups
    critical = float(stats.studentized_range.ppf(1 - alpha, groups, np.inf)) / math.sqrt(2)
    by_luck = critical * math.sqrt(2 * pooled * (1 - pooled))
    by_gap = float(stats.norm.ppf(power)) * math.sqrt(rate * (1 - rate) + worse * (1 - worse))
    return math.ceil(((by_luck + by_gap) / gap) ** 2)
