"""Metrics against scikit-learn and SciPy, on random and on degenerate input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest, poisson
from sklearn import metrics as sk

from facevlm.evaluation import metrics
from facevlm.evaluation.metrics import Codes, Counts, Floats

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
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
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
    if successes == 0 or successes > metrics.RARE:
        assert low == pytest.approx(expected.low, abs=1e-9)
    if successes == n or n - successes > metrics.RARE:
        assert high == pytest.approx(expected.high, abs=1e-9)
    assert low <= expected.low + 1e-9
    assert high >= expected.high - 1e-9
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_rare_counts_the_end_is_that_of_a_poisson_count(count: int) -> None:
    """The mean under which so many or more are seen in 5 %; Brown, Cai, DasGupta (2001): 0.0513, 0.3554, 0.8177."""
    low, _ = metrics.wilson(count, 100)
    assert poisson.sf(count - 1, 100 * low) == pytest.approx(0.05)
    assert 100 * low == pytest.approx([0.0513, 0.3554, 0.8177][count - 1], abs=1e-4)
    assert metrics.wilson(100 - count, 100)[1] == pytest.approx(1 - low)


def test_wilson_ends_are_exact_where_all_or_none_succeed() -> None:
    assert metrics.wilson(0, 7)[0] == 0.0
    assert metrics.wilson(7, 7)[1] == 1.0


@given(cases())
@checked
def test_averages_weighted_by_how_often_a_label_is_true(case: Case) -> None:
    truth, predicted, n = case
    expected = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(n), average="weighted", zero_division=0
    )
    assert metrics.weighted(metrics.confusion(*case)) == pytest.approx(expected[:3])


@given(cases())
@checked
def test_kappa_takes_no_answer_for_an_answer_that_is_never_right(case: Case) -> None:
    truth, predicted, _ = case
    found = metrics.kappa(metrics.confusion(*case))
    if len(set(truth) | set(predicted)) == 1:
        assert math.isnan(found), "chance alone always agrees"
    else:
        assert found == pytest.approx(sk.cohen_kappa_score(truth, predicted), abs=1e-12)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(cases())
@checked
def test_mcc(case: Case) -> None:
    truth, predicted, _ = case
    expected = sk.matthews_corrcoef(truth, predicted)
    assert metrics.mcc(metrics.confusion(*case)) == pytest.approx(expected, abs=1e-7)


def test_kappa_and_mcc_of_a_million_faces_do_not_overflow() -> None:
    counts = np.array([[400_000_000, 100_000_000, 0], [200_000_000, 300_000_000, 0]])
    assert metrics.kappa(counts) == pytest.approx(0.4)
    assert metrics.mcc(counts) == pytest.approx(metrics.mcc(counts // 100_000_000))


@given(cases())
@checked
def test_answered_leaves_the_faces_without_an_answer_out(case: Case) -> None:
    truth, predicted, n = case
    given_one = predicted >= 0
    counts = metrics.confusion(*case)
    before = counts.copy()
    assert np.array_equal(metrics.answered(counts), metrics.confusion(truth[given_one], predicted[given_one], n))
    assert np.array_equal(counts, before), "the counts that were given stay as they are"


@given(cases())
@checked
def test_signed_bias_is_above_0_for_answers_that_are_too_high(case: Case) -> None:
    truth, predicted, n = case
    bias = metrics.signed_bias(metrics.confusion(*case))
    distance = (predicted - truth)[predicted >= 0]
    if not len(distance):
        assert math.isnan(bias)
        return
    assert bias == pytest.approx(distance.mean())
    mirrored = np.where(predicted < 0, -1, n - 1 - predicted)
    assert metrics.signed_bias(metrics.confusion(n - 1 - truth, mirrored, n)) == pytest.approx(-bias)


@given(cases(), st.data())
@checked
def test_boundary_errors(case: Case, data: st.DataObject) -> None:
    truth, predicted, n = case
    cut = data.draw(st.integers(1, n - 1))
    given_one = predicted >= 0
    true_above, said_above = truth[given_one] >= cut, predicted[given_one] >= cut
    found = metrics.boundary_errors(metrics.confusion(*case), cut)
    assert_same(found[0], share(said_above[~true_above]))
    assert_same(found[1], share(~said_above[true_above]))


@given(cases(), st.data())
@checked
def test_rates_of_one_label_against_all_others(case: Case, data: st.DataObject) -> None:
    truth, predicted, n = case
    label = data.draw(st.integers(0, n - 1))
    said, true = predicted == label, truth == label
    found = metrics.rates(metrics.confusion(*case), label)
    for value, expected in zip(found, (said, said[true], said[~true]), strict=True):
        assert_same(value, share(expected))


def share(hits: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(hits.mean()) if len(hits) else math.nan


def assert_same(found: float, expected: float) -> None:
    assert found == pytest.approx(expected, nan_ok=True)


def test_rates_by_hand() -> None:
    # 10 truly of label 0: 6 said, 3 taken for label 1, 1 unanswered. 5 truly of label 1: 1 taken for label 0.
    counts = np.array([[6, 3, 1], [1, 4, 0]])
    assert metrics.rates(counts, 0) == pytest.approx((7 / 15, 6 / 10, 1 / 5))
    assert metrics.rates(counts, 1) == pytest.approx((7 / 15, 4 / 5, 3 / 10))


def test_boundary_errors_by_hand() -> None:
    counts = np.array([[5, 2, 1, 9], [0, 3, 3, 0], [1, 0, 7, 2]])
    assert metrics.boundary_errors(counts, 2) == pytest.approx((4 / 14, 1 / 8))
    assert metrics.boundary_errors(counts, 1) == pytest.approx((3 / 8, 1 / 14))


@given(cases(smallest=0), st.data())
@checked
def test_many_groups_at_once_equal_one_by_one(case: Case, data: st.DataObject) -> None:
    truth, predicted, n = case
    n_groups = data.draw(st.integers(1, 4))
    size = len(truth)
    groups = np.array(data.draw(st.lists(st.integers(-1, n_groups - 1), min_size=size, max_size=size)), dtype=np.int64)
    found = metrics.confusions(truth, predicted, n, groups, n_groups)
    assert found.shape == (n_groups, n, n + 1)
    for k in range(n_groups):
        assert np.array_equal(found[k], metrics.confusion(truth[groups == k], predicted[groups == k], n))


def test_no_group_at_all() -> None:
    nobody = np.full(3, -1)
    assert metrics.confusions(np.array([0, 1, 1]), nobody, 2, nobody, 0).shape == (0, 2, 3)


FIGURES: dict[str, Callable[[Counts], tuple[object, ...]]] = {
    "accuracy": lambda c: (metrics.accuracy(c),),
    "accuracy_answered": lambda c: (metrics.accuracy_answered(c),),
    "coverage": lambda c: (metrics.coverage(c),),
    "macro": metrics.macro,
    "macro_f1": lambda c: (metrics.macro_f1(c),),
    "weighted": metrics.weighted,
    "balanced_accuracy": lambda c: (metrics.balanced_accuracy(c),),
    "kappa": lambda c: (metrics.kappa(c),),
    "mcc": lambda c: (metrics.mcc(c),),
    "off_by_one": lambda c: (metrics.off_by_one(c),),
    "mean_bin_error": lambda c: (metrics.mean_bin_error(c),),
    "signed_bias": lambda c: (metrics.signed_bias(c),),
    "boundary_errors": lambda c: metrics.boundary_errors(c, 1),
    "rates": lambda c: metrics.rates(c, 0),
}


@st.composite
def stacks(draw: st.DrawFn) -> Counts:
    """Matrices in zero to two leading dimensions; many cells, and often whole matrices, are empty."""
    n = draw(st.integers(2, 5))
    shape = (*draw(st.lists(st.integers(0, 3), max_size=2)), n, n + 1)
    counts = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 40) | st.just(0), fill=st.just(0)))
    return np.asarray(counts)


@pytest.mark.parametrize("name", FIGURES)
@given(stacks())
@settings(deadline=None, max_examples=30)
def test_a_stack_of_matrices_gives_the_figures_of_each(name: str, counts: Counts) -> None:
    function = FIGURES[name]
    found = [np.asarray(v) for v in function(counts)]
    for place in np.ndindex(*counts.shape[:-2]):
        one = list(function(counts[place]))
        np.testing.assert_allclose([v[place] for v in found], np.asarray(one, dtype=float))
    assert {v.shape for v in found} == {counts.shape[:-2]}


@given(stacks())
@settings(deadline=None, max_examples=30)
def test_per_class_and_occurring_of_a_stack_are_those_of_each(counts: Counts) -> None:
    found: tuple[Floats, ...] = metrics.per_class(counts)
    for place in np.ndindex(*counts.shape[:-2]):
        np.testing.assert_allclose([v[place] for v in found], metrics.per_class(counts[place]))
        assert np.array_equal(metrics.occurring(counts)[place], metrics.occurring(counts[place]))


@pytest.mark.parametrize("name", FIGURES)
@given(stacks())
@settings(deadline=None, max_examples=30)
def test_figures_lie_where_they_can(name: str, counts: Counts) -> None:
    """Shares in 0 to 1, agreement in -1 to 1, distances within the labels; nan exactly where it must be."""
    values = np.stack([np.asarray(v, dtype=float) for v in FIGURES[name](counts)])
    known = values[np.isfinite(values)]
    low, high = {
        "kappa": (-1.0, 1.0),
        "mcc": (-1.0, 1.0),
        "signed_bias": (1.0 - counts.shape[-2], counts.shape[-2] - 1.0),
        "mean_bin_error": (0.0, counts.shape[-2] - 1.0),
    }.get(name, (0.0, 1.0))
    assert ((known >= low - 1e-9) & (known <= high + 1e-9)).all()
    assert not np.isinf(values).any()
    if name in ("accuracy", "coverage", "macro", "macro_f1", "weighted", "balanced_accuracy", "mcc"):
        assert np.array_equal(np.isnan(values), np.broadcast_to(counts.sum((-2, -1)) == 0, values.shape))
