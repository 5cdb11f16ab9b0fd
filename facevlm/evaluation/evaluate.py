"""Evaluation of predictions against ground truth: overall, per class, per group and per pair of groups.

Works on plain lists; knows nothing of FiftyOne. Which figures there are, :mod:`facevlm.evaluation.figures` says; every
one stands beside its n and its coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from facevlm.evaluation import figures, metrics
from facevlm.evaluation.calibration import AgeErrors, Confidence, age_errors, assess
from facevlm.evaluation.figures import HoldsFigures, Number
from facevlm.evaluation.groups import SMALL, Gap, Grouping, crossings, equalised_odds, gap
from facevlm.evaluation.intervals import DRAWS
from facevlm.evaluation.metrics import Floats
from facevlm.types import Attribute

__all__ = [
    "MAX_GROUPS",
    "SMALL",
    "AttributeEvaluation",
    "Cell",
    "ClassRow",
    "GroupRow",
    "GroupTable",
    "Records",
    "evaluate",
]

MAX_GROUPS = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Records:
    """Faces with ground truth and an outcome, as parallel lists.

    ``truth`` and ``predicted`` hold labels of the common label set, None where the outcome is not ``ok``.
    ``groups`` maps a grouping field to one value per face (None: not known). ``not_asked`` and ``no_truth``
    count the faces of the target that are not in the lists, ``extra`` the predictions that belong to no face.
    ``log_probs`` are normalised natural-log probabilities of
    the common labels, (faces, labels), nan for a face without scores. ``years`` are true ages where they are known,
    and ``edges`` the ages at which the labels begin.
    """

    truth: Sequence[str]
    predicted: Sequence[str | None]
    outcomes: Sequence[str]
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    not_asked: int = 0
    no_truth: int = 0
    extra: int = 0
    log_probs: Floats | None = None
    years: Sequence[float] | None = None
    edges: Sequence[float] = ()


@dataclass(frozen=True)
class Cell(HoldsFigures):
    """Figures for one set of faces.

    ``figures`` holds by name those of :func:`facevlm.evaluation.figures.table` and the ends of their 95 % intervals:
    ``low`` to ``high`` of accuracy, ``f1_low`` to ``f1_high`` of macro F1. All can be read as attributes of the cell,
    too. Undefined ones are nan, and those for ordinal attributes None elsewhere. ``answered`` holds some of them over
    the answered faces alone. ``n_labels`` is how many labels occur in the ground truth; with one, macro averages say
    nothing.
    """

    n: int
    n_labels: int
    figures: Mapping[str, Number]
    answered: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def small(self) -> bool:
        return self.n < SMALL


@dataclass(frozen=True)
class ClassRow:
    """Precision, recall with its Wilson interval, and F1 of one label; how often it is true (``n``) and predicted
    (``said``)."""

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
    """Figures by the values of one field or of several together, and the gaps between the groups.

    ``odds`` are the equalised-odds differences of a binary attribute, for its first label.
    """

    by: tuple[str, ...]
    rows: tuple[GroupRow, ...]
    gaps: tuple[Gap, ...] = ()
    odds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AttributeEvaluation:
    """All figures of one attribute. ``confusion`` has a row per true label; the last column counts no answer.

    ``extra`` counts predicted faces that are none of the ground truth's.
    """

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
    extra: int = 0
    confidence: Confidence | None = None
    ages: AgeErrors | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def to_plain(result: Any) -> Any:
    """A dataclass of figures as JSON-able data; what is undefined is None.

    What holds figures has them beside its other fields: ``{"n": 96, "accuracy": 0.9, ...}``.
    """
    if is_dataclass(result):
        plain: dict[str, Any] = {}
        for part in fields(result):
            value = to_plain(getattr(result, part.name))
            plain |= value if part.name == "figures" and isinstance(result, HoldsFigures) else {part.name: value}
        return plain
    if isinstance(result, Mapping):
        return {str(key): to_plain(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_plain(value) for value in result]
    return None if isinstance(result, float) and not math.isfinite(result) else result


def evaluate(
    attribute: Attribute,
    records: Records,
    *,
    predicted_attribute: str = "",
    alignment: str = "",
    draws: int = DRAWS,
    seed: int = 0,
) -> AttributeEvaluation:
    """Figures of one attribute on its common label set, by every group and by all groups together.

    ``draws`` bootstrap draws, seeded by ``seed``, give the intervals of macro figures and gaps.
    """
    index = {label: k for k, label in enumerate(attribute.labels)}
    truth = np.array([index[t] for t in records.truth], dtype=np.int64)
    predicted = np.array([-1 if p is None else index[p] for p in records.predicted], dtype=np.int64)
    judged = _Judged(attribute, truth, predicted, _Outcomes(records.outcomes), draws, seed)
    everybody = Grouping((), ((),), np.zeros(len(truth), dtype=np.int64))
    counts = judged.confusions(everybody)
    return AttributeEvaluation(
        attribute=attribute.name,
        predicted_attribute=predicted_attribute or attribute.name,
        labels=attribute.labels,
        alignment=alignment,
        overall=judged.cells(everybody, counts)[0],
        classes=_classes(attribute, counts[0]),
        confusion=tuple(tuple(int(v) for v in row) for row in counts[0]),
        groups=tuple(judged.table(part) for part in crossings(records.groups)),
        not_asked=records.not_asked,
        no_truth=records.no_truth,
        extra=records.extra,
        confidence=None if records.log_probs is None else assess(records.log_probs, truth, predicted),
        ages=age_errors(records.years, predicted, records.edges) if records.years is not None else None,
    )


class _Outcomes:
    """Counts of outcomes per group."""

    def __init__(self, outcomes: Sequence[str]) -> None:
        self._names, codes = np.unique(np.array(outcomes, dtype=str), return_inverse=True)
        self._codes = codes.astype(np.int64)

    def by(self, groups: metrics.Codes, n_groups: int) -> list[dict[str, int]]:
        kept, width = groups >= 0, len(self._names)
        counted = np.bincount(groups[kept] * width + self._codes[kept], minlength=n_groups * width)
        rows = counted.reshape(n_groups, width).tolist()
        names = self._names.tolist()
        return [{name: n for name, n in zip(names, row, strict=True) if n} for row in rows]


@dataclass(frozen=True)
class _Judged:
    """Label indices of truth and prediction (faces,), -1 for no answer, and how intervals are drawn."""

    attribute: Attribute
    truth: metrics.Codes
    predicted: metrics.Codes
    outcomes: _Outcomes
    draws: int
    seed: int

    def confusions(self, part: Grouping) -> metrics.Counts:
        """One matrix per group, (n_groups, labels, labels + 1)."""
        labels, groups = len(self.attribute.labels), len(part.keys)
        return metrics.confusions(self.truth, self.predicted, labels, part.codes, groups)

    def cells(self, part: Grouping, counts: metrics.Counts) -> list[Cell]:
        """One cell per group and its matrix."""
        answered = metrics.answered(counts)
        held: dict[str, list[Number]] = {}
        over: dict[str, list[float]] = {}
        for figure in figures.table():
            held |= self._columns(figure, counts)
            if figure.answered and self._has(figure):
                over[figure.name] = figure.of(answered).tolist()
        sizes, labels = counts.sum((-2, -1)).tolist(), (counts.sum(-1) > 0).sum(-1).tolist()
        outcomes = self.outcomes.by(part.codes, len(part.keys))
        return [Cell(n, labels[k], _row(held, k), _row(over, k), outcomes[k]) for k, n in enumerate(sizes)]

    def _columns(self, figure: figures.Figure, counts: metrics.Counts) -> dict[str, list[Number]]:
        """A figure and the ends of its interval, a value per group; None where it is not for this attribute."""
        names = [figure.name, *(figure.ends if figure.interval else ())]
        if not self._has(figure):
            return {name: [None] * len(counts) for name in names}
        bounds = figure.bounds(counts, self.draws, self.seed) if figure.interval else ()
        return {name: v.tolist() for name, v in zip(names, (figure.of(counts), *bounds), strict=True)}

    def _has(self, figure: figures.Figure) -> bool:
        return self.attribute.kind == "ordinal" or not figure.ordinal

    def table(self, part: Grouping) -> GroupTable:
        """All groups of a grouping, and the gaps between them."""
        counts = self.confusions(part)
        compared = [figure for figure in figures.table() if figure.gaps and self._has(figure)]
        compared.sort(key=lambda figure: not figure.interval)  # accuracy, whose gaps have p-values, before coverage
        gaps = [gap(part, counts, figure, self.draws, self.seed) for figure in compared]
        return GroupTable(
            part.by,
            tuple(GroupRow(key, cell) for key, cell in zip(part.keys, self.cells(part, counts), strict=True)),
            tuple(g for g in gaps if g is not None),
            equalised_odds(counts, 0) if len(self.attribute.labels) == 2 else {},
        )


def _row(columns: Mapping[str, Sequence[T]], k: int) -> dict[str, T]:
    return {name: values[k] for name, values in columns.items()}


def _classes(attribute: Attribute, counts: metrics.Counts) -> tuple[ClassRow, ...]:
    precision, recall, f1 = metrics.per_class(counts)
    rows = []
    for k in np.flatnonzero(metrics.occurring(counts)):
        n, predicted = int(counts[k].sum()), int(counts[:, k].sum())
        low, high = metrics.wilson(int(counts[k, k]), n)
        rows.append(
            ClassRow(
                label=attribute.labels[k],
                n=n,
                said=predicted,
                precision=float(precision[k]) if predicted else math.nan,
                recall=float(recall[k]) if n else math.nan,
                low=low,
                high=high,
                f1=float(f1[k]),
            )
        )
    return tuple(rows)
