"""Intervals by simulation: a 95 % interval must hold the true figure in 95 of 100 samples. Tests against SciPy."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.multitest import multipletests

from facevlm.attributes import get
from facevlm.evaluation import figures, metrics
from facevlm.evaluation.evaluate import Records, evaluate
from facevlm.evaluation.intervals import CHUNK_CELLS, against_the_rest, bootstrap, holm, percentiles, resample, smoothed
from facevlm.evaluation.metrics import Counts, Floats, Values

SAMPLES = 2000
checked = settings(deadline=None, max_examples=60)

SKEWED = np.array([[40, 6, 2, 2], [8, 20, 4, 1], [2, 4, 10, 1]])
"""Population of three labels, one twice as frequent as the next, with a few faces without an answer."""

RARE = np.array([[60, 4, 2, 1, 3], [3, 14, 2, 1, 0], [1, 1, 3, 1, 0], [1, 1, 0, 2, 0]])
"""Population in which two of four labels are rare: samples of 20 faces often have none of them."""


def held(low: Floats, high: Floats, true: float) -> float:
    """Share of the intervals that hold the true figure."""
    return float(((low <= true) & (true <= high)).mean())


def drawn(population: Counts, n: int, seed: int) -> Counts:
    """Samples of ``n`` faces each, as matrices."""
    rng = np.random.default_rng(seed)
    flat = rng.multinomial(n, population.ravel() / population.sum(), size=SAMPLES)
    return flat.reshape(SAMPLES, *population.shape)


@pytest.mark.parametrize(
    ("share", "n"), [(0.5, 30), (0.5, 400), (0.7, 50), (0.8, 300), (0.9, 200), (0.95, 500), (0.95, 1000), (0.99, 2000)]
)
def test_wilson_intervals_hold_the_share_in_95_of_100_samples(share: float, n: int) -> None:
    """Coverage of a share swings with n and p, since counts are whole: at these settings it lies near 95 %.

    Elsewhere it does not: at p = 0.2 and n = 40 it is 92.8 %, at p = 0.98 and n = 30 it is 97.8 %. See below.
    """
    successes = np.random.default_rng(7).binomial(n, share, size=SAMPLES)
    table = np.array([metrics.wilson(k, n) for k in range(n + 1)])
    assert 0.93 <= held(table[successes, 0], table[successes, 1], share) <= 0.97


def test_wilson_is_right_on_average_over_shares() -> None:
    """Also for single shares near 0 or 1, of which Wilson's own intervals hold 86 %."""
    n = 30
    table = np.array([metrics.wilson(k, n) for k in range(n + 1)])
    exact = [
        float(stats.binom.pmf(np.arange(n + 1), n, p)[(table[:, 0] <= p) & (p <= table[:, 1])].sum())
        for p in np.linspace(0.01, 0.99, 981)
    ]
    assert 0.94 <= np.mean(exact) <= 0.96
    assert 0.92 <= min(exact) <= 0.93


@pytest.mark.parametrize("n", [30, 100, 200, 500])
def test_wilson_holds_rates_near_one(n: int) -> None:
    """Exactly, for rates of two errors expected and fewer, at which Wilson's own interval holds as few as 90 %."""
    table = np.array([metrics.wilson(k, n) for k in range(n + 1)])
    for p in 1 - np.linspace(0.02, 2, 100) / n:
        assert stats.binom.pmf(np.arange(n + 1), n, p)[(table[:, 0] <= p) & (p <= table[:, 1])].sum() > 0.925


def test_macro_f1_has_an_interval_where_each_label_has_faces_enough() -> None:
    few = np.array([[[40, 2, 0], [1, 3, 0]], [[40, 2, 0], [1, 4, 0]], [[40, 0, 0], [0, 0, 0]], [[40, 2, 0], [0, 0, 0]]])
    low, high = figures.find("f1").bounds(few, 50)
    assert np.isfinite(low).tolist() == np.isfinite(high).tolist() == [False, True, True, False]
    assert np.isfinite(figures.find("balanced_accuracy").bounds(few, 50)[0]).all()


@pytest.mark.parametrize("n", [300, 1000])
@pytest.mark.parametrize("statistic", [metrics.macro_f1, metrics.balanced_accuracy], ids=["macro F1", "balanced"])
def test_bootstrap_intervals_hold_the_figure_in_95_of_100_samples(
    statistic: Callable[[Counts], Values], n: int
) -> None:
    """From about 300 faces on, with every label in at least a few dozens of them."""
    low, high = bootstrap(drawn(SKEWED, n, seed=11), statistic, draws=400)
    assert 0.93 <= held(low, high, float(statistic(SKEWED))) <= 0.97


@pytest.mark.parametrize("n", [20, 30, 100])
def test_bootstrap_intervals_of_few_faces_with_rare_labels_hold_the_figure(n: int) -> None:
    """Of macro F1 over the labels that are in the sample: of others it cannot know."""
    counts = drawn(RARE, n, seed=12)
    low, high = bootstrap(counts, metrics.macro_f1, draws=400)
    shares = RARE / RARE.sum()
    f1 = metrics.per_class(np.rint(shares * 10**9).astype(np.int64))[2]
    occurring = counts.sum(-1) > 0
    true = (f1 * occurring).sum(-1) / occurring.sum(-1)
    inside = ((low <= true) & (true <= high)).mean()
    assert inside > 0.92


def test_all_right_of_two_faces_is_not_certain() -> None:
    low, high = bootstrap(np.array([[[1, 0, 0], [0, 1, 0]]]), metrics.macro_f1, draws=1000)
    assert low[0] < 0.5
    assert high[0] == pytest.approx(1)


def test_draws_of_many_faces_are_resampled_faces() -> None:
    """Macro F1 of the draws has the distribution that resampling the faces themselves has: one face more is nothing."""
    rng = np.random.default_rng(3)
    n, draws = 3000, 1000
    cells = rng.choice(SKEWED.size, size=n, p=SKEWED.ravel() / SKEWED.sum())
    truth, said = cells // 4, cells % 4
    said = np.where(said == 3, -1, said)
    faces = rng.integers(0, n, size=(draws, n))
    sample = np.repeat(np.arange(draws), n)
    plain = metrics.macro_f1(metrics.confusions(truth[faces].ravel(), said[faces].ravel(), 3, sample, draws))
    ours = metrics.macro_f1(resample(metrics.confusion(truth, said, 3)[None], draws, rng))[:, 0]
    assert ours.mean() == pytest.approx(plain.mean(), abs=0.003)
    assert ours.std() == pytest.approx(plain.std(), rel=0.1)


@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 4), st.just(3), st.just(4)), elements=st.integers(0, 60)))
@checked
def test_draws_keep_every_groups_size_and_its_labels(counts: Counts) -> None:
    found = resample(counts, 7, np.random.default_rng(0))
    assert found.shape == (7, *counts.shape)
    assert (np.rint(found).sum((-2, -1)) == counts.sum((-2, -1))).all()
    assert ((found.sum(-1) > 0) == (counts.sum(-1) > 0)).all() or (counts.sum((-2, -1)) == 0).any()


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.just(3), st.just(4)), elements=st.integers(0, 60)))
@checked
def test_half_a_hit_and_half_a_miss_for_every_true_label(counts: Counts) -> None:
    more = smoothed(counts) - counts
    true = counts.sum(-1) > 0
    np.testing.assert_allclose(more.sum(-1), true)
    n, hits = counts.sum((-2, -1)), np.diagonal(counts, axis1=-2, axis2=-1).sum(-1)
    kept = 1 - np.maximum((n - hits + 0.5) / (n + 1), 0.1)
    np.testing.assert_allclose(np.diagonal(more, axis1=-2, axis2=-1), kept[..., None] * true)


def test_groups_without_faces_have_no_interval() -> None:
    counts = np.stack([SKEWED, np.zeros_like(SKEWED), SKEWED * 100])
    low, high = bootstrap(counts, metrics.macro_f1, draws=200)
    assert np.isnan([low[1], high[1]]).all()
    figure = metrics.macro_f1(SKEWED)
    assert low[0] < low[2] < figure < high[2] < high[0]


def test_no_groups_at_all() -> None:
    low, high = bootstrap(np.zeros((0, 3, 4), dtype=np.int64), metrics.macro_f1, draws=10)
    assert (low.shape, high.shape) == ((0,), (0,))


def test_many_groups_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def statistic(counts: Counts) -> Values:
        shapes.append(counts.shape[:2])
        return metrics.accuracy(counts)

    monkeypatch.setattr("facevlm.evaluation.intervals.CHUNK_CELLS", 2 * 100 * SKEWED.size)
    low, high = bootstrap(np.stack([SKEWED] * 5), statistic, draws=100)
    assert shapes == [(100, 2), (100, 2), (100, 1)]
    assert (low < metrics.accuracy(SKEWED)).all()
    assert (high > metrics.accuracy(SKEWED)).all()
    assert CHUNK_CELLS * 8 <= 2**25


def test_a_seed_gives_the_same_interval_again() -> None:
    once, again, other = (bootstrap(SKEWED[None], metrics.macro_f1, draws=100, seed=s) for s in (1, 1, 2))
    assert (once[0][0], once[1][0]) == (again[0][0], again[1][0]) != (other[0][0], other[1][0])


def test_percentiles_leave_draws_without_a_figure_out() -> None:
    table = np.column_stack([np.arange(101.0), np.full(101, math.nan), np.append(math.nan, np.arange(100.0))])
    low, high = percentiles(table)
    np.testing.assert_allclose(low, [2.5, math.nan, 0.025 * 99])
    np.testing.assert_allclose(high, [97.5, math.nan, 0.975 * 99])


P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([math.nan, 0.02]), max_size=12).map(lambda v: np.array(v, float))


@given(P_VALUES)
@checked
def test_holm_agrees_with_statsmodels(values: Floats) -> None:
    found, there = holm(values), np.isfinite(values)
    assert np.array_equal(np.isfinite(found), there)
    if there.any():
        # It collects all garbage at every call, which takes a tenth of a second beside FiftyOne.
        with mock.patch("gc.collect"):
            expected = multipletests(values[there], method="holm")[1]
        np.testing.assert_allclose(found[there], expected, atol=1e-12)


@given(st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=6))
@checked
def test_each_group_against_the_rest_is_fishers_exact_test(groups: list[tuple[int, int]]) -> None:
    hits, n = (np.array(column) for column in zip(*groups, strict=True))
    found = against_the_rest(hits, n)
    for k in range(len(n)):
        others = np.arange(len(n)) != k
        if n[k] == 0 or n[others].sum() == 0:
            assert math.isnan(found[k])
            continue
        right, size = int(hits[others].sum()), int(n[others].sum())
        expected = stats.fisher_exact([[hits[k], n[k] - hits[k]], [right, size - right]]).pvalue
        assert found[k] == pytest.approx(expected)


def test_a_single_group_has_no_rest() -> None:
    assert np.isnan(against_the_rest(np.array([3]), np.array([9]))).all()
    assert against_the_rest(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).shape == (0,)


def test_the_memory_of_draws_does_not_grow_with_the_groups() -> None:
    """Two fields of up to 100 values each may meet in 10,000 groups; what is drawn at once stays bounded."""
    emotion, groups, n = get("emotion7"), 400, 1600
    labels = [emotion.labels[k % 7] for k in range(n)]
    records = Records(labels, labels, ["ok"] * n, {"place": [f"{k % groups:03d}" for k in range(n)]})
    tracemalloc.start()
    try:
        evaluate(emotion, records, draws=500)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert groups * 7 * 8 * 500 > 2 * CHUNK_CELLS
    assert most < 3 * CHUNK_CELLS * 8, f"{most / 2**20:.0f} MiB"
