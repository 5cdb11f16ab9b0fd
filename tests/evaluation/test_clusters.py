"""Faces that belong together: what their shares are worth, and tests that deal whole clusters out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from benchmarks import simulate
from benchmarks.simulate import Plan
from facevlm.attributes import get
from facevlm.evaluation import comparison, gaps, metrics, thresholds
from facevlm.evaluation.clusters import clustered, clusters_of, deals, flipped, worth_of
from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate
from facevlm.evaluation.groups import Grouping
from facevlm.evaluation.metrics import Codes

GENDER = get("gender")


def population(people: int, seed: int = 0, rate: float = 0.8, together: float = 0.4) -> tuple[Codes, np.ndarray]:
    """Clusters of 1 to 6 faces, and which faces are right: a person's faces have a rate of their own."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(people), rng.integers(1, 7, people))
    own = rng.beta(rate * (1 - together) / together, (1 - rate) * (1 - together) / together, people)
    return of, rng.random(len(of)) < own[of]


def everybody(n: int) -> Codes:
    return np.zeros(n, dtype=np.int64)


def test_a_share_is_worth_what_leaving_out_each_cluster_says() -> None:
    """By leaving out one cluster after the other in a loop, and Student's t."""
    people, right = population(40)
    n, share = len(people), right.mean()
    without = np.array([right[people != one].mean() for one in range(40)])
    weight = np.array([(n - (people == one).sum()) / n for one in range(40)])
    variance = ((without - share) ** 2).sum()
    assert weight.max() < 1
    sizes = np.bincount(people)
    alike = n**2 / (sizes**2).sum()
    few = min(right.sum(), (~right).sum())
    effect = (few * n * variance / (share * (1 - share)) + 0.5 * n / alike) / (few + 0.5)
    expected = n / effect * (metrics.Z95 / stats.t.ppf(0.975, alike - 1)) ** 2
    [worth] = clustered(everybody(n), people, right).worth(1)
    assert worth == pytest.approx(expected)
    assert worth < n / 1.5


def test_faces_of_as_many_people_are_worth_nearly_all() -> None:
    people, right = np.arange(400), np.arange(400) % 5 > 0
    assert 395 < clustered(everybody(400), people, right).worth(1)[0] <= 400


def test_one_person_says_next_to_nothing() -> None:
    right = np.ones(50, dtype=bool)
    [worth] = clustered(everybody(50), everybody(50), right).worth(1)
    low, high = metrics.score(worth, worth)
    assert low < 0.02
    assert high == 1


def test_clusters_that_are_right_as_a_whole_count_once() -> None:
    """Also where all faces are right, so that nothing shows how they go together."""
    people = np.repeat(np.arange(50), 4)
    for right in (np.ones(200, dtype=bool), people % 2 == 0):
        [worth] = clustered(everybody(200), people, right).worth(1)
        assert 40 < worth <= 50


def test_a_figure_is_worth_as_much_as_the_same_share() -> None:
    people, right = population(30, seed=3)
    truth = np.arange(len(people)) % 2
    said = np.where(right, truth, 1 - truth)
    counts = metrics.confusion(truth, said, 2)[None]
    none = everybody(len(people))
    by_figure = worth_of(metrics.accuracy, counts, truth, said, none, people)
    assert by_figure == pytest.approx(clustered(none, people, right).worth(1), rel=0.06)
    assert worth_of(metrics.macro_f1, counts, truth, said, none, people)[0] < len(people)


def test_faces_without_a_value_are_clusters_of_their_own() -> None:
    held = clusters_of("subject", ["a", None, "a", None, 1, 1.5])
    assert held.n == 5
    assert held.unknown == 2
    assert held.codes[0] == held.codes[2]
    assert len(set(held.codes.tolist())) == 5


def test_whole_clusters_are_dealt_out_and_faces_within_those_of_several_groups() -> None:
    people = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    groups = np.array([0, 0, 0, 1, 1, 0, 0, 1, 1])
    right = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    hits, n = deals(clustered(groups, people, right), 2)
    assert {tuple(row) for row in n.tolist()} == {(5.0, 4.0), (4.0, 5.0)}
    assert set(hits.sum(1).tolist()) == {4.0}
    # Person 0 is all of one group; the one hit of person 2 falls to either.
    assert {tuple(row) for row in hits.tolist()} == {(4, 0), (3, 1), (1, 3), (0, 4)}
    assert (hits[:, 0] >= 3).mean() == pytest.approx(0.5, abs=0.05)


def test_signs_of_clusters_are_turned() -> None:
    assert flipped(np.zeros(5)) == 1
    assert flipped(np.ones(4)) == pytest.approx(2 / 16, abs=0.02)
    assert flipped(np.array([1.0, -1.0, 3.0])) == pytest.approx(6 / 8, abs=0.03)


def records(people: Sequence[object] | None, right: np.ndarray, group: Sequence[str]) -> Records:
    truth = [GENDER.labels[k % 2] for k in range(len(right))]
    other = {GENDER.labels[0]: GENDER.labels[1], GENDER.labels[1]: GENDER.labels[0]}
    said = [t if ok else other[t] for t, ok in zip(truth, right, strict=True)]
    sure = np.log(np.where(np.array([s == GENDER.labels[0] for s in said])[:, None], [0.8, 0.2], [0.2, 0.8]))
    return Records(
        truth,
        said,
        ["ok"] * len(said),
        {"camera": group},
        log_probs=sure,
        adjust={"light": ["day" if k % 3 else "night" for k in range(len(said))]},
        cluster="subject" if people is not None else "",
        clusters=people,
    )


def both(seed: int = 1) -> tuple[AttributeEvaluation, AttributeEvaluation]:
    """The same faces taken as independent, and by person; every person is of one group."""
    people, right = population(60, seed, together=0.6)
    group = ["old" if one % 2 else "new" for one in people.tolist()]
    alone, together = (evaluate(GENDER, records(of, right, group), draws=200) for of in (None, people.tolist()))
    return alone, together


def width(ends: tuple[float, float]) -> float:
    return ends[1] - ends[0]


def test_every_interval_is_wider_and_every_figure_the_same() -> None:
    alone, together = both()
    for one, other in (
        *((e.overall, o.overall) for e, o in [(alone, together)]),
        *((e.cell, o.cell) for e, o in zip(alone.groups[0].rows, together.groups[0].rows, strict=True)),
    ):
        assert one.accuracy == other.accuracy
        assert one.f1 == other.f1
        assert width((one.low, one.high)) < width((other.low, other.high))
        assert width((one.f1_low, one.f1_high)) < width((other.f1_low, other.f1_high))
        assert one.clusters is None
        assert other.clusters is not None
        assert other.clusters.accuracy < other.n
    for row, wider in zip(alone.classes, together.classes, strict=True):
        assert width((row.low, row.high)) < width((wider.low, wider.high))
    for parts in ("gaps", "labels", "odds"):
        pairs = list(zip(getattr(alone.groups[0], parts), getattr(together.groups[0], parts), strict=True))
        assert pairs
        for gap, of_people in pairs:
            assert gap.difference == of_people.difference
            if gap.figure == "accuracy":
                assert gap.difference_high < of_people.difference_high
                assert gap.p_value < of_people.p_value
                for name, standing in gap.standings.items():
                    wider_one = of_people.standings[name]
                    assert standing.ratio == pytest.approx(wider_one.ratio)
                    assert width((standing.low, standing.high)) < width((wider_one.low, wider_one.high))
                    assert width((standing.ratio_low, standing.ratio_high)) < width(
                        (wider_one.ratio_low, wider_one.ratio_high)
                    )
    assert together.clusters is not None
    assert (together.clusters.by, together.clusters.n, together.clusters.unknown) == ("subject", 60, 0)


def test_adjusted_figures_and_confidence_know_of_clusters() -> None:
    alone, together = both()
    one, other = alone.groups[0].adjusted, together.groups[0].adjusted
    assert one is not None
    assert other is not None
    for row, wider in zip(one.rows, other.rows, strict=True):
        assert row.adjusted == wider.adjusted
        assert width((row.low, row.high)) < width((wider.low, wider.high))
        assert width((row.difference_low, row.difference_high)) < width((wider.difference_low, wider.difference_high))
    assert one.p_value < other.p_value or one.p_value > 0.3
    sure, shared = alone.confidence, together.confidence
    assert sure is not None
    assert shared is not None
    assert sure.ece == shared.ece
    assert sure.floor.mean < shared.floor.mean
    assert sure.bins[0].accuracy_low > shared.bins[0].accuracy_low
    assert sure.selective[0].worth is None
    assert shared.selective[0].worth is not None


def test_a_threshold_takes_more_faces_where_they_belong_together() -> None:
    confidence, right = np.full(200, 0.9), np.ones(200, dtype=bool)
    people = np.repeat(np.arange(40), 5)
    [alone] = thresholds.promises(confidence, right, 200, [0.95])
    [together] = thresholds.promises(confidence, right, 200, [0.95], people)
    assert alone.threshold is not None
    assert together.threshold is None
    [enough] = thresholds.promises(confidence, right, 200, [0.9], people)
    assert enough.threshold is not None
    assert enough.threshold.low < thresholds.exact(200, 200)[0]


def test_two_runs_and_flips_by_person() -> None:
    people, first = population(50, seed=2)
    _, second = population(50, seed=2, rate=0.8)
    second = np.where(people % 3 == 0, ~first, first)
    truth = everybody(len(people))
    runs = {"a": np.where(first, 0, 1), "b": np.where(second, 0, 1)}
    alone, together = (
        comparison.compare("gender", GENDER.labels, truth, runs, {"g": ["x"] * len(people)}, clusters=of)
        for of in (None, people)
    )
    [one], [other] = alone.pairs, together.pairs
    assert one.difference == other.difference
    assert width((one.low, one.high)) < width((other.low, other.high))
    assert one.p_value is not None
    assert other.p_value is not None
    assert one.p_value < other.p_value
    assert alone.flips.rate == together.flips.rate
    assert width((alone.flips.low, alone.flips.high)) < width((together.flips.low, together.flips.high))
    assert together.flips_by["g"][0].low == together.flips.low


def test_the_gap_of_groups_that_share_people() -> None:
    """Faces of one person in both groups: the difference within persons is what counts."""
    rng = np.random.default_rng(5)
    people = np.repeat(np.arange(100), 4)
    groups = np.tile([0, 0, 1, 1], 100)
    own = np.repeat(rng.beta(0.8, 0.2, 100), 4)
    right = rng.random(400) < np.clip(own - 0.08 * groups, 0, 1)
    hits = np.bincount(groups, right, 2).astype(np.int64)
    n = np.bincount(groups)
    luck, p_values = gaps.by_chance_in(clustered(groups, people, right), hits, n)
    assert luck.p_gap == pytest.approx(p_values[0])
    assert luck.p_gap < gaps.by_chance(hits, n).p_gap


def test_coverage_and_errors_where_faces_belong_together() -> None:
    cells = simulate.together(Plan(rounds=500, seed=4), 2, people=(30,), agreeing=(0.3,))
    assert {cell.kind for cell in cells} == {"conservative", "test", "simultaneous"}
    assert [f"{cell.what}: {cell.setting}: {cell.share}" for cell in cells if cell.falls_short] == []
    assert math.isfinite(sum(cell.share for cell in cells))


def test_a_group_is_in_no_cell_without_faces() -> None:
    part = Grouping(("g",), (("a",), ("b",)), np.array([0, 0, -1]))
    held = clustered(part.codes, np.array([0, 1, 1]), np.array([True, False, True]))
    assert held.worth(2)[1] == 0
