"""Thresholds that are promised: how often they fail on new faces, by simulation, and their figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from facevlm.evaluation.metrics import Codes, Floats
from facevlm.evaluation.thresholds import best_f1, exact, fewest, promises, steps

SAMPLES = 100
WANTED = (0.9, 0.95)
NEW = 200_000


def calibrated(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    sure = 1 - 0.75 * rng.beta(0.6, 2.2, n)
    return sure, sure


def too_sure(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    sure = 1 - 0.7 * rng.beta(0.5, 4, n)
    return sure, 0.55 + 0.44 * sure**4


def meaningless(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    return rng.random(n), np.full(n, 0.93)


def surest_are_wrong(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    sure = 0.3 + 0.7 * rng.random(n)
    return sure, np.where(sure > 0.97, 0.7, np.where(sure > 0.6, 0.98, 0.6))


def votes(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    sure = rng.choice([0.4, 0.6, 0.8, 1.0], n, p=[0.1, 0.15, 0.25, 0.5])
    return sure, 0.5 + 0.49 * sure


@pytest.mark.parametrize("n", [100, 600])
@pytest.mark.parametrize("kind", [calibrated, too_sure, meaningless, surest_are_wrong, votes])
def test_a_promise_fails_on_new_faces_in_one_of_twenty_samples_at_most(kind, n: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    new, rate = kind(rng, NEW)
    fails = np.zeros(len(WANTED))
    for _ in range(SAMPLES):
        sure, rates = kind(rng, n)
        for k, promise in enumerate(promises(sure, rng.random(n) < rates, n, WANTED)):
            if promise.threshold:
                fails[k] += rate[new >= promise.threshold.threshold].mean() < promise.wanted - 0.001
    # 12 and more of 100 have a probability of 0.004 at 0.05 each.
    assert fails.max() <= 11


def test_promises_are_made_where_they_can_be() -> None:
    rng = np.random.default_rng(1)
    made = {}
    for kind in (calibrated, surest_are_wrong):
        drawn = [kind(rng, 2000) for _ in range(20)]
        found = [promises(sure, rng.random(2000) < rates, 2000, (0.9,))[0] for sure, rates in drawn]
        made[kind] = [promise.threshold.n for promise in found if promise.threshold]
    assert len(made[calibrated]) == 20
    assert np.mean(made[calibrated]) > 1000
    assert len(made[surest_are_wrong]) >= 15, "a second start finds what the surest answers hide"


def drawn(n: int = 400) -> tuple[Floats, Codes, Codes]:
    rng = np.random.default_rng(1)
    sure, truth = rng.random(n), rng.integers(0, 3, n)
    said = np.where(rng.random(n) < 0.6 + 0.4 * sure**0.3, truth, (truth + 1) % 3)
    said[:20] = -1
    return sure, truth, said


def test_a_threshold_holds_at_the_very_number_that_is_shown() -> None:
    sure, truth, said = drawn()
    given = said >= 0
    found = promises(sure[given], (truth == said)[given], len(truth), (0.5, 0.8, 0.9))
    assert any(promise.threshold for promise in found)
    for promise in found:
        one = promise.threshold
        if one is None:
            continue
        kept = (sure >= float(f"{one.threshold:.8f}")) & given
        assert (one.n, one.right, one.total) == (kept.sum(), (said == truth)[kept].sum(), 400)
        assert one.right / one.n >= one.low >= promise.wanted
        assert (one.low, one.high) == exact(one.right, one.n)


def test_the_exact_interval_is_that_of_scipy() -> None:
    for right, n in ((0, 5), (5, 5), (59, 59), (90, 96)):
        found = stats.binomtest(right, n).proportion_ci(0.9, method="exact")
        assert exact(right, n) == pytest.approx((found.low if right else 0, found.high if right < n else 1))
    assert np.isnan(exact(0, 0)).all()


def test_what_no_promise_can_be_made_of_says_what_would_do() -> None:
    assert [fewest(wanted) for wanted in (0.9, 0.95, 0.99)] == [29, 59, 299]
    sure = np.linspace(0.5, 1, 96)
    all_right = promises(sure, np.ones(96, dtype=bool), 96)
    assert [bool(promise.threshold) for promise in all_right] == [True, True, False]
    assert all_right[2].least == 299
    # 96 that are right may be 99.5 in 100: a promise of 99 takes some 1,800 of those in 4 of 5 samples.
    assert all_right[2].needed is not None
    assert 299 < all_right[2].needed < 5000
    none_right = promises(sure, np.zeros(96, dtype=bool), 96)
    assert [(promise.threshold, promise.needed) for promise in none_right] == [(None, None)] * 3
    (empty,) = promises(np.zeros(0), np.zeros(0, dtype=bool), 5, (0.9,))
    assert (empty.threshold, empty.needed) == (None, None)


def test_answers_of_equal_confidence_stay_together() -> None:
    right = np.arange(100) >= 30
    (promise,) = promises(np.full(100, 0.8), right, 100, (0.5,))
    assert promise.threshold is not None
    assert (promise.threshold.n, promise.threshold.right) == (100, 70)
    assert promise.threshold.threshold <= 0.8


def test_the_best_macro_f1_is_that_of_all_thresholds() -> None:
    sure, truth, said = drawn()
    best = best_f1(sure, truth, said, 3)
    assert best is not None

    def f1(threshold: float) -> float:
        given = np.where(sure >= threshold, said, -1)
        pairs = [(given == k, truth == k) for k in range(3)]
        return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))

    assert f1(best.threshold) == pytest.approx(max(f1(t) for t in steps()))
    assert best_f1(sure[:3], truth[:3], said[:3], 3) is None
