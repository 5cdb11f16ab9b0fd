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
from facevlm.evaluation.adjusted import Adjusted, adjusted, strata_of
from facevlm.evaluation.ages import AgeErrors, age_errors
from facevlm.evaluation.calibration import Confidence, assess
from facevlm.evaluation.clusters import Clusters, InClusters, clusters_of
from facevlm.evaluation.figures import HoldsFigures, Number
from facevlm.evaluation.gaps import Faces, Gap, by_label, gap, odds, shrunken
from facevlm.evaluation.groups import SMALL, Grouping, crossings
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
    and ``edges`` the ages at which the labels begin. ``adjust`` maps the fields by which groups are adjusted
    to one value per face. ``clusters`` are the values of the field ``cluster``, such as the person, of whom several
    faces may be; None where faces are independent.
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
    adjust: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    cluster: str = ""
    clusters: Sequence[object] | None = None


@dataclass(frozen=True)
class Cell(HoldsFigures):
    """Figures for one set of faces.

    ``figures`` holds by name those of :func:`facevlm.evaluation.figures.table` and the ends of their 95 % intervals:
    ``low`` to ``high`` of accuracy, ``f1_low`` to ``f1_high`` of macro F1. All can be read as attributes of the cell,
    too. Undefined ones are nan, and those for ordinal attributes None elsewhere. ``answered`` holds some of them over
    the answered faces alone. ``n_labels`` is how many labels occur in the ground truth; with one, macro averages say
    nothing. ``clusters`` says how many clusters the faces are of, where they come in such.
    """

    n: int
    n_labels: int
    figures: Mapping[str, Number]
    answered: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    clusters: InClusters | None = None

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
    """One value of a grouping field, or one pair of values, and its figures.

    ``shrunk`` is its accuracy drawn towards that of all groups (:func:`~facevlm.evaluation.gaps.shrunken`).
    """

    values: tuple[str, ...]
    cell: Cell
    shrunk: float | None = None


@dataclass(frozen=True)
class GroupTable:
    """Figures by the values of one field or of several together, and the gaps between the groups.

    ``labels`` are the gaps within the faces of one true label, ``odds`` those of :func:`~facevlm.evaluation.gaps.odds`
    for a binary attribute; both for groups by one field or two. ``adjusted`` holds the same groups against each other
    where they are alike in the fields that were adjusted by; None where there are no such fields.
    """

    by: tuple[str, ...]
    rows: tuple[GroupRow, ...]
    gaps: tuple[Gap, ...] = ()
    labels: tuple[Gap, ...] = ()
    odds: tuple[Gap, ...] = ()
    adjusted: Adjusted | None = None


@dataclass(frozen=True)
class ClusterCount:
    """The judged faces are of ``n`` clusters by the field ``by``; ``unknown`` of them have none and are one each."""

    by: str
    n: int
    unknown: int


@dataclass(frozen=True)
class AttributeEvaluation:
    """All figures of one attribute. ``confusion`` has a row per true label; the last column counts no answer.

    ``extra`` counts predicted faces that are none of the ground truth's. ``clusters`` says by which field faces go
    together, None where they are independent.
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
    clusters: ClusterCount | None = None

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
    sets: float | None = None,
) -> AttributeEvaluation:
    """Figures of one attribute on its common label set, by every group and by all groups together.

    ``draws`` bootstrap draws, seeded by ``seed``, give the intervals of macro figures and gaps. ``sets`` is the share
    of faces whose set of labels is to hold the true one, None for no sets.
    """
    index = {label: k for k, label in enumerate(attribute.labels)}
    truth = np.array([index[t] for t in records.truth], dtype=np.int64)
    predicted = np.array([-1 if p is None else index[p] for p in records.predicted], dtype=np.int64)
    strata = strata_of(records.adjust)
    clusters = None if records.clusters is None else clusters_of(records.cluster, records.clusters)
    judged = _Judged(attribute, truth, predicted, _Outcomes(records.outcomes), draws, seed, strata, clusters)
    codes = None if clusters is None else clusters.codes
    everybody = Grouping((), ((),), np.zeros(len(truth), dtype=np.int64))
    counts, groupings = judged.confusions(everybody), crossings(records.groups)
    return AttributeEvaluation(
        attribute=attribute.name,
        predicted_attribute=predicted_attribute or attribute.name,
        labels=attribute.labels,
        alignment=alignment,
        overall=judged.cells(everybody, counts)[0],
        classes=judged.classes(everybody, counts[0]),
        confusion=tuple(tuple(int(v) for v in row) for row in counts[0]),
        groups=tuple(judged.table(part) for part in groupings),
        not_asked=records.not_asked,
        no_truth=records.no_truth,
        extra=records.extra,
        confidence=None
        if records.log_probs is None
        else assess(records.log_probs, truth, predicted, groupings, codes, sets),
        ages=age_errors(records.years, predicted, records.edges) if records.years is not None else None,
        clusters=None if clusters is None else ClusterCount(clusters.by, clusters.n, clusters.unknown),
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
    strata: Grouping | None = None
    clusters: Clusters | None = None

    @property
    def faces(self) -> Faces | None:
        """The faces in their clusters; None where they are independent."""
        return None if self.clusters is None else Faces(self.truth, self.predicted, self.clusters.codes)

    def confusions(self, part: Grouping) -> metrics.Counts:
        """One matrix per group, (n_groups, labels, labels + 1)."""
        labels, groups = len(self.attribute.labels), len(part.keys)
        return metrics.confusions(self.truth, self.predicted, labels, part.codes, groups)

    def cells(self, part: Grouping, counts: metrics.Counts) -> list[Cell]:
        """One cell per group and its matrix."""
        answered = metrics.answered(counts)
        held: dict[str, list[Number]] = {}
        over: dict[str, list[float]] = {}
        with_interval = [figure for figure in figures.table() if figure.interval and self._has(figure)]
        worth = {f.name: self.faces.worth(part, f, counts) for f in with_interval} if self.faces else {}
        bounds = figures.all_bounds(with_interval, counts, self.draws, self.seed, worth)
        for figure in figures.table():
            held |= self._columns(figure, counts, bounds.get(figure.name, ()))
            if figure.answered and self._has(figure):
                over[figure.name] = figure.of(answered).tolist()
        sizes, labels = counts.sum((-2, -1)).tolist(), (counts.sum(-1) > 0).sum(-1).tolist()
        outcomes = self.outcomes.by(part.codes, len(part.keys))
        clusters = self._in_clusters(part)
        return [Cell(n, labels[k], _row(held, k), _row(over, k), outcomes[k], clusters[k]) for k, n in enumerate(sizes)]

    def _in_clusters(self, part: Grouping) -> Sequence[InClusters | None]:
        """Per group how many clusters its faces are of, and what shares of them are worth."""
        if (faces := self.faces) is None:
            return [None] * len(part.keys)
        right, answered, groups = self.truth == self.predicted, self.predicted >= 0, len(part.keys)
        all_faces = faces.within(part, right)
        each = (all_faces, faces.within(part, answered), faces.within(part, right, answered))
        clusters = np.bincount(all_faces.group, minlength=groups).tolist()
        rows = zip(clusters, *(held.worth(groups).tolist() for held in each), strict=True)
        return [InClusters(*row) for row in rows]

    def _columns(
        self, figure: figures.Figure, counts: metrics.Counts, bounds: Sequence[Floats]
    ) -> dict[str, list[Number]]:
        """A figure and the ends of its interval, a value per group; None where it is not for this attribute."""
        names = [figure.name, *(figure.ends if figure.interval else ())]
        if not self._has(figure):
            return {name: [None] * len(counts) for name in names}
        return {name: v.tolist() for name, v in zip(names, (figure.of(counts), *bounds), strict=True)}

    def _has(self, figure: figures.Figure) -> bool:
        return self.attribute.kind == "ordinal" or not figure.ordinal

    def table(self, part: Grouping) -> GroupTable:
        """All groups of a grouping, and the gaps between them."""
        counts = self.confusions(part)
        compared = [figure for figure in figures.table() if figure.gaps and self._has(figure)]
        compared.sort(key=lambda figure: not figure.interval)  # accuracy before the share answered
        gaps = [gap(part, counts, figure, self.draws, self.seed, self.faces) for figure in compared]
        names, is_narrow = self.attribute.labels, len(part.by) <= 2
        cells = self.cells(part, counts)
        return GroupTable(
            part.by,
            tuple(map(GroupRow, part.keys, cells, _shrunken(cells))),
            tuple(g for g in gaps if g is not None),
            tuple(by_label(part, counts, names, self.seed, self.faces)) if is_narrow else (),
            tuple(odds(part, counts, names, self.seed, self.faces)) if is_narrow and len(names) == 2 else (),
            self._adjusted(part),
        )

    def _adjusted(self, part: Grouping) -> Adjusted | None:
        """Groups by fields that are none of those that are adjusted by: within a stratum one group would be all.

        Of more than two fields groups are too many for a stratum to have faces of each.
        """
        if self.strata is None or len(part.by) > 2 or set(part.by) & set(self.strata.by):
            return None
        codes = None if self.clusters is None else self.clusters.codes
        return adjusted(part, self.strata, self.truth == self.predicted, codes)

    def classes(self, everybody: Grouping, counts: metrics.Counts) -> tuple[ClassRow, ...]:
        """A row for each label that occurs."""
        precision, recall, f1 = metrics.per_class(counts)
        rows = []
        for k in np.flatnonzero(metrics.occurring(counts)):
            n, predicted = int(counts[k].sum()), int(counts[:, k].sum())
            low, high = metrics.wilson(int(counts[k, k]), n)
            if self.faces and n:
                worth = float(self.faces.within(everybody, self.predicted == k, self.truth == k).worth(1)[0])
                low, high = metrics.score(int(counts[k, k]) / n * worth, worth)
            rows.append(
                ClassRow(
                    label=self.attribute.labels[k],
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


def _shrunken(cells: Sequence[Cell]) -> list[float]:
    """Accuracies drawn towards the common one; faces in clusters count as many as they are worth."""
    n = np.array([cell.clusters.accuracy if cell.clusters else cell.n for cell in cells], dtype=float)
    shares = np.nan_to_num(np.array([cell.accuracy for cell in cells], dtype=float))
    values: list[float] = shrunken(shares * n, n).tolist()
    return values


def _row(columns: Mapping[str, Sequence[T]], k: int) -> dict[str, T]:
    return {name: values[k] for name, values in columns.items()}
