"""Faces in groups: by one field or several together, by numbers in bins."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facevlm.errors import InputError
from facevlm.evaluation.metrics import Codes, Floats

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
    # The largest numbers there are would be rounded to infinity.
    return rounded if len(np.unique(rounded)) == len(edges) and np.isfinite(rounded).all() else edges


def bin_names(inner: Sequence[float]) -> list[str]:
    """Names of the bins between edges, one more than there are edges.

    Numbered with as many digits for all; edges with as many digits as give them back exactly.
    """
    edges = [f"{edge:.0f}" if edge == round(edge) else f"{edge!r}" for edge in inner]
    width = len(str(len(edges) + 1))
    ends = zip(["", *edges], [*edges, ""], strict=True)
    words = [" ".join(filter(None, (low and f"from {low}", high and f"below {high}"))) for low, high in ends]
    return [f"{k:0{width}d}: {text or 'all'}" for k, text in enumerate(words, 1)]
