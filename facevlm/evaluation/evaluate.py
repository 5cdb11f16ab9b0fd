"""Evaluation of predictions against ground truth: overall, per class, per group and per pair of groups.

Works on plain lists; knows nothing of FiftyOne. Every figure stands beside its n and its coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from facevlm.evaluation import metrics
from facevlm.evaluation.calibration import AgeErrors, Confidence, age_errors, assess
from facevlm.evaluation.groups import SMALL, Gap, Grouping, crossings, equalised_odds, gap
from facevlm.evaluation.intervals import DRAWS, bootstrap
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
class Cell:
    """Figures for one set of faces.

    ``accuracy`` counts a face without an answer as wrong; its 95 % Wilson interval is ``low`` to ``high``, and
    ``f1_low`` to ``f1_high`` is the 95 % bootstrap interval of macro F1. ``answered`` holds accuracy, balanced
    accuracy, macro F1, kappa and MCC over the answered faces alone. ``n_labels`` is how many labels occur in the ground
    truth; with one, macro averages say nothing. ``off_by_one``, ``mean_bin_error`` and ``signed_bias`` (in groups)
    exist for ordinal attributes.
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
    f1_low: float = math.nan
    f1_high: float = math.nan
    weighted_f1: float = math.nan
    kappa: float = math.nan
    mcc: float = math.nan
    off_by_one: float | None = None
    mean_bin_error: float | None = None
    signed_bias: float | None = None
    answered: Mapping[str, float] = field(default_factory=dict)
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
    """A dataclass of figures as JSON-able data; what is undefined is None."""
    return _plain(asdict(result))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    said = np.array([-1 if p is None else index[p] for p in records.predicted], dtype=np.int64)
    outcomes = _Outcomes(records.outcomes)
    counts = metrics.confusion(truth, said, len(index))
    every = np.zeros(len(truth), dtype=np.int64)
    tables = [_table(attribute, truth, said, part, outcomes, draws, seed) for part in crossings(records.groups)]
    return AttributeEvaluation(
        attribute=attribute.name,
        predicted_attribute=predicted_attribute or attribute.name,
        labels=attribute.labels,
        alignment=alignment,
        overall=_cells(attribute, counts[None], outcomes.by(every, 1), draws, seed)[0],
        classes=_classes(attribute, counts),
        confusion=tuple(tuple(int(v) for v in row) for row in counts),
        groups=tuple(tables),
        not_asked=records.not_asked,
        no_truth=records.no_truth,
        extra=records.extra,
        confidence=None if records.log_probs is None else assess(records.log_probs, truth, said),
        ages=age_errors(records.years, said, records.edges) if records.years is not None else None,
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


def _cells(
    attribute: Attribute, counts: metrics.Counts, outcomes: Sequence[Mapping[str, int]], draws: int, seed: int
) -> list[Cell]:
    """One cell per matrix of (n_groups, L, L + 1)."""
    columns = {
        "n_labels": (counts.sum(-1) > 0).sum(-1),
        "coverage": metrics.coverage(counts),
        "accuracy": metrics.accuracy(counts),
        "accuracy_answered": metrics.accuracy_answered(counts),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        **dict(zip(("precision", "recall", "f1"), metrics.macro(counts), strict=True)),
        **dict(zip(("f1_low", "f1_high"), bootstrap(counts, metrics.macro_f1, draws, seed), strict=True)),
        "weighted_f1": metrics.weighted(counts)[2],
        "kappa": metrics.kappa(counts),
        "mcc": metrics.mcc(counts),
    }
    if attribute.kind == "ordinal":
        ordinal = (metrics.off_by_one, metrics.mean_bin_error, metrics.signed_bias)
        columns |= {function.__name__: function(counts) for function in ordinal}
    given = metrics.answered(counts)
    alone = {function.__name__: function(given) for function in ANSWERED}
    sizes, hits = counts.sum((-2, -1)).tolist(), np.diagonal(counts, axis1=-2, axis2=-1).sum(-1).tolist()
    rows = {name: np.asarray(values).tolist() for name, values in columns.items()}
    cells = []
    for k, (n, right) in enumerate(zip(sizes, hits, strict=True)):
        low, high = metrics.wilson(right, n)
        figures = {name: values[k] for name, values in rows.items()}
        over = {name: float(values[k]) for name, values in alone.items()}
        cells.append(Cell(n=n, low=low, high=high, answered=over, outcomes=outcomes[k], **figures))
    return cells


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
    attribute: Attribute,
    truth: metrics.Codes,
    said: metrics.Codes,
    part: Grouping,
    outcomes: _Outcomes,
    draws: int,
    seed: int,
) -> GroupTable:
    groups, labels = len(part.keys), len(attribute.labels)
    counts = metrics.confusions(truth, said, labels, part.codes, groups)
    cells = _cells(attribute, counts, outcomes.by(part.codes, groups), draws, seed)
    gaps = [gap(part, counts, name, function, draws, seed) for name, function in GAPS.items()]
    return GroupTable(
        part.by,
        tuple(GroupRow(key, cell) for key, cell in zip(part.keys, cells, strict=True)),
        tuple(g for g in gaps if g is not None),
        equalised_odds(counts, 0) if labels == 2 else {},
    )


ANSWERED = (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.kappa, metrics.mcc)
GAPS = {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1, "coverage": metrics.coverage}
