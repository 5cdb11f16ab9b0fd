"""What is said to be found in 4 of 5 samples is found as often, by the test whose p stands beside a gap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import NormalIndPower

from facevlm.evaluation import gaps, power
from facevlm.evaluation.gaps import critical
from facevlm.evaluation.metrics import Counts

SAMPLES = 500
ROOM = 3 * math.sqrt(0.8 * 0.2 / SAMPLES) + 0.01
"""Three standard errors, and what the search itself may be off."""


def share_found(n: Counts, rate: float, gap: float, alpha: float = 0.05) -> float:
    """How often evaluations find that the smallest group is served worse by a gap."""
    rng, rates = np.random.default_rng(8), np.full(len(n), rate)
    rates[np.argmin(n)] -= gap
    drawn = rng.binomial(n, rates, size=(SAMPLES, len(n)))
    return float(np.mean([gaps.by_chance(hits, n, draws=1000, seed=k).p_gap <= alpha for k, hits in enumerate(drawn)]))


@pytest.mark.parametrize(("rate", "gap"), [(0.85, 0.1), (0.97, 0.06)])
@pytest.mark.parametrize("groups", [2, 5, 14])
def test_so_many_faces_find_the_gap_in_4_of_5_samples(groups: int, rate: float, gap: float) -> None:
    size = power.needed(gap, groups, rate)
    assert size is not None
    assert share_found(np.full(groups, size), rate, gap) == pytest.approx(0.8, abs=ROOM)
    assert power.found(np.full(groups, size * 3 // 4), rate, gap) < 0.8
    assert power.detectable(np.full(groups, size), rate) == pytest.approx(gap, rel=0.05)


def test_another_alpha_and_another_power_are_kept_as_well() -> None:
    size = power.needed(0.1, 5, 0.8, power=0.6, alpha=0.1)
    assert size is not None
    assert share_found(np.full(5, size), 0.8, 0.1, alpha=0.1) == pytest.approx(0.6, abs=ROOM)


@pytest.mark.parametrize("sizes", [[100, 100, 100], [60, 200], [30, 60, 400], [50] * 14], ids=str)
def test_what_could_have_been_found_is_found_as_often(sizes: list[int]) -> None:
    n, rate = np.array(sizes), 0.85
    assert share_found(n, rate, power.detectable(n, rate)) == pytest.approx(0.8, abs=ROOM)


def test_a_few_errors_of_a_group_may_be_chance_where_all_others_are_right() -> None:
    """4 of 47 and none of 49 may be, p 0.054; 5 may not, p 0.026."""
    gap = power.detectable(np.array([49, 47]), 1.0)
    assert float(stats.binom.sf(4, 47, gap)) == pytest.approx(0.8, abs=0.03)


def test_two_faces_of_each_group_find_nothing() -> None:
    assert math.isnan(power.detectable(np.array([2, 2]), 0.5))


def test_no_number_of_faces_finds_next_to_nothing() -> None:
    assert power.needed(1e-4, 2, 0.5) is None


def test_as_many_faces_as_are_compared_at_least() -> None:
    assert power.needed(0.9, 2, 0.95, least=30) == 30


def test_without_a_gap_as_much_is_found_as_alpha_allows() -> None:
    assert [power.found(np.full(groups, 200), 0.8, 0.0) < 0.06 for groups in (2, 5, 14)] == [True] * 3


@pytest.mark.parametrize(("rate", "gap"), [(0.55, 0.1), (0.9, 0.05)])
def test_the_formula_for_two_groups_is_near_that_of_cohen_s_effect(rate: float, gap: float) -> None:
    """statsmodels solves for the same number by arcsines in place of the shares themselves."""
    effect = 2 * (math.asin(math.sqrt(rate)) - math.asin(math.sqrt(rate - gap)))
    expected = NormalIndPower().solve_power(effect, power=0.8, alpha=0.05)
    assert power.by_formula(gap, 2, rate, 0.8, 0.05) == pytest.approx(expected, rel=0.02)
    assert critical(2) == pytest.approx(1.96, abs=1e-3)


def test_of_two_groups_the_test_asks_for_a_little_more_than_the_formula() -> None:
    """Given the margins the range of two groups takes every other value alone, as in Fisher's exact test."""
    size, formula = power.needed(0.1, 2, 0.85), power.by_formula(0.1, 2, 0.85, 0.8, 0.05)
    assert size is not None
    assert formula < size < 1.15 * formula


def test_p_values_are_those_of_a_gap() -> None:
    rng = np.random.default_rng(3)
    for sizes in ([80, 80], [40, 90, 200], [50] * 7):
        n = np.array(sizes)
        hits = rng.binomial(n, 0.8, size=(60, len(n)))
        tables = power.chances(n, 0.7, 0.9, points=9, tables=4000, rng=rng)
        exact = np.array([gaps.by_chance(row, n).p_gap for row in hits])
        low = exact < 0.2
        assert low.any()
        found = tables.p_values(power.range_of(hits, n), hits.sum(1))
        assert found[low] == pytest.approx(exact[low], abs=0.02)


@pytest.mark.parametrize(
    ("sizes", "rate"), [([3000, 700], 0.8), ([700] * 5, 0.8), ([600] * 24, 0.7), ([4000] * 2, 0.97)]
)
def test_many_faces_of_each_group_show_what_counted_tables_show(
    sizes: list[int], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = np.array(sizes)
    quick = power.detectable(n, rate)
    monkeypatch.setattr(power, "MANY", math.inf)
    assert quick == pytest.approx(power.detectable(n, rate), rel=0.025)


def test_p_values_of_many_faces_are_those_of_counted_tables() -> None:
    rng = np.random.default_rng(3)
    for sizes in ([800, 800], [900, 3000], [600] * 7):
        n = np.array(sizes)
        hits = rng.binomial(n, 0.8, size=(60, len(n)))
        quick = power.large_tables(n, 20_000, rng).p_values(power.range_of(hits, n), hits.sum(1))
        exact = np.array([gaps.by_chance(row, n).p_gap for row in hits])
        low = exact < 0.2
        assert low.any()
        assert quick[low] == pytest.approx(exact[low], abs=0.02)
