"""Metrics against scikit-learn and SciPy, on random and on degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from facevlm import metrics
from facevlm.metrics import Codes

Case = tuple[Codes, Codes, int]
checked = settings(deadline=None, max_examples=60)


@st.composite
def cases(draw: st.DrawFn, smallest: int = 1) -> Case:
    """Truth, predictions (-1: no answer) and the number of labels; often with labels that never occur."""
    n_labels = draw(st.integers(2, 6))
    used = draw(st.integers(1, n_labels))
    pairs = draw(st.lists(st.tuples(st.integers(0, used - 1), st.integers(-1, n_labels - 1)), min_size=smallest))
    truth, predicted = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return truth, predicted, n_labels


def occurring(truth: Codes, predicted: Codes) -> list[int]:
    return sorted((set(truth.tolist()) | set(predicted.tolist())) - {-1})


@given(cases())
@checked
def test_confusion(case: Case) -> None:
    truth, predicted, n = case
    expected = sk.confusion_matrix(truth, np.where(predicted < 0, n, predicted), labels=range(n + 1))
    assert np.array_equal(metrics.confusion(*case), expected[:n])


@given(cases())
@checked
def test_accuracy_counts_no_answer_as_wrong(case: Case) -> None:
    truth, predicted, _ = case
    assert metrics.accuracy(metrics.confusion(*case)) == pytest.approx(sk.accuracy_score(truth, predicted))


@given(cases())
@checked
def test_accuracy_and_coverage_of_the_answered(case: Case) -> None:
    truth, predicted, _ = case
    counts, answered = metrics.confusion(*case), predicted >= 0
    assert metrics.coverage(counts) == pytest.approx(answered.mean())
    if answered.any():
        expected = sk.accuracy_score(truth[answered], predicted[answered])
        assert metrics.accuracy_answered(counts) == pytest.approx(expected)
    else:
        assert math.isnan(metrics.accuracy_answered(counts))


@given(cases())
@checked
def test_per_class(case: Case) -> None:
    truth, predicted, n = case
    expected = sk.precision_recall_fscore_support(truth, predicted, labels=range(n), zero_division=0)
    np.testing.assert_allclose(metrics.per_class(metrics.confusion(*case)), expected[:3])


@given(cases())
@checked
def test_macro_averages_run_over_the_labels_that_occur(case: Case) -> None:
    truth, predicted, _ = case
    counts, labels = metrics.confusion(*case), occurring(truth, predicted)
    expected = sk.precision_recall_fscore_support(truth, predicted, labels=labels, average="macro", zero_division=0)
    assert np.flatnonzero(metrics.occurring(counts)).tolist() == labels
    assert metrics.macro(counts) == pytest.approx(expected[:3])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@given(cases())
@checked
def test_balanced_accuracy(case: Case) -> None:
    truth, predicted, _ = case
    expected = sk.balanced_accuracy_score(truth, predicted)
    assert metrics.balanced_accuracy(metrics.confusion(*case)) == pytest.approx(expected)


@given(cases())
@checked
def test_ordinal_figures_are_those_of_the_answered_faces(case: Case) -> None:
    truth, predicted, _ = case
    counts = metrics.confusion(*case)
    distance = np.abs(truth - predicted)[predicted >= 0]
    if len(distance):
        assert metrics.off_by_one(counts) == pytest.approx((distance <= 1).mean())
        assert metrics.mean_bin_error(counts) == pytest.approx(distance.mean())
    else:
        assert math.isnan(metrics.off_by_one(counts))
        assert math.isnan(metrics.mean_bin_error(counts))


def test_no_faces_make_every_figure_undefined() -> None:
    empty = np.array([], dtype=np.int64)
    counts = metrics.confusion(empty, empty, 3)
    assert counts.shape == (3, 4)
    figures = [
        metrics.accuracy(counts),
        metrics.accuracy_answered(counts),
        metrics.coverage(counts),
        metrics.balanced_accuracy(counts),
        metrics.off_by_one(counts),
        metrics.mean_bin_error(counts),
        *metrics.macro(counts),
        *metrics.wilson(0, 0),
    ]
    assert all(math.isnan(figure) for figure in figures)


def test_all_without_an_answer() -> None:
    counts = metrics.confusion(np.array([0, 1, 1]), np.array([-1, -1, -1]), 2)
    assert counts.tolist() == [[0, 0, 1], [0, 0, 2]]
    assert (metrics.coverage(counts), metrics.accuracy(counts), metrics.balanced_accuracy(counts)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3."""
    assert metrics.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@checked
def test_wilson_agrees_with_scipy(case: tuple[int, int]) -> None:
    successes, n = case
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    low, high = metrics.wilson(successes, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_ends_are_exact_where_all_or_none_succeed() -> None:
    assert metrics.wilson(0, 7)[0] == 0.0
    assert metrics.wilson(7, 7)[1] == 1.0
