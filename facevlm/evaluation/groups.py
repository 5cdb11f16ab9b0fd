"""Faces in groups: by one field or several together, by numbers in bins, and the gaps between groups."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facevlm.errors import InputError
from facevlm.evaluation import metrics
from facevlm.evaluation.figures import Figure
from facevlm.evaluation.intervals import DRAWS, against_the_rest, holm, percentiles, resample
from facevlm.evaluation.metrics import Codes, Counts, Floats

SMALL = 30
"""Groups of fewer faces are greyed and left out of gaps: their intervals are too wide to compare."""

BINS = 4


@dataclass(frozen=True)
class Grouping:
    """Which group each face is in: ``keys`` has a tuple of values per group, ``codes`` a number per face or -1."""

    by: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    codes: Codes


def grouping(name: str, values: Sequence[str | None]) -> Grouping:
    """Groups by one field, numbers in their order and names after them; a face whose value is None is in none."""
    keys = sorted({v for v in values if v is not None}, key=_place)
    number = {v: k for k, v in enumerate(keys)}
    codes = np.fromiter((-1 if v is None else number[v] for v in values), dtype=np.int64, count=len(values))
    return Grouping((name,), tuple((k,) for k in keys), codes)


def _place(value: str) -> tuple[bool, float, list[str | int], str]:
    """Sort key of a group's name: numbers first; in a name, digits count as numbers, so that 3-9 is before 10-19."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return False, number, [], value
    # Text and digits take turns, beginning with text, so that like is compared with like.
    return True, 0.0, [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", value))], value


def cross(parts: Sequence[Grouping]) -> Grouping:
    """Groups by several fields together: the combinations that occur, in order."""
    known = np.all([part.codes >= 0 for part in parts], axis=0)
    code = np.zeros(int(known.sum()), dtype=np.int64)
    for part in parts:
        code = code * len(part.keys) + part.codes[known]
    occurring, numbers = np.unique(code, return_inverse=True)
    codes = np.full(len(known), -1, dtype=np.int64)
    codes[known] = numbers
    places = np.unravel_index(occurring, [len(part.keys) for part in parts]) if len(occurring) else ()
    keys = tuple(
        tuple(itertools.chain.from_iterable(part.keys[k] for part, k in zip(parts, at, strict=True)))
        for at in zip(*(p.tolist() for p in places), strict=True)
    )
    return Grouping(tuple(name for part in parts for name in part.by), keys, codes)


def crossings(groups: Mapping[str, Sequence[str | None]]) -> list[Grouping]:
    """Groupings by every field, then every pair of fields, and so on up to all together."""
    single = [grouping(name, values) for name, values in groups.items()]
    several = [cross(c) for size in range(2, len(single) + 1) for c in itertools.combinations(single, size)]
    return [*single, *several]


def binned(name: str, values: Sequence[float | None], edges: Sequence[float] | None = None) -> list[str | None]:
    """Numbers as the names of bins from one edge to below the next; by default about quarters of the faces.

    Names begin with a number, so that they sort as the bins do. Raises :class:`~facevlm.errors.InputError` for edges
    that do not rise.
    """
    numbers = np.array([math.nan if v is None else float(v) for v in values], dtype=float)
    known = np.isfinite(numbers)
    if edges is None:
        quarters = np.linspace(0, 1, BINS + 1)[1:-1]
        inner = _legible(np.unique(np.quantile(numbers[known], quarters))) if known.any() else np.array([])
    else:
        inner = np.asarray(edges, dtype=float)
        if inner.ndim != 1 or not np.isfinite(inner).all() or (np.diff(inner) <= 0).any():
            raise InputError(
                f"Got the bin edges {list(edges)} for '{name}', expected rising numbers such as 20, 40, 60."
            )
    names = bin_names(inner.tolist())
    at = np.searchsorted(inner, numbers, side="right")
    return [names[k] if inside else None for k, inside in zip(at.tolist(), known.tolist(), strict=True)]


def _legible(edges: Floats) -> Floats:
    """Edges with three significant digits where that leaves them apart."""
    rounded = np.array([float(f"{edge:.3g}") for edge in edges])
    return rounded if len(np.unique(rounded)) == len(edges) else edges


def bin_names(inner: Sequence[float]) -> list[str]:
    """Names of the bins between edges, one more than there are edges.

    Numbered with as many digits for all; edges with as many digits as give them back exactly.
    """
    edges = [f"{edge:.0f}" if edge == round(edge) else f"{edge!r}" for edge in inner]
    width = len(str(len(edges) + 1))
    ends = zip(["", *edges], [*edges, ""], strict=True)
    words = [" ".join(filter(None, (low and f"from {low}", high and f"below {high}"))) for low, high in ends]
    return [f"{k:0{width}d}: {text or 'all'}" for k, text in enumerate(words, 1)]


@dataclass(frozen=True)
class Gap:
    """The distance between the best-served and the worst-served group of a grouping, by one figure.

    Groups under ``SMALL`` faces, or without the figure, are not compared (``left_out``). ``low_value`` is that of the
    worst group, which is the higher one where lower is better. Intervals are 95 % bootstrap intervals for these two
    groups; that they were picked as the extremes of several is not in them, but it is in ``p_values``: Fisher's exact
    test of each compared group's accuracy against all others, corrected by Holm's method, for accuracy alone. ``ratio``
    is worst over best.
    """

    by: tuple[str, ...]
    figure: str
    worst: tuple[str, ...]
    best: tuple[str, ...]
    low_value: float
    high_value: float
    difference: float
    difference_low: float
    difference_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    compared: int
    left_out: int
    p_values: Mapping[str, float]


def gap(part: Grouping, counts: Counts, figure: Figure, draws: int = DRAWS, seed: int = 0) -> Gap | None:
    """The gap by a figure; None where fewer than two groups can be compared.

    ``counts`` are the groups' matrices (n_groups, L, L + 1).
    """
    rng = np.random.default_rng(seed)
    sign = -1 if figure.lower_is_better else 1
    values = figure.of(counts)
    sizes = counts.sum((-2, -1))
    kept = np.flatnonzero((sizes >= SMALL) & np.isfinite(values))
    if len(kept) < 2:
        return None
    order = np.argsort(sign * values[kept], kind="stable")
    worst, best = kept[order[0]], kept[order[-1]]
    low, high = figure.of(resample(counts[[worst, best]], draws, rng)).T
    ratios = np.divide(low, high, out=np.full(len(low), math.nan), where=high > 0)
    differences = sign * (high - low)
    (difference_low, ratio_low), (difference_high, ratio_high) = percentiles(np.stack([differences, ratios], 1))
    return Gap(
        by=part.by,
        figure=figure.name,
        worst=part.keys[worst],
        best=part.keys[best],
        low_value=float(values[worst]),
        high_value=float(values[best]),
        difference=float(sign * (values[best] - values[worst])),
        difference_low=float(difference_low),
        difference_high=float(difference_high),
        ratio=float(values[worst] / values[best]) if values[best] else math.nan,
        ratio_low=float(ratio_low),
        ratio_high=float(ratio_high),
        compared=len(kept),
        left_out=len(values) - len(kept),
        p_values=_p_values(part, counts, kept) if figure.name == "accuracy" else {},
    )


def _p_values(part: Grouping, counts: Counts, kept: Codes) -> dict[str, float]:
    hits = np.diagonal(counts, axis1=-2, axis2=-1).sum(-1)[kept]
    corrected = holm(against_the_rest(hits, counts.sum((-2, -1))[kept]))
    return {" / ".join(part.keys[k]): float(p) for k, p in zip(kept.tolist(), corrected.tolist(), strict=True)}


def equalised_odds(counts: Counts, label: int) -> dict[str, float]:
    """For one label of a binary attribute: largest differences between groups of at least ``SMALL`` faces.

    ``selection`` is how often the label is said (demographic parity difference), ``tpr`` and ``fpr`` how often where it
    is and is not true; ``equalised_odds`` is the larger of these two. nan for fewer than two groups.
    Hardt, Price, Srebro (2016), Equality of opportunity in supervised learning.
    """
    large = counts[counts.sum((-2, -1)) >= SMALL]
    spans = [_span(np.asarray(values, dtype=float)) for values in metrics.rates(large, label)]
    selection, tpr, fpr = spans
    both = max(tpr, fpr) if math.isfinite(tpr) and math.isfinite(fpr) else math.nan
    return {"selection": selection, "tpr": tpr, "fpr": fpr, "equalised_odds": both}


def _span(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.max() - known.min()) if len(known) > 1 else math.nan
