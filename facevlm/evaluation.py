"""Evaluation of predictions against ground truth: overall, per class, per group and per pair of groups.

Works on plain lists; knows nothing of FiftyOne. Every figure stands beside its n and its coverage.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from facevlm import metrics
from facevlm.types import Attribute

SMALL = 30
"""Cells with fewer faces are marked in tables: their intervals are too wide to compare."""

MAX_GROUPS = 100
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Records:
    """Faces with ground truth and an outcome, as parallel lists.

    ``truth`` and ``predicted`` hold labels of the common label set, None where the outcome is not ``ok``.
    ``groups`` maps a grouping field to one value per face (None: not known). ``not_asked`` and ``no_truth``
    count the faces of the target that are not in the lists.
    """

    truth: Sequence[str]
    predicted: Sequence[str | None]
    outcomes: Sequence[str]
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    not_asked: int = 0
    no_truth: int = 0


@dataclass(frozen=True)
class Cell:
    """Figures for one set of faces.

    ``accuracy`` counts a face without an answer as wrong; its 95 % Wilson interval is ``low`` to ``high``.
    ``n_labels`` is how many labels occur in the ground truth; with one, macro averages say nothing.
    ``off_by_one`` and ``mean_bin_error`` (in groups) exist for ordinal attributes.
    """

    n: int
    n_labels: int
    coverage: float
    accuracy: float
    low: float
    high: float
    accuracy_answered: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    off_by_one: float | None = None
    mean_bin_error: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def small(self) -> bool:
        return self.n < SMALL


@dataclass(frozen=True)
class ClassRow:
    """Precision, recall and F1 of one label, with how often it is true and said; recall's Wilson interval."""

    label: str
    n: int
    said: int
    precision: float
    recall: float
    low: float
    high: float
    f1: float


@dataclass(frozen=True)
class GroupRow:
    """One value of a grouping field, or one pair of values, and its figures."""

    values: tuple[str, ...]
    cell: Cell


@dataclass(frozen=True)
class GroupTable:
    """Figures by the values of one field or of a pair of fields."""

    by: tuple[str, ...]
    rows: tuple[GroupRow, ...]


@dataclass(frozen=True)
class AttributeEvaluation:
    """All figures of one attribute. ``confusion`` has a row per true label; the last column counts no answer."""

    attribute: str
    predicted_attribute: str
    labels: tuple[str, ...]
    alignment: str
    overall: Cell
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    groups: tuple[GroupTable, ...]
    not_asked: int = 0
    no_truth: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    attribute: Attribute, records: Records, *, predicted_attribute: str = "", alignment: str = ""
) -> AttributeEvaluation:
    """Figures of one attribute on its common label set, by group and by every pair of groups."""
    index = {label: k for k, label in enumerate(attribute.labels)}
    truth = np.array([index[t] for t in records.truth], dtype=np.int64)
    said = np.array([-1 if p is None else index[p] for p in records.predicted], dtype=np.int64)
    every = np.ones(len(truth), dtype=bool)
    counts = metrics.confusion(truth, said, len(index))
    tables = [_table(attribute, records, truth, said, (name,)) for name in records.groups]
    pairs = [_table(attribute, records, truth, said, pair) for pair in itertools.combinations(records.groups, 2)]
    return AttributeEvaluation(
        attribute=attribute.name,
        predicted_attribute=predicted_attribute or attribute.name,
        labels=attribute.labels,
        alignment=alignment,
        overall=_cell(attribute, counts, _outcomes(records, every)),
        classes=_classes(attribute, counts),
        confusion=tuple(tuple(int(v) for v in row) for row in counts),
        groups=(*tables, *pairs),
        not_asked=records.not_asked,
        no_truth=records.no_truth,
    )


def _outcomes(records: Records, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, int]:
    return dict(sorted(Counter(itertools.compress(records.outcomes, chosen.tolist())).items()))


def _cell(attribute: Attribute, counts: metrics.Counts, outcomes: Mapping[str, int]) -> Cell:
    n, hits = int(counts.sum()), int(np.trace(counts))
    low, high = metrics.wilson(hits, n)
    precision, recall, f1 = metrics.macro(counts)
    ordinal = attribute.kind == "ordinal"
    return Cell(
        n=n,
        n_labels=int((counts.sum(1) > 0).sum()),
        coverage=metrics.coverage(counts),
        accuracy=metrics.accuracy(counts),
        low=low,
        high=high,
        accuracy_answered=metrics.accuracy_answered(counts),
        balanced_accuracy=metrics.balanced_accuracy(counts),
        precision=precision,
        recall=recall,
        f1=f1,
        off_by_one=metrics.off_by_one(counts) if ordinal else None,
        mean_bin_error=metrics.mean_bin_error(counts) if ordinal else None,
        outcomes=outcomes,
    )


def _classes(attribute: Attribute, counts: metrics.Counts) -> tuple[ClassRow, ...]:
    precision, recall, f1 = metrics.per_class(counts)
    rows = []
    for k in np.flatnonzero(metrics.occurring(counts)):
        n = int(counts[k].sum())
        low, high = metrics.wilson(int(counts[k, k]), n)
        said = int(counts[:, k].sum())
        share = float(recall[k]) if n else math.nan
        rows.append(
            ClassRow(
                attribute.labels[k], n, said, float(precision[k]) if said else math.nan, share, low, high, float(f1[k])
            )
        )
    return tuple(rows)


def _table(
    attribute: Attribute, records: Records, truth: metrics.Codes, said: metrics.Codes, by: tuple[str, ...]
) -> GroupTable:
    keys = list(zip(*(records.groups[name] for name in by), strict=True))
    numbers = {key: k for k, key in enumerate(sorted({k for k in keys if None not in k}))}
    at = np.array([numbers.get(key, -1) for key in keys], dtype=np.int64)
    rows = []
    for key, number in numbers.items():
        chosen = at == number
        counts = metrics.confusion(truth[chosen], said[chosen], len(attribute.labels))
        rows.append(GroupRow(tuple(str(v) for v in key), _cell(attribute, counts, _outcomes(records, chosen))))
    return GroupTable(by, tuple(rows))
