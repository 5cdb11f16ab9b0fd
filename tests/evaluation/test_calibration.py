"""Calibration figures against plain loops and scikit-learn, and age errors by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from facevlm.evaluation.calibration import (
    BINS,
    POINTS,
    Hits,
    age_errors,
    assess,
    brier,
    ece,
    fit_temperature,
    floor,
    nll,
    reliability,
    scale,
    scaled,
    selective,
    top_k,
)
from facevlm.evaluation.groups import cross, grouping
from facevlm.evaluation.metrics import Codes, Floats, wilson

checked = settings(deadline=None, max_examples=60)


@st.composite
def sure(draw: st.DrawFn) -> tuple[Floats, Hits]:
    """Confidences, often equal, often exactly 0, 1, or the edge of a bin, and whether the answers were right."""
    often = st.sampled_from([0.0, 1.0, 0.2, 1 / 3, 0.6, 1 / 15])
    values = draw(st.lists(st.tuples(st.floats(0, 1) | often, st.booleans()), max_size=60))
    return np.array([v for v, _ in values], dtype=float), np.array([r for _, r in values], dtype=bool)


def random_table(n: int, labels: int, seed: int = 0) -> tuple[Floats, Codes]:
    """Log-probabilities of ``n`` faces and labels drawn from exactly these: calibrated by construction."""
    rng = np.random.default_rng(seed)
    table = scaled(rng.normal(scale=2.0, size=(n, labels)), 1.0)
    truth = (np.exp(table).cumsum(1) > rng.random((n, 1))).argmax(1)
    return table, truth


@given(sure(), st.booleans(), st.integers(1, 20))
@checked
def test_every_face_is_in_exactly_one_bin(case: tuple[Floats, Hits], equal_mass: bool, bins: int) -> None:
    confidence, right = case
    found = reliability(confidence, right, bins, equal_mass=equal_mass)
    assert len(found) <= bins
    assert sum(b.n for b in found) == len(confidence)
    assert sum(b.n * b.accuracy for b in found) == pytest.approx(right.sum())
    assert sum(b.n * b.confidence for b in found) == pytest.approx(confidence.sum())
    for b in found:
        assert b.n > 0
        assert b.low - 1e-9 <= b.confidence <= b.high + 1e-9
        assert (b.accuracy_low, b.accuracy_high) == wilson(round(b.n * b.accuracy), b.n)
    assert all(one.high <= other.low for one, other in itertools.pairwise(found))


def test_the_ends_of_the_scale_are_in_the_first_and_the_last_bin() -> None:
    first, last = reliability(np.array([0.0, 1.0, 1.0]), np.array([True, True, False]), 10)
    assert (first.low, first.high, first.n, first.accuracy) == (0.0, pytest.approx(0.1), 1, 1.0)
    assert (last.low, last.high, last.n, last.accuracy) == (pytest.approx(0.9), 1.0, 2, 0.5)


def test_an_edge_belongs_to_the_bin_below() -> None:
    (only,) = reliability(np.array([0.5]), np.array([True]), 2)
    assert (only.low, only.high) == (0.0, 0.5)


def test_bins_of_equal_mass() -> None:
    confidence = np.linspace(0.5, 1, 60)
    sizes = [b.n for b in reliability(confidence, confidence > 0.7, 6, equal_mass=True)]
    assert sizes == [10] * 6
    tied = np.array([0.9] * 40 + [0.2] * 8 + [0.3, 0.4])
    found = reliability(tied, tied > 0.8, 5, equal_mass=True)
    assert sum(b.n for b in found) == 50
    assert sum(b.low < 0.9 <= b.high for b in found) == 1, "equal confidences stay together"
    (alone,) = reliability(np.full(9, 0.7), np.ones(9, dtype=bool), 5, equal_mass=True)
    assert (alone.n, alone.low, alone.high) == (9, 0.7, 0.7)


def plain_ece(confidence: Floats, right: Hits, bins: int) -> float:
    """Face by face, as in the papers: bin k holds confidences in (k / bins, (k + 1) / bins], 0 is in the first."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for k in range(bins):
        inside = [i for i, c in enumerate(confidence) if (edges[k] < c <= edges[k + 1]) or (k == 0 and c == edges[0])]
        if inside:
            mean = sum(confidence[i] for i in inside) / len(inside)
            hits = sum(bool(right[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(mean - hits)
    return total


@given(sure(), st.integers(1, 20))
@checked
def test_ece_agrees_with_a_plain_loop(case: tuple[Floats, Hits], bins: int) -> None:
    confidence, right = case
    found = ece(reliability(confidence, right, bins))
    if len(confidence):
        assert found == pytest.approx(plain_ece(confidence, right, bins))
    else:
        assert math.isnan(found)


def test_ece_of_calibrated_and_of_overconfident_answers() -> None:
    table, truth = random_table(40_000, 4)
    confidence, right = np.exp(table).max(1), table.argmax(1) == truth
    assert ece(reliability(confidence, right)) < 0.015
    assert ece(reliability(np.ones(100), np.arange(100) < 60)) == pytest.approx(0.4)


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 1000))
@checked
def test_brier_score(n: int, labels: int, seed: int) -> None:
    table, truth = random_table(n, labels, seed)
    shares = np.exp(table)
    by_hand = sum((shares[i, k] - (truth[i] == k)) ** 2 for i in range(n) for k in range(labels))
    assert brier(table, truth) == pytest.approx(by_hand / n)
    one_by_one = [sk.brier_score_loss(truth == k, shares[:, k], pos_label=True) for k in range(labels)]
    assert brier(table, truth) == pytest.approx(sum(one_by_one)), "scikit-learn's, summed over the labels"
    assert 0 <= brier(table, truth) <= 2


def test_brier_score_ends() -> None:
    certain = np.log(np.array([[1.0, 1e-300], [1e-300, 1.0]]))
    assert brier(certain, np.array([0, 1])) == pytest.approx(0)
    assert brier(certain, np.array([1, 0])) == pytest.approx(2)
    assert math.isnan(brier(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)))


@given(st.integers(1, 40), st.integers(3, 6), st.integers(0, 1000), st.data())
@checked
def test_top_k_agrees_with_scikit_learn(n: int, labels: int, seed: int, data: st.DataObject) -> None:
    table, truth = random_table(n, labels, seed)
    k = data.draw(st.integers(1, labels - 1))
    expected = sk.top_k_accuracy_score(truth, table, k=k, labels=range(labels))
    assert top_k(table, truth, k) == pytest.approx(expected)
    assert top_k(table, truth, labels) == 1


def test_top_k_ties_count_for_the_truth_and_no_faces_have_none() -> None:
    even = np.log(np.full((1, 4), 0.25))
    assert [top_k(even, np.array([k]), 1) for k in range(4)] == [1.0] * 4
    assert math.isnan(top_k(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_temperature_of_scaled_logits_is_recovered(temperature: float) -> None:
    table, truth = random_table(20_000, 5, seed=1)
    assert fit_temperature(scaled(table, 1 / temperature), truth) == pytest.approx(temperature, rel=0.05)


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 1000), st.floats(0.2, 5), st.booleans())
@checked
def test_a_fitted_temperature_never_worsens_its_own_split(
    n: int, labels: int, seed: int, given_one: float, shuffled: bool
) -> None:
    table, truth = random_table(n, labels, seed)
    if shuffled:
        truth = np.random.default_rng(seed).integers(0, labels, n)
    table = scaled(table, given_one)
    fitted = fit_temperature(table, truth)
    assert 0.05 <= fitted <= 20
    assert nll(scaled(table, fitted), truth) <= nll(table, truth) + 1e-6


def test_temperature_keeps_the_order_and_sums_to_one() -> None:
    table, _ = random_table(50, 4)
    warm = scaled(table, 3.0)
    np.testing.assert_allclose(np.exp(warm).sum(1), 1)
    assert np.array_equal(warm.argsort(1), table.argsort(1))
    np.testing.assert_allclose(scaled(table, 1.0), table)
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1.0


@given(sure(), st.integers(0, 5))
@checked
def test_the_selective_curve(case: tuple[Floats, Hits], unanswered: int) -> None:
    confidence, right = case
    total = len(confidence) + unanswered
    points = selective(confidence, right, total)
    assert len(points) == len(set(confidence.tolist()))
    for p in points:
        kept = confidence >= p.threshold
        assert p.n == kept.sum()
        assert p.coverage == pytest.approx(kept.sum() / total)
        assert p.accuracy == pytest.approx(right[kept].mean())
    assert all(a.coverage < b.coverage for a, b in itertools.pairwise(points))


def test_assess_leaves_faces_without_scores_or_answer_out() -> None:
    table, truth = random_table(400, 3)
    said = table.argmax(1)
    with_gaps, answers = table.copy(), said.copy()
    with_gaps[:100:2] = math.nan
    answers[1:100:2] = -1
    found, expected = assess(with_gaps, truth, answers), assess(table[100:], truth[100:], said[100:])
    assert found is not None
    assert expected is not None
    assert (found.n, found.ece, found.brier, found.scaling) == (300, expected.ece, expected.brier, expected.scaling)
    assert found.selective[-1].coverage == pytest.approx(300 / 400), "of all faces, also those without scores"
    assert found.selective[-1].accuracy == pytest.approx((said == truth)[100:].mean())
    assert len(found.bins) <= BINS
    assert len(found.selective) == POINTS


def test_a_label_of_probability_zero_is_a_score() -> None:
    """A model that rules a label out has said how sure it is: such a face is not one without scores."""
    shares = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.3, 0.4], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        table = np.log(shares)
    truth = np.array([0, 1, 2, 1])
    found = assess(table, truth, table.argmax(1))
    assert found is not None
    assert found.n == 4
    assert found.brier == pytest.approx(((shares - np.eye(3)[truth]) ** 2).sum(1).mean())
    assert found.nll == pytest.approx(-np.log(shares[np.arange(4), truth]).mean())


def test_a_true_label_of_probability_zero_does_not_break_the_temperature() -> None:
    with np.errstate(divide="ignore"):
        table = np.log(np.array([[1.0, 0.0], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]] * 5))
    fitted = fit_temperature(table, np.array([1, 0, 0, 1] * 5))
    assert 0.05 <= fitted <= 20


@pytest.mark.parametrize("n", [0, 5])
def test_assess_without_a_scored_face(n: int) -> None:
    none = np.full((n, 3), math.nan)
    assert assess(none, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)) is None
    even = np.full((n, 3), math.log(1 / 3))
    assert assess(even, np.zeros(n, dtype=np.int64), np.full(n, -1)) is None


def test_few_faces_fit_no_temperature_and_promise_nothing() -> None:
    found = assess(np.log([[0.8, 0.2]]), np.array([0]), np.array([0]))
    assert found is not None
    assert (found.n, len(found.bins), len(found.selective)) == (1, 1, 1)
    assert found.scaling is None
    assert [p.threshold for p in found.promises] == [None] * 3


def test_scaling_helps_answers_that_are_too_sure() -> None:
    table, truth = random_table(6000, 4, seed=2)
    sure_of_it = scaled(table, 0.4)
    found = scale(sure_of_it, truth, table.argmax(1))
    assert found is not None
    assert found.temperature == pytest.approx(2.5, rel=0.08)
    assert found.ece < 0.03 < 0.1 < ece(reliability(np.exp(sure_of_it).max(1), table.argmax(1) == truth))
    assert found.low > 0
    assert found.gain == pytest.approx(nll(sure_of_it, truth) - found.nll)
    assert not found.at_limit


def test_scaling_of_calibrated_answers_is_no_gain() -> None:
    tables = [random_table(200, 4, seed) for seed in range(100)]
    scalings = [scale(table, truth, table.argmax(1)) for table, truth in tables]
    assert sum(s.low > 0 for s in scalings if s) <= 5
    assert np.mean([s.gain for s in scalings if s]) < 0, "a temperature that is fitted to chance costs a little"


@pytest.mark.parametrize(("right", "end"), [(True, 0.05), (False, 20.0)])
def test_a_temperature_at_the_end_of_its_search_is_told(right: bool, end: float) -> None:
    table = np.log(np.array([[0.9, 0.1]] * 40))
    answer = np.zeros(40, dtype=np.int64)
    found = scale(table, answer if right else 1 - answer, answer)
    assert found is not None
    assert found.temperature == end
    assert found.at_limit


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1000))
@checked
def test_negative_log_likelihood_is_that_of_scikit_learn(n: int, labels: int, seed: int) -> None:
    table, truth = random_table(n, labels, seed)
    assert nll(table, truth) == pytest.approx(sk.log_loss(truth, np.exp(table), labels=range(labels)))
    assert math.isnan(nll(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)))


@pytest.mark.parametrize("equal_mass", [False, True])
@pytest.mark.parametrize("n", [48, 300, 2000])
def test_calibrated_answers_are_beyond_chance_in_one_of_twenty_samples(n: int, equal_mass: bool) -> None:
    beyond, errors, means = 0, [], []
    for seed in range(100):
        table, truth = random_table(n, 4, seed)
        confidence = np.exp(table).max(1)
        seen = ece(reliability(confidence, table.argmax(1) == truth, equal_mass=equal_mass))
        found = floor(confidence, seen, equal_mass=equal_mass)
        assert (found.p_value < 0.05) == (seen > found.high) or abs(found.p_value - 0.05) < 0.001
        beyond += seen > found.high
        errors.append(seen)
        means.append(found.mean)
    # 12 and more of 100 have a probability of 0.004 at 0.05 each.
    assert beyond <= 11
    assert np.mean(means) == pytest.approx(np.mean(errors), rel=0.1)


def test_many_faces_show_by_chance_what_counted_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    confidence = np.random.default_rng(4).beta(4, 2, 20_000)
    quick = floor(confidence, 0.006)
    monkeypatch.setattr("facevlm.evaluation.reliability.WIDE", math.inf)
    counted = floor(confidence, 0.006)
    assert quick.mean == pytest.approx(counted.mean, rel=0.02)
    assert quick.high == pytest.approx(counted.high, rel=0.02)
    assert quick.p_value == pytest.approx(counted.p_value, abs=0.04)


def test_answers_that_are_too_sure_are_beyond_chance() -> None:
    table, truth = random_table(300, 4, seed=3)
    confidence = np.exp(scaled(table, 0.3)).max(1)
    seen = ece(reliability(confidence, table.argmax(1) == truth))
    assert seen > floor(confidence, seen).high
    assert floor(confidence, seen).p_value < 0.001
    assert math.isnan(floor(np.zeros(0), math.nan).high)


def test_groups_are_calibrated_by_themselves() -> None:
    table, truth = random_table(600, 3, seed=5)
    group = ["plain"] * 280 + ["sure"] * 300 + ["few"] * 20
    table[280:580] = scaled(table[280:580], 0.3)
    answer = table.argmax(1)
    by_place = grouping("place", group)
    by_truth = grouping("truth", [str(t) for t in truth])
    found = assess(table, truth, answer, [by_place, by_truth, cross([by_place, by_truth])])
    assert found is not None
    assert [(g.by, g.value, g.n) for g in found.groups] == [("place", "plain", 280), ("place", "sure", 300)]
    plain, sure_ones = found.groups
    assert plain.p_value > 0.05 > sure_ones.p_value
    assert sure_ones.confidence > sure_ones.accuracy
    assert sure_ones.nll == pytest.approx(nll(table[280:580], truth[280:580]))
    assert sure_ones.ece > sure_ones.chance_high > sure_ones.chance


EDGES = (0.0, 10.0, 20.0, 40.0, 60.0)


@pytest.mark.parametrize(
    ("age", "said", "off"),
    [(0, 0, 0), (9, 0, 0), (10, 0, 1), (12, 0, 3), (9, 1, 1), (10, 1, 0), (19, 1, 0), (20, 1, 1), (60, 4, 0),
     (103, 4, 0), (59, 4, 1), (5, 4, 55), (80, 3, 21)],
)  # fmt: skip
def test_years_between_an_age_and_the_said_group(age: float, said: int, off: float) -> None:
    assert age_errors([age], np.array([said]), EDGES).mean_years == off


def test_ages_over_the_line_of_18() -> None:
    # Only groups in which nobody is under 18, or nobody from 18 on, cross the line: 10-19 holds both.
    ages = [5, 17, 16, 15, 18, 30, 25, 70, 33, math.nan, 8]
    said = np.array([0, 1, 2, 3, 0, 0, 1, 4, 2, 2, -1])
    found = age_errors(ages, said, EDGES)
    assert (found.n, found.n_minors, found.n_adults) == (9, 4, 5)
    assert found.minors_as_adults == pytest.approx(2 / 4)
    assert found.adults_as_minors == pytest.approx(2 / 5)
    assert found.mean_years == pytest.approx((0 + 0 + 4 + 25 + 9 + 21 + 6 + 0 + 0) / 9)


def test_ages_of_nobody() -> None:
    for years, said in (([], []), ([math.nan, 30.0], [1, -1])):
        found = age_errors(years, np.array(said, dtype=np.int64), EDGES)
        assert (found.n, found.n_minors, found.n_adults) == (0, 0, 0)
        assert all(math.isnan(v) for v in (found.mean_years, found.minors_as_adults, found.adults_as_minors))


@given(hnp.arrays(float, st.integers(1, 20), elements=st.integers(0, 100).map(float)), st.integers(0, 1000))
@checked
def test_only_the_own_group_is_no_years_off(ages: Floats, seed: int) -> None:
    own = np.searchsorted(EDGES, ages, side="right") - 1
    assert age_errors(ages.tolist(), own, EDGES).mean_years == 0
    said = np.random.default_rng(seed).integers(0, 5, len(ages))
    found = age_errors(ages.tolist(), said, EDGES)
    assert (found.mean_years == 0) == bool((said == own).all())
