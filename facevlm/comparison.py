"""Two or more models or wordings on the same faces: who is right where the other is wrong, how often answers flip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from facevlm.evaluation import to_plain
from facevlm.groups import SMALL, grouping
from facevlm.metrics import Codes, wilson
from facevlm.uncertainty import DRAWS, percentiles


@dataclass(frozen=True)
class Pair:
    """Two runs on the faces with ground truth that both were asked about; a face without an answer is wrong.

    ``p_value`` is McNemar's exact test that both err equally often. ``difference`` is the accuracy of ``a`` minus that
    of ``b``, with its 95 % bootstrap interval over faces. ``agreement`` is the share of faces with equal answers, and
    ``table`` counts them: rows ``a``, columns ``b``, the last of each for no answer.

    McNemar, Q. (1947), Note on the sampling error of the difference between correlated proportions.
    """

    a: str
    b: str
    n: int
    both_right: int
    only_a: int
    only_b: int
    neither: int
    p_value: float
    difference: float
    low: float
    high: float
    agreement: float
    table: tuple[tuple[int, ...], ...]


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
class Comparison:
    """All pairs of runs of one attribute, and flips over all of them, overall and by each grouping field."""

    attribute: str
    labels: tuple[str, ...]
    runs: tuple[str, ...]
    pairs: tuple[Pair, ...]
    flips: Flips
    flips_by: Mapping[str, tuple[Flips, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def compare(
    attribute: str,
    labels: Sequence[str],
    truth: Codes,
    runs: Mapping[str, Codes],
    groups: Mapping[str, Sequence[str | None]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare runs by label indices per face, -1 for no answer; all sequences are parallel."""
    table = np.stack(list(runs.values()))
    flipped = (table != table[0]).any(0)
    pairs = [
        _pair(a, b, truth, runs[a], runs[b], len(labels), np.random.default_rng(seed), draws)
        for a, b in itertools.combinations(runs, 2)
    ]
    by = {name: tuple(_flips_by(name, values, flipped)) for name, values in groups.items()}
    return Comparison(attribute, tuple(labels), tuple(runs), tuple(pairs), _flips("all", flipped), by)


def _pair(
    a: str, b: str, truth: Codes, first: Codes, second: Codes, labels: int, rng: np.random.Generator, draws: int
) -> Pair:
    n = len(truth)
    right_a, right_b = first == truth, second == truth
    cells = np.array(
        [(right_a & right_b).sum(), (right_a & ~right_b).sum(), (~right_a & right_b).sum(), (~right_a & ~right_b).sum()]
    )
    both, only_a, only_b, neither = (int(v) for v in cells)
    low = high = math.nan
    if n:
        drawn = rng.multinomial(n, cells / n, size=draws)
        low, high = (float(v[0]) for v in percentiles(((drawn[:, 1] - drawn[:, 2]) / n)[:, None]))
    width = labels + 1
    counted = np.bincount((first % width) * width + second % width, minlength=width * width)
    return Pair(
        a=a,
        b=b,
        n=n,
        both_right=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        p_value=float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
        difference=(only_a - only_b) / n if n else math.nan,
        low=low,
        high=high,
        agreement=float((first == second).mean()) if n else math.nan,
        table=tuple(tuple(row) for row in counted.reshape(width, width).tolist()),
    )


def _flips(name: str, flipped: np.ndarray[Any, np.dtype[np.bool_]]) -> Flips:
    n, hits = len(flipped), int(flipped.sum())
    return Flips(name, n, hits / n if n else math.nan, *wilson(hits, n))


def _flips_by(name: str, values: Sequence[str | None], flipped: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Flips]:
    part = grouping(name, values)
    return [_flips(key[0], flipped[part.codes == k]) for k, key in enumerate(part.keys)]
