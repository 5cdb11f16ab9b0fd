"""Standardised shares and Mantel-Haenszel: against values by hand and statsmodels, and simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from facevlm.evaluation import adjusted
from facevlm.evaluation.gaps import spread, wilson
from facevlm.evaluation.groups import grouping
from facevlm.evaluation.metrics import Counts

REPEATS = 1000


def drawn(groups: int, seed: int = 3) -> tuple[Counts, Counts]:
    rng = np.random.default_rng(seed)
    n = rng.integers(5, 60, size=(groups, 4))
    return rng.binomial(n, [0.5, 0.7, 0.8, 0.9]), n


def stratified(hits: Counts, n: Counts, group: int) -> StratifiedTable:
    """A group against all others, in every stratum."""
    own, size = hits[group], n[group]
    other, rest = hits.sum(0) - own, n.sum(0) - size
    return StratifiedTable([np.array(t).reshape(2, 2) for t in zip(own, size - own, other, rest - other, strict=True)])


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_odds_and_their_test_are_those_of_statsmodels(groups: int) -> None:
    hits, n = drawn(groups)
    for k in range(groups):
        other = stratified(hits, n, k)
        expected = (other.oddsratio_pooled, *other.oddsratio_pooled_confint())
        assert adjusted.odds_ratio(hits, n, k) == pytest.approx(expected)
        assert adjusted.against_the_others_within(hits, n, k) == pytest.approx(other.test_null_odds().pvalue)
    if groups == 2:
        assert adjusted.within_strata(hits, n) == pytest.approx(other.test_null_odds().pvalue)


def test_of_one_stratum_the_difference_is_the_plain_one() -> None:
    hits, n = np.array([[27], [40]]), np.array([[30], [60]])
    difference, low, high = adjusted.risk_difference(hits, n, 0)
    assert difference == pytest.approx(27 / 30 - 40 / 60)
    # Sato's variance of one stratum is that of a difference, with one of the rates for the other in a part of it.
    half = 1.96 * math.sqrt(0.9 * 0.1 / 30 + (2 / 3) * (1 / 3) / 60)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)
    share, effective = adjusted.standardised(hits, n, np.ones(1))
    assert share == pytest.approx([0.9, 2 / 3])
    assert effective == pytest.approx([30, 60])


def test_strata_weigh_what_they_weigh_in_all_faces() -> None:
    hits, n = np.array([[81, 15], [27, 45]]), np.array([[90, 30], [30, 90]])
    share, _ = adjusted.standardised(hits, n, n.sum(0) / n.sum())
    assert share == pytest.approx([0.7, 0.7])
    assert adjusted.risk_difference(hits, n, 0)[0] == pytest.approx(0, abs=1e-12)
    assert adjusted.within_strata(hits, n) == pytest.approx(1)


def test_where_all_are_right_nothing_can_be_told_apart() -> None:
    n = np.array([[20, 15], [30, 5]])
    assert math.isnan(adjusted.within_strata(n, n))
    assert all(math.isnan(v) for v in adjusted.odds_ratio(n, n, 0))
    share, effective = adjusted.standardised(n, n, n.sum(0) / n.sum())
    assert share == pytest.approx([1, 1])
    assert np.isfinite(effective).all()
    low, high = wilson(share * effective, effective)
    assert (low < 0.95).all()
    assert high == pytest.approx([1, 1])


def test_every_face_is_accounted_for() -> None:
    rng = np.random.default_rng(5)
    groups = grouping("race", [*["a"] * 100, *["b"] * 60, *["c"] * 40, *["d"] * 12, *[None] * 8])
    ages = [None if v == 4 else "old" if v > 1 else "young" for v in rng.integers(0, 5, 220)]
    strata = adjusted.strata_of({"age": ages})
    assert strata is not None
    strata.codes[100:104] = -1
    held = adjusted.adjusted(groups, strata, rng.random(220) < 0.8)
    assert held is not None
    lost = sum(s.n for s in held.without_support)
    assert held.n + lost + held.unknown + held.small + 8 == 220
    assert sum(row.n for row in held.rows) == held.n
    assert held.small == 12
    assert adjusted.adjusted(grouping("race", ["a"] * 220), strata, rng.random(220) < 0.8) is None


RATES = {"alike": [0.85] * 5, "hard": [0.5, 0.7, 0.85, 0.95, 0.97], "near the edge": [0.97] * 5}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
@pytest.mark.parametrize("groups", [2, 5])
@pytest.mark.parametrize("size", [30, 100])
def test_intervals_hold_what_they_say(rates: list[float], groups: int, size: int) -> None:
    """Groups of unlike mixes that are served alike within strata: coverage, and tests that find nothing."""
    rng = np.random.default_rng(groups * size)
    n = np.maximum(rng.multinomial(size, rng.dirichlet(np.full(5, 3), size=groups)), 1)
    weights = n.sum(0) / n.sum()
    covered, found, wide, differences, ratios = [], [], [], [], []
    for _ in range(REPEATS):
        hits = rng.binomial(n, rates)
        share, effective = adjusted.standardised(hits, n, weights)
        low, high = wilson(share * effective, effective)
        true = weights @ rates
        covered.append(((low <= true) & (true <= high)).mean())
        found.append(adjusted.within_strata(hits, n) <= 0.05)
        wide.append(spread(share * effective, effective)[0] > 0)
        difference, ratio = adjusted.risk_difference(hits, n, 0), adjusted.odds_ratio(hits, n, 0)
        differences.append(difference[1] <= 0 <= difference[2])
        ratios.append(not (ratio[1] > 1 or ratio[2] < 1))
    error = 2 * math.sqrt(0.05 * 0.95 / REPEATS)
    assert np.mean(covered) >= 0.93
    assert np.mean(found) <= 0.055 + error
    # Newcombe's intervals exclude zero in up to 7 % of samples.
    assert np.mean(wide) <= 0.07 + error
    assert np.mean(ratios) >= 0.93
    assert np.mean(differences) >= 0.93 - error
