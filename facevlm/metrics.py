"""Metrics as plain functions on arrays of label indices; -1 in a prediction means no answer.

Every figure here is derived from one confusion matrix whose last column counts faces without
an answer, so that coverage can never be forgotten. Checked against scikit-learn in the tests.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

Z95 = 1.959963984540054


def confusion(truth: Codes, predicted: Codes, n_labels: int) -> Counts:
    """Counts of shape (n_labels, n_labels + 1): row truth, column prediction, last column no answer."""
    width = n_labels + 1
    column = np.where(predicted < 0, n_labels, predicted)
    return np.bincount(truth * width + column, minlength=n_labels * width).reshape(n_labels, width)


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a share, 95 % by default; (nan, nan) for n = 0.

    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    if n == 0:
        return math.nan, math.nan
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def accuracy(counts: Counts) -> float:
    """Share right of all faces; a face without an answer counts as wrong. nan for no faces."""
    return _share(int(np.trace(counts)), int(counts.sum()))


def accuracy_answered(counts: Counts) -> float:
    """Share right of the answered faces."""
    return _share(int(np.trace(counts)), int(counts[:, :-1].sum()))


def coverage(counts: Counts) -> float:
    """Share of faces with an answer."""
    return _share(int(counts[:, :-1].sum()), int(counts.sum()))


def per_class(counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 per label, each (n_labels,); 0 where undefined, as scikit-learn's default."""
    hits = np.diagonal(counts).astype(float)
    said, true = counts[:, :-1].sum(0), counts.sum(1)
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)
    return precision, recall, f1


def occurring(counts: Counts) -> NDArray[np.bool_]:
    """Labels that occur in the ground truth or the predictions: what macro averages run over, as in scikit-learn."""
    return np.asarray((counts.sum(1) + counts[:, :-1].sum(0)) > 0)


def macro(counts: Counts) -> tuple[float, float, float]:
    """Macro precision, recall and F1 over the occurring labels; nan for no faces."""
    there = occurring(counts)
    if not there.any():
        return math.nan, math.nan, math.nan
    precision, recall, f1 = (float(values[there].mean()) for values in per_class(counts))
    return precision, recall, f1


def balanced_accuracy(counts: Counts) -> float:
    """Mean recall over the labels that occur in the ground truth; nan for no faces."""
    there = counts.sum(1) > 0
    return float(per_class(counts)[1][there].mean()) if there.any() else math.nan


def off_by_one(counts: Counts) -> float:
    """Ordinal labels: share of the answered faces that is right or one group away."""
    near = np.abs(_distance(counts)) <= 1
    answered = counts[:, :-1]
    return _share(int(answered[near].sum()), int(answered.sum()))


def mean_bin_error(counts: Counts) -> float:
    """Ordinal labels: mean distance in groups between answer and truth over the answered faces."""
    answered = counts[:, :-1]
    total = int(answered.sum())
    return float((np.abs(_distance(counts)) * answered).sum() / total) if total else math.nan


def _distance(counts: Counts) -> Counts:
    line = np.arange(len(counts))
    return line[None, :] - line[:, None]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
