"""Metrics as plain functions of confusion matrices, one or many at a time.

A matrix counts faces: row truth, column prediction, and a last column for faces without an answer, so that
coverage can never be forgotten. Every function takes counts of shape (..., n_labels, n_labels + 1) and returns one
figure for each matrix, of shape (...): groups and bootstrap draws are computed at once. What is undefined
is nan. Figures over all faces count a face without an answer as wrong; ``answered(counts)`` leaves those faces out.
Checked against scikit-learn in the tests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Codes = NDArray[np.int64]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Values = Any
"""A float for one matrix, an array of floats for many."""

Z95 = 1.959963984540054
FEWEST = 5
"""True faces of each label from which on macro figures have an interval."""
RARE = 3
"""So many successes or failures are rare: the interval of a share is made for them."""


def confusion(truth: Codes, predicted: Codes, n_labels: int) -> Counts:
    """Counts of shape (n_labels, n_labels + 1) from label indices; -1 in a prediction means no answer."""
    one: Counts = confusions(truth, predicted, n_labels, np.zeros(len(truth), dtype=np.int64), 1)[0]
    return one


def confusions(truth: Codes, predicted: Codes, n_labels: int, groups: Codes, n_groups: int) -> Counts:
    """One matrix per group, (n_groups, n_labels, n_labels + 1), in one pass; faces of group -1 are in none."""
    width = n_labels + 1
    column = np.where(predicted < 0, n_labels, predicted)
    cell = (groups * n_labels + truth) * width + column
    counted = np.bincount(cell[groups >= 0], minlength=n_groups * n_labels * width)
    return counted.reshape(n_groups, n_labels, width)


def answered(counts: Counts) -> Counts:
    """The same without the faces that have no answer."""
    kept: Counts = counts.copy()
    kept[..., -1] = 0
    return kept


def score(successes: float, n: float) -> tuple[float, float]:
    """Wilson score interval of a share at 95 %; (nan, nan) for n = 0.

    ``n`` need not be whole: a share that is worth ``n`` faces has ``share * n`` successes. Wilson, E. B. (1927),
    Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    if n == 0:
        return math.nan, math.nan
    share, spread = successes / n, Z95 * Z95 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(max(0.0, share * (1 - share)) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def wilson(successes: int, n: int) -> tuple[float, float]:
    """:func:`score`, and wider for one to ``RARE`` successes or failures; (nan, nan) for n = 0.

    For rare counts the score interval would hold shares near 0 or 1 in 86 of 100 samples only. There its end on their
    side is the one of a Poisson count. Brown, L. D., Cai, T. T., DasGupta, A. (2001), Interval estimation for a
    binomial proportion, Statistical Science 16.
    """
    low, high = score(successes, n)
    if n == 0:
        return low, high
    return min(low, _rarest(successes) / n), max(high, 1 - _rarest(n - successes) / n)


def _rarest(count: int) -> float:
    """The lower 5 % limit of a Poisson mean of which so many were seen; no limit from ``RARE`` on."""
    return float(special.gammaincinv(count, 0.05)) if 0 < count <= RARE else math.inf


def accuracy(counts: Counts) -> Values:
    """Share right of all faces."""
    return _ratio(_hits(counts).sum(-1), counts.sum((-2, -1)))


def accuracy_answered(counts: Counts) -> Values:
    """Share right of the answered faces."""
    return accuracy(answered(counts))


def coverage(counts: Counts) -> Values:
    """Share of faces with an answer."""
    return _ratio(counts[..., :-1].sum((-2, -1)), counts.sum((-2, -1)))


def per_class(counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 per label, each (..., n_labels); 0 where undefined, as scikit-learn's default."""
    hits = _hits(counts).astype(float)
    precision = _ratio(hits, counts[..., :-1].sum(-2), 0.0)
    recall = _ratio(hits, counts.sum(-1), 0.0)
    f1 = _ratio(2 * precision * recall, precision + recall, 0.0)
    return precision, recall, f1


def occurring(counts: Counts) -> NDArray[np.bool_]:
    """Labels that occur in the ground truth or the predictions: what macro averages run over, as in scikit-learn."""
    return np.asarray((counts.sum(-1) + counts[..., :-1].sum(-2)) > 0)


def has_few(counts: Counts) -> NDArray[np.bool_]:
    """Whether a label occurs that is true of fewer than ``FEWEST`` faces: nobody can say how it fares on others."""
    return np.asarray((occurring(counts) & (counts.sum(-1) < FEWEST)).any(-1))


def macro(counts: Counts) -> tuple[Values, Values, Values]:
    """Macro precision, recall and F1 over the occurring labels."""
    kept = occurring(counts)
    precision, recall, f1 = (_mean(values, kept) for values in per_class(counts))
    return precision, recall, f1


def macro_precision(counts: Counts) -> Values:
    """Macro precision over the occurring labels."""
    return macro(counts)[0]


def macro_recall(counts: Counts) -> Values:
    """Macro recall over the occurring labels."""
    return macro(counts)[1]


def macro_f1(counts: Counts) -> Values:
    """Macro F1 over the occurring labels."""
    return macro(counts)[2]


def weighted(counts: Counts) -> tuple[Values, Values, Values]:
    """Precision, recall and F1 averaged by how often each label is true."""
    support = counts.sum(-1)
    precision, recall, f1 = (_ratio((v * support).sum(-1), support.sum(-1)) for v in per_class(counts))
    return precision, recall, f1


def weighted_f1(counts: Counts) -> Values:
    """F1 averaged by how often each label is true."""
    return weighted(counts)[2]


def balanced_accuracy(counts: Counts) -> Values:
    """Mean recall over the labels that occur in the ground truth."""
    return _mean(per_class(counts)[1], counts.sum(-1) > 0)


def kappa(counts: Counts) -> Values:
    """Cohen's kappa: agreement beyond chance; no answer is an answer of its own that is never right.

    Cohen, J. (1960), A coefficient of agreement for nominal scales. nan where chance alone would always agree.
    """
    n = counts.sum((-2, -1)).astype(float)
    chance = _ratio((counts.sum(-1) * counts[..., :-1].sum(-2)).sum(-1).astype(float), n * n)
    return _ratio(accuracy(counts) - chance, 1 - np.asarray(chance))


def mcc(counts: Counts) -> Values:
    """Matthews correlation coefficient for several labels; 0 where truth or predictions never vary.

    Gorodkin, J. (2004), Comparing two K-category assignments by a K-category correlation coefficient.
    """
    n = counts.sum((-2, -1)).astype(float)
    true, predicted = counts.sum(-1).astype(float), counts.sum(-2).astype(float)
    over = _hits(counts).sum(-1) * n - (true * predicted[..., :-1]).sum(-1)
    under = np.sqrt((n * n - (predicted**2).sum(-1)) * (n * n - (true**2).sum(-1)))
    return np.where(n > 0, _ratio(over, under, 0.0), math.nan)[()]


def off_by_one(counts: Counts) -> Values:
    """Ordinal labels: share of the answered faces that is right or one group away."""
    near = np.abs(_distance(counts)) <= 1
    given = counts[..., :-1]
    return _ratio((given * near).sum((-2, -1)), given.sum((-2, -1)))


def mean_bin_error(counts: Counts) -> Values:
    """Ordinal labels: mean distance in groups between answer and truth over the answered faces."""
    given = counts[..., :-1]
    return _ratio((given * np.abs(_distance(counts))).sum((-2, -1)), given.sum((-2, -1)))


def signed_bias(counts: Counts) -> Values:
    """Ordinal labels: mean of answer minus truth in groups over the answered faces; above 0, answers are too high."""
    given = counts[..., :-1]
    return _ratio((given * _distance(counts)).sum((-2, -1)), given.sum((-2, -1)))


def boundary_errors(counts: Counts, first_above: int) -> tuple[Values, Values]:
    """Ordinal labels cut in two: share of those truly below that is put above, and of those above put below.

    ``first_above`` is the index of the first label above the cut, such as the first of adults. Of answered faces.
    """
    given = counts[..., :-1]
    below, above = given[..., :first_above, :], given[..., first_above:, :]
    return (
        _ratio(below[..., first_above:].sum((-2, -1)), below.sum((-2, -1))),
        _ratio(above[..., :first_above].sum((-2, -1)), above.sum((-2, -1))),
    )


def rates(counts: Counts, label: int) -> tuple[Values, Values, Values]:
    """For one label against all others: how often it is predicted: at all, where true (TPR), where not true (FPR)."""
    predicted, true = counts[..., label], counts.sum(-1)
    others = np.arange(counts.shape[-2]) != label
    return (
        _ratio(predicted.sum(-1), counts.sum((-2, -1))),
        _ratio(predicted[..., label], true[..., label]),
        _ratio(predicted[..., others].sum(-1), true[..., others].sum(-1)),
    )


def _hits(counts: Counts) -> Counts:
    hits: Counts = np.diagonal(counts, axis1=-2, axis2=-1)
    return hits


def _distance(counts: Counts) -> Counts:
    line = np.arange(counts.shape[-2])
    return line[None, :] - line[:, None]


def _ratio(over: Any, under: Any, undefined: float = math.nan) -> Any:
    """``over / under``, and ``undefined`` where that is a division by zero; a float for single numbers."""
    over, under = np.asarray(over, dtype=float), np.asarray(under, dtype=float)
    over, under = np.broadcast_arrays(over, under)
    return np.divide(over, under, out=np.full(over.shape, undefined), where=under != 0)[()]


def _mean(values: Floats, kept: NDArray[np.bool_]) -> Values:
    return _ratio((values * kept).sum(-1), kept.sum(-1))
