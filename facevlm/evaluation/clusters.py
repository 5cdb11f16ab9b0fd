"""Faces that belong together, such as several pictures of one person, and of how many independent ones they are worth.

Faces of one person are right or wrong together, so that 200 of them say less than 200 of as many people. Intervals of
shares are those of as many faces as the share is worth; tests deal whole clusters out to the groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from facevlm.evaluation.intervals import LEVEL
from facevlm.evaluation.metrics import Z95, Codes, Counts, Floats, Values, confusions

PRIOR = 0.5
"""Errors for which the design effect is that of clusters that are right or wrong as a whole; decision 044."""
CHUNK = 10_000_000
"""Labels that are dealt out at once, or in all for one test."""
FEWEST, MOST = 999, 4000
"""Deals of one test."""
Flags = NDArray[np.bool_]
Amounts: TypeAlias = "NDArray[np.floating[Any]] | NDArray[np.integer[Any]]"


@dataclass(frozen=True)
class Clusters:
    """The cluster of each face by the field ``by``, (faces,). ``unknown`` faces have none and are one each."""

    by: str
    codes: Codes
    unknown: int

    @property
    def n(self) -> int:
        return len(np.unique(self.codes))


def clusters_of(by: str, values: Sequence[object]) -> Clusters:
    """Clusters by the values of a field, one per face; None is a cluster of its own."""
    number: dict[object, int] = {}
    own = itertools.count(len(values))
    codes = [next(own) if v is None else number.setdefault(v, len(number)) for v in values]
    return Clusters(by, np.array(codes, dtype=np.int64), sum(v is None for v in values))


def of_clusters(faces: int, by: str, n: int, unknown: int) -> str:
    """A sentence: so many faces of so many clusters, and how many are clusters of their own."""
    own = f" {unknown:,} faces have no {by} and count as one each." if unknown else ""
    return f"{faces:,} faces of {n:,} clusters by {by}: intervals and tests know which faces belong together.{own}"


@dataclass(frozen=True)
class InClusters:
    """How many clusters a cell's ``n`` faces are of, and as how many independent faces its shares are worth."""

    n: int
    accuracy: float
    coverage: float
    accuracy_answered: float


@dataclass(frozen=True)
class Clustered:
    """Faces by group and cluster: so many ``hits`` of ``n`` faces of each pair that occurs, all (pairs,)."""

    group: Codes
    cluster: Codes
    hits: Codes
    n: Codes

    def worth(self, groups: int) -> Floats:
        """As how many independent faces the share of each group is worth, (groups,)."""
        sizes = np.bincount(self.group, self.n, groups)
        squares = np.bincount(self.group, self.n**2, groups)
        right = np.bincount(self.group, self.hits, groups)
        share = right / np.maximum(sizes, 1)
        lone = self.n >= sizes[self.group]
        rest = np.where(lone, 1, sizes[self.group] - self.n)
        off = np.where(lone, 0.0, (self.hits - share[self.group] * self.n) / rest)
        return independent(
            sizes,
            squares,
            np.minimum(right, sizes - right),
            share * (1 - share),
            np.bincount(self.group, off**2, groups),
        )

    def only(self, kept: Codes) -> Clustered:
        """These groups alone, numbered anew."""
        place = np.full(int(max(self.group.max(initial=-1), kept.max(initial=-1))) + 1, -1)
        place[kept] = np.arange(len(kept))
        at = place[self.group] >= 0
        return Clustered(place[self.group][at], self.cluster[at], self.hits[at], self.n[at])

    def rest(self, group: int) -> Clustered:
        """All other groups as one."""
        at = self.group != group
        cluster, inverse = np.unique(self.cluster[at], return_inverse=True)
        n, hits = (np.bincount(inverse, of[at], len(cluster)).astype(np.int64) for of in (self.n, self.hits))
        return Clustered(np.zeros(len(cluster), dtype=np.int64), cluster, hits, n)

    def missed(self) -> Clustered:
        """The same with misses for hits."""
        return Clustered(self.group, self.cluster, self.n - self.hits, self.n)


def independent(sizes: Amounts, squares: Amounts, few: Amounts, spread: Amounts, variance: Amounts) -> Floats:
    """As how many independent faces shares of ``sizes`` faces are worth.

    ``squares`` are the sums of squared cluster sizes, ``few`` the rarer of hits and misses, ``spread`` the variance of
    a single face and ``variance`` that of the share by leaving out one cluster at a time. Few errors tell little of
    how they go together: they lean on what clusters would do that are right or wrong as a whole. Student's t with as
    many degrees as there are clusters of like size less one takes the place of the normal distribution. Kish, L.
    (1965), Survey sampling; Rao, J. N. K. and Scott, A. J. (1992), A simple method for the analysis of clustered binary
    data, Biometrics 48.
    """
    some = sizes > 0
    alike = np.where(some, sizes**2 / np.where(some, squares, 1), 1.0)
    whole = sizes / alike
    own = sizes * variance / np.where(spread > 0, spread, 1)
    effect = np.maximum(1.0, (few * own + PRIOR * whole) / (few + PRIOR))
    student = stats.t.ppf((1 + LEVEL) / 2, np.maximum(1.0, alike - 1))
    out: Floats = np.where(some, sizes / effect * (Z95 / student) ** 2, 0.0)
    return out


def clustered(groups: Codes, clusters: Codes, hits: Flags, inside: Flags | None = None) -> Clustered:
    """Faces (faces,) by group, -1 for none, and cluster; those ``inside`` alone."""
    at = groups >= 0 if inside is None else (groups >= 0) & inside
    width = int(clusters.max(initial=0)) + 1
    keys, inverse = np.unique(groups[at] * width + clusters[at], return_inverse=True)
    n = np.bincount(inverse, minlength=len(keys))
    right = np.bincount(inverse, hits[at].astype(np.int64), len(keys)).astype(np.int64)
    return Clustered(keys // width, keys % width, right, n)


def worth_of(
    statistic: Callable[[Counts], Values], counts: Counts, truth: Codes, said: Codes, groups: Codes, clusters: Codes
) -> Floats:
    """As how many independent faces a figure of matrices (groups, L, L + 1) is worth, (groups,).

    Its variance by leaving out one cluster at a time over that by leaving out one face at a time is the design effect.
    Efron, B. and Stein, C. (1981), The jackknife estimate of variance, Annals of Statistics 9.
    """
    labels, width = counts.shape[-2], int(clusters.max(initial=0)) + 1
    at = groups >= 0
    keys, inverse = np.unique(groups[at] * width + clusters[at], return_inverse=True)
    group = keys // width
    without = counts[group] - confusions(truth[at], said[at], labels, inverse, len(keys))
    values = np.asarray(statistic(counts), dtype=float)
    off = np.nan_to_num(np.asarray(statistic(without), dtype=float) - values[group])
    variance = np.bincount(group, off**2, len(counts))
    n = counts.sum((-2, -1)).astype(float)
    hits = np.diagonal(counts, axis1=-2, axis2=-1).sum(-1)
    squares = np.bincount(group, np.bincount(inverse, minlength=len(keys)) ** 2, len(counts))
    alone = _face_by_face(statistic, counts, values)
    return independent(n, squares, np.minimum(hits, n - hits), n * alone, variance)


def _face_by_face(statistic: Callable[[Counts], Values], counts: Counts, values: Floats) -> Floats:
    """The variance of a figure by leaving out one face at a time, (groups,)."""
    total = np.zeros(len(counts))
    for row, column in itertools.product(*map(range, counts.shape[-2:])):
        some = counts[:, row, column] > 0
        less = counts[some].copy()
        less[:, row, column] -= 1
        off = np.nan_to_num(np.asarray(statistic(less), dtype=float) - values[some])
        total[some] += counts[some, row, column] * off**2
    return total


def deals(held: Clustered, groups: int, seed: int = 0, draws: int | None = None) -> tuple[Floats, Floats]:
    """Hits and faces (deals, groups) where chance alone says which group what belongs to.

    Clusters that lie in one group are dealt out as a whole, and of those that lie in several the faces within the
    cluster: groups that are all served alike would be as likely to look so.
    """
    rng = np.random.default_rng(seed)
    cluster, place = np.unique(held.cluster, return_inverse=True)
    is_whole = (np.bincount(place) == 1)[place]
    draws = draws or int(np.clip(CHUNK // max(1, len(cluster)), FEWEST, MOST))
    hits, n = _whole(held, is_whole, groups, draws, rng)
    if not is_whole.all():
        table = np.zeros((len(cluster), groups), dtype=np.int64)
        table[place[~is_whole], held.group[~is_whole]] = held.n[~is_whole]
        right = np.bincount(place[~is_whole], held.hits[~is_whole], len(cluster)).astype(np.int64)
        spanning = table.sum(1) > 0
        hits += _within(table[spanning], right[spanning], draws, rng)
        n += table.sum(0)
    return hits, n


def _whole(held: Clustered, chosen: Flags, groups: int, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    hits, n = np.zeros((draws, groups)), np.zeros((draws, groups))
    labels = held.group[chosen]
    if not len(labels):
        return hits, n
    at_once = max(1, CHUNK // (4 * len(labels)))
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        dealt = rng.permuted(np.broadcast_to(labels, (rows, len(labels))), axis=1)
        place = (dealt + groups * np.arange(rows)[:, None]).ravel()
        for into, of in ((hits, held.hits), (n, held.n)):
            summed = np.bincount(place, np.tile(of[chosen], rows), rows * groups)
            into[start : start + rows] = summed.reshape(rows, groups)
    return hits, n


def _within(table: Counts, right: Codes, draws: int, rng: np.random.Generator) -> Floats:
    """Hits (draws, groups) of clusters (clusters, groups) whose hits fall to their faces by chance."""
    hits = np.zeros((draws, table.shape[1]))
    kinds, times = np.unique(np.column_stack([table, right]), axis=0, return_counts=True)
    for kind, n in zip(kinds, times.tolist(), strict=True):
        at_once = max(1, CHUNK // (4 * draws * table.shape[1]))
        for start in range(0, n, at_once):
            many = min(at_once, n - start)
            drawn = rng.multivariate_hypergeometric(kind[:-1], int(kind[-1]), draws * many, method="marginals")
            hits += drawn.reshape(many, draws, -1).sum(0)
    return hits


def flipped(sums: Amounts, seed: int = 0) -> float:
    """The two-sided p-value that sums (clusters,) are as likely negative as positive, by turning signs at random."""
    sizes, counts = np.unique(np.abs(sums), return_counts=True)
    if not sizes.any():
        return 1.0
    # Clusters of one sum are turned together: how many of them are is a count of heads.
    heads = np.random.default_rng(seed).binomial(counts, 0.5, (MOST, len(counts)))
    drawn = np.abs((2 * heads - counts) @ sizes)
    return float((1 + (drawn >= abs(sums.sum()) - 1e-9).sum()) / (1 + MOST))
