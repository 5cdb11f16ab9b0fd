"""Differences between groups: against values by hand and other packages, and simulated where groups are alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from fairlearn import metrics as fair
from scipy import stats

from facevlm.evaluation import figures, gaps, metrics
from facevlm.evaluation.gaps import Gap
from facevlm.evaluation.groups import SMALL, Grouping, grouping
from facevlm.evaluation.metrics import Counts, wilson

REPEATS = 400


def test_two_groups_are_one_test() -> None:
    hits, n = np.array([404, 452]), np.array([628, 646])
    exact = stats.fisher_exact([[404, 224], [452, 194]]).pvalue
    assert gaps.against_the_others(hits, n) == pytest.approx([exact, exact])
    assert exact == pytest.approx(0.037, abs=5e-4)


def test_three_groups_are_three_tests() -> None:
    hits, n = np.array([80, 80, 95]), np.array([100, 100, 100])
    raw = sorted(stats.fisher_exact([[h, 100 - h], [255 - h, 200 - 255 + h]]).pvalue for h in (80, 80, 95))
    assert sorted(gaps.against_the_others(hits, n)) == pytest.approx([3 * raw[0], *[max(3 * raw[0], 2 * raw[1])] * 2])


def test_the_gap_has_a_p_value_of_its_own() -> None:
    """Of 80, 80, 79 and 95 of 100 the best stands out, not the worst."""
    hits, n = np.array([80, 80, 79, 95]), np.full(4, 100)
    found = gaps.by_chance(hits, n)
    low, high = gaps.spread(hits, n)
    assert found.p_gap < 0.03
    assert low > 0
    assert high > 0.16
    assert gaps.against_the_others(hits, n)[2] > 0.1


def test_chance_is_that_of_all_tables_with_these_margins() -> None:
    hits, n = np.array([5, 1, 3]), np.array([5, 5, 4])
    weights: dict[float, float] = {}
    for table in itertools.product(*(range(size + 1) for size in n)):
        if sum(table) == hits.sum():
            ways = math.prod(math.comb(size, k) for size, k in zip(n.tolist(), table, strict=True))
            gap = float(np.ptp(np.array(table) / n))
            weights[gap] = weights.get(gap, 0) + ways
    total = sum(weights.values())
    found = gaps.by_chance(hits, n, draws=100_000)
    assert found.gap == pytest.approx(sum(gap * w for gap, w in weights.items()) / total, abs=0.003)
    assert found.p_gap == pytest.approx(sum(w for gap, w in weights.items() if gap >= 0.8 - 1e-9) / total, abs=0.005)


def test_an_interval_of_two_groups_is_newcombe_s() -> None:
    """Newcombe (1998), table II, the examples a and h, method 10."""
    for hits, n, ends in (((56, 48), (70, 80), (0.0524, 0.3339)), ((10, 0), (10, 10), (0.6075, 1.0))):
        low, high = gaps.differences(np.array(hits), np.array(n))
        assert (low[0, 1], high[0, 1]) == pytest.approx(ends, abs=5e-5)
        assert (low[1, 0], high[1, 0]) == pytest.approx((-ends[1], -ends[0]), abs=5e-5)


def test_the_critical_value_is_tukey_s() -> None:
    """Tables of the studentised range, infinite degrees of freedom, 5 %: 2.772, 3.858, 4.743 for 2, 5, 14 groups."""
    assert [gaps.critical(k) * math.sqrt(2) for k in (2, 5, 14)] == pytest.approx([2.772, 3.858, 4.743], abs=6e-4)


def test_wilson_is_that_of_one_share() -> None:
    hits, n = np.array([0, 5, 10, 0]), np.array([10, 11, 10, 0])
    low, high = gaps.wilson(hits, n)
    for k in range(4):
        assert (low[k], high[k]) == pytest.approx(wilson(int(hits[k]), int(n[k])), nan_ok=True)


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.97])
@pytest.mark.parametrize("sizes", [[30] * 2, [200] * 2, [30] * 7, [100] * 14, [30, 60, 400]], ids=str)
def test_groups_that_are_alike_are_rarely_told_apart(sizes: list[int], rate: float) -> None:
    """In at most 5.5 % of samples; here with the room that so few samples need."""
    rng, n, room = np.random.default_rng(5), np.array(sizes), 3 * math.sqrt(0.055 * 0.945 / REPEATS)
    drawn = rng.binomial(n, rate, size=(REPEATS, len(n)))
    found = [gaps.by_chance(hits, n, draws=400, seed=k) for k, hits in enumerate(drawn)]
    assert np.mean([f.p_gap <= 0.05 for f in found]) < 0.055 + room
    assert np.mean([f.p_any <= 0.05 for f in found]) < 0.055 + room
    assert np.mean([gaps.against_the_others(hits, n).min() <= 0.05 for hits in drawn]) < 0.055 + room
    assert np.mean([gaps.spread(hits, n)[0] > 0 for hits in drawn]) < 0.07 + room


@pytest.mark.parametrize("step", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("sizes", [[30] * 2, [100] * 5, [30] * 14, [30, 60, 400]], ids=str)
def test_the_interval_holds_the_true_difference(sizes: list[int], step: float) -> None:
    rng, n = np.random.default_rng(6), np.array(sizes)
    rates = 0.85 - step * np.linspace(0, 1, len(n))
    held = [
        low <= step + 1e-9 <= high + 1e-9
        for low, high in (gaps.spread(rng.binomial(n, rates), n) for _ in range(REPEATS))
    ]
    assert np.mean(held) > 0.93 - 3 * math.sqrt(0.07 * 0.93 / REPEATS)


@pytest.mark.parametrize("rates", [(0.5, 0.5, 0.5), (0.7, 0.8, 0.8), (0.9, 0.95, 0.97)], ids=str)
@pytest.mark.parametrize("sizes", [(50, 50, 50), (100, 300, 600)], ids=str)
def test_the_intervals_of_a_standing_hold(sizes: tuple[int, ...], rates: tuple[float, ...]) -> None:
    rng, n, share = np.random.default_rng(7), np.array(sizes), np.array(rates)
    whole = float((n * share).sum() / n.sum())
    room = 3 * math.sqrt(0.05 * 0.95 / REPEATS)
    inside = np.zeros(2)
    for _ in range(REPEATS):
        found = gaps.standings(rng.binomial(n, share), n)[0]
        inside += (
            found.low <= rates[0] - whole <= found.high,
            found.ratio_low <= (1 - rates[0]) / (1 - whole) <= found.ratio_high,
        )
    assert (inside / REPEATS > 0.93 - room).all()


def test_a_standing_by_hand() -> None:
    one, other = gaps.standings(np.array([96, 99]), np.array([100, 100]))
    assert (one.difference, other.difference) == pytest.approx((-0.015, 0.015))
    assert (one.ratio, other.ratio) == pytest.approx((4 / 2.5, 1 / 2.5))
    assert one.low < -0.015 < one.high
    assert one.ratio_low < 1.6 < one.ratio_high
    assert math.isnan(gaps.standings(np.array([5, 5]), np.array([5, 5]))[0].ratio)


def matrix(right: int, wrong: int, unanswered: int = 0) -> list[list[int]]:
    return [[right, wrong, unanswered], [0, 0, 0]]


def several(*cells: list[list[int]]) -> tuple[Grouping, Counts]:
    keys = tuple((name,) for name in "abcdef"[: len(cells)])
    return Grouping(("place",), keys, np.zeros(0, dtype=np.int64)), np.array(cells, dtype=np.int64).reshape(-1, 2, 3)


def found_gap(part: Grouping, counts: Counts, figure: str = "accuracy") -> Gap | None:
    return gaps.gap(part, counts, figures.find(figure), draws=500)


def test_the_gap_is_that_of_the_worst_and_the_best_group() -> None:
    found = found_gap(*several(matrix(80, 20), matrix(60, 40), matrix(75, 25)))
    assert found is not None
    assert (found.by, found.figure, found.worst, found.best) == (("place",), "accuracy", ("b",), ("a",))
    assert (found.low_value, found.high_value, found.difference) == pytest.approx((0.6, 0.8, 0.2))
    assert 0 < found.difference_low < 0.2 < found.difference_high < 0.37
    assert (found.compared, found.left_out, found.n) == (3, 0, 300)
    assert found.is_found
    assert found.p_value < 0.05
    assert math.isnan(found.detectable)
    assert found.standings["b"].ratio == pytest.approx(0.4 / (85 / 300))
    expected = gaps.against_the_others(np.array([80, 60, 75]), np.array([100, 100, 100]))
    assert found.p_values == dict(zip("abc", expected.tolist(), strict=True))


def test_groups_of_few_faces_are_left_out_of_gaps() -> None:
    found = found_gap(*several(matrix(0, SMALL - 1), matrix(15, 15), matrix(20, 10), matrix(0, 0)))
    assert found is not None
    assert (found.worst, found.best, found.compared, found.left_out) == (("b",), ("c",), 2, 2)
    assert set(found.p_values) == {"b", "c"}


@pytest.mark.parametrize("cells", [[], [matrix(50, 50)], [matrix(50, 50), matrix(1, 1)], [matrix(0, 0), matrix(0, 0)]])
def test_fewer_than_two_groups_have_no_gap(cells: list[list[list[int]]]) -> None:
    assert found_gap(*several(*cells)) is None


def test_a_figure_that_is_no_share_has_an_interval_and_no_test() -> None:
    found = found_gap(*several(matrix(80, 20), matrix(60, 40)), "kappa")
    assert found is None or math.isnan(found.p_value)
    cells = [[[40, 10, 0], [10, 40, 0]], [[25, 25, 0], [25, 25, 0]]]
    found = found_gap(*several(*cells), "kappa")
    assert found is not None
    assert (found.difference, found.p_values, found.standings) == (pytest.approx(0.6), {}, {})
    assert 0.2 < found.difference_low < 0.6 < found.difference_high < 1


def test_equal_groups_have_no_gap() -> None:
    found = found_gap(*several(matrix(50, 50), matrix(50, 50), matrix(50, 50)))
    assert found is not None
    assert (found.difference, found.difference_low, found.p_value) == (0, 0, 1)
    assert not found.is_found
    assert 0.1 < found.detectable < 0.3
    assert found.chance > 0.05


def test_groups_are_compared_within_the_faces_of_a_true_label() -> None:
    cells = [[[90, 10, 0], [4, 6, 0]], [[60, 40, 0], [1, 0, 0]], [[80, 15, 5], [0, 50, 0]]]
    [found] = gaps.by_label(*several(*cells), ["Male", "Female"])
    assert (found.label, found.figure, found.worst, found.best) == ("Male", "recall", ("b",), ("a",))
    assert (found.compared, found.left_out, found.difference) == (3, 0, pytest.approx(0.3))


@pytest.mark.parametrize("seed", range(5))
def test_equalised_odds_agree_with_fairlearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(4), rng.integers(150, 300, 4))
    truth = rng.integers(0, 2, len(of))
    said = np.where(rng.random(len(of)) < 0.4 + 0.12 * of, truth, rng.integers(0, 2, len(of)))
    part = grouping("group", [f"g{k}" for k in of])
    found = {g.figure: g.difference for g in gaps.odds(part, metrics.confusions(truth, said, 2, of, 4), ["a", "b"])}
    true, told, names = truth == 0, said == 0, [f"g{k}" for k in of]
    assert found["selection"] == pytest.approx(fair.demographic_parity_difference(true, told, sensitive_features=names))
    both = fair.equalized_odds_difference(true, told, sensitive_features=names)
    assert max(found["tpr"], found["fpr"]) == pytest.approx(both)


def test_a_rate_of_few_faces_is_in_no_odds() -> None:
    """A group with one man has no true-positive rate to compare."""
    cells = [[[1, 0, 0], [10, 60, 0]], [[40, 4, 0], [10, 60, 0]], [[35, 9, 0], [10, 60, 0]]]
    found = {g.figure: g for g in gaps.odds(*several(*cells), ["Male", "Female"])}
    assert (found["tpr"].compared, found["tpr"].left_out, found["tpr"].n) == (2, 1, 88)
    assert (found["fpr"].compared, found["selection"].compared) == (3, 3)


def test_parity_between_the_true_labels_is_nothing() -> None:
    assert gaps.odds(*several([[90, 10, 0], [0, 0, 0]], [[0, 0, 0], [5, 95, 0]]), ["Male", "Female"]) == []


def test_shrunken_shares_by_hand() -> None:
    """Analysis of variance of single faces, face by face, and the mean of the beta distribution that is left."""
    hits, n = np.array([9, 30, 160]), np.array([10, 50, 200])
    faces = [np.repeat([1.0, 0.0], [h, m - h]) for h, m in zip(hits, n, strict=True)]
    everything = np.concatenate(faces)
    between = sum(len(f) * (f.mean() - everything.mean()) ** 2 for f in faces) / 2
    within = sum(((f - f.mean()) ** 2).sum() for f in faces) / (260 - 3)
    assert between / within == pytest.approx(stats.f_oneway(*faces).statistic)
    size = (260 - (n**2).sum() / 260) / 2
    alike = (between - within) / (between + (size - 1) * within)
    alpha = everything.mean() * (1 - alike) / alike
    beta = (1 - everything.mean()) * (1 - alike) / alike
    expected = [stats.beta(alpha + h, beta + m - h).mean() for h, m in zip(hits, n, strict=True)]
    assert gaps.shrunken(hits, n) == pytest.approx(expected)


def test_shrunken_shares_are_nearer_to_the_truth_than_raw_ones() -> None:
    rng = np.random.default_rng(0)
    true = rng.beta(16, 4, (300, 12))
    n = np.tile([20, 30, 60, 200], 3)
    hits = rng.binomial(n, true)
    raw = ((hits / n - true) ** 2).mean()
    drawn = np.mean([((gaps.shrunken(h, n) - t) ** 2).mean() for h, t in zip(hits, true, strict=True)])
    assert drawn < 0.75 * raw


def test_shrunken_shares_at_the_edges() -> None:
    assert gaps.shrunken(np.array([8, 80]), np.array([10, 100])) == pytest.approx([0.8, 0.8])
    assert gaps.shrunken(np.array([10, 100]), np.array([10, 100])) == pytest.approx([1, 1])
    assert gaps.shrunken(np.array([0, 100]), np.array([10, 100])) == pytest.approx([0, 1])
    assert gaps.shrunken(np.array([50, 70, 0]), np.array([100, 100, 0]))[2] == pytest.approx(0.6)
    assert np.isnan(gaps.shrunken(np.array([8]), np.array([10]))).all()
