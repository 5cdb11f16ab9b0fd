"""Sets of labels hold the true one as often as was wanted, on faces that chose nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facevlm.errors import InputError
from facevlm.evaluation.calibration import assess
from facevlm.evaluation.groups import SMALL, Grouping, grouping
from facevlm.evaluation.metrics import Codes, Floats
from facevlm.evaluation.sets import Held, check, label_sets

SAMPLES = 300


def drawn(rng: np.random.Generator, n: int, labels: int, skill: float, warmth: float = 1.0) -> tuple[Floats, Codes]:
    """Log-probabilities (n, labels) and truth; ``warmth`` other than 1 makes them too sure or too unsure."""
    scores = rng.normal(size=(n, labels)) * skill
    log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    truth = np.array([rng.choice(labels, p=row) for row in np.exp(log_probs)])
    warm = log_probs / warmth
    return warm - np.logaddexp.reduce(warm, axis=1, keepdims=True), truth


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
@pytest.mark.parametrize(("n", "labels", "warmth"), [(60, 2, 1.0), (100, 7, 0.3), (300, 5, 4.0)])
def test_the_wanted_share_is_held_on_new_faces(n: int, labels: int, warmth: float, wanted: float) -> None:
    """Whether probabilities are right, too sure or too unsure; the answer need not be the likeliest label."""
    rng, held = np.random.default_rng(n), []
    for seed in range(SAMPLES):
        table, truth = drawn(rng, n, labels, 3.0, warmth)
        answer = np.where(rng.random(n) < 0.9, table.argmax(1), rng.integers(0, labels, n))
        read = label_sets(table, truth, answer, wanted, seed=seed).read
        assert read is not None
        held.append(read.held)
    error = np.std(held) / math.sqrt(SAMPLES)
    assert np.mean(held) >= wanted - 3 * error


def test_without_ties_no_more_is_held_than_was_wanted() -> None:
    """Where the answers alone are right less often than was wanted, sets are no larger than they have to be."""
    rng, held = np.random.default_rng(2), []
    for seed in range(SAMPLES):
        table, truth = drawn(rng, 200, 7, 1.0)
        read = label_sets(table, truth, table.argmax(1), 0.9, seed=seed).read
        assert read is not None
        held.append(read.held)
    assert np.mean(held) == pytest.approx(0.9, abs=1 / 101 + 3 * np.std(held) / math.sqrt(SAMPLES))


def test_the_interval_holds_the_share_of_the_chosen_threshold() -> None:
    rng, inside = np.random.default_rng(3), 0
    many, many_truth = drawn(rng, 100_000, 5, 2.0)
    many_answer = many.argmax(1)
    for seed in range(SAMPLES):
        table, truth = drawn(rng, 200, 5, 2.0)
        found = label_sets(table, truth, table.argmax(1), 0.9, seed=seed)
        assert found.read is not None
        own = np.exp(many[np.arange(len(many)), many_truth])
        share = float(((own >= found.threshold) | (many_answer == many_truth)).mean())
        inside += found.read.low <= share <= found.read.high
    assert 0.91 <= inside / SAMPLES <= 0.99


def of_two_groups(rng: np.random.Generator, n: int = 800) -> tuple[Floats, Codes, Grouping]:
    """One group in three is answered at random, with the same confidence as the others."""
    table, truth = drawn(rng, n, 4, 3.0)
    group = np.where(rng.random(n) < 1 / 3, "hard", "easy")
    truth = np.where((group == "hard") & (rng.random(n) < 0.5), rng.integers(0, 4, n), truth)
    return table, truth, grouping("light", group.tolist())


def test_with_a_threshold_of_its_own_every_group_gets_the_wanted_share() -> None:
    rng = np.random.default_rng(5)
    common: dict[str, list[Held]] = {"easy": [], "hard": []}
    own: dict[str, list[Held]] = {"easy": [], "hard": []}
    for seed in range(100):
        table, truth, part = of_two_groups(rng)
        found = label_sets(table, truth, table.argmax(1), 0.9, [(part, part.codes)], seed)
        for group in found.groups:
            assert group.by == "light"
            common[group.value].append(group.common)
            own[group.value].append(group.own)
    held = {name: np.mean([one.held for one in rows]) for name, rows in common.items()}
    assert held["hard"] < 0.85 < 0.93 < held["easy"]
    for rows in own.values():
        assert np.mean([one.held for one in rows]) == pytest.approx(0.905, abs=0.015)
    assert np.mean([one.size for one in own["hard"]]) > np.mean([one.size for one in own["easy"]]) + 0.5


def test_by_hand() -> None:
    """Of 60 faces 30 choose: three of them may lie below the threshold of 90 %, so that it is their third."""
    rng = np.random.default_rng(8)
    table, truth = drawn(rng, 60, 3, 1.0)
    answer = table.argmax(1)
    found = label_sets(table, truth, answer, 0.9)
    chosen = np.zeros(60, dtype=bool)
    chosen[np.random.default_rng(0).permutation(60)[:30]] = True
    true = np.where(answer == truth, 1.0, np.exp(table[np.arange(60), truth]))
    assert found.chosen_on == 30
    assert found.threshold == sorted(true[chosen])[2]
    sets = [{int(a), *np.flatnonzero(np.exp(row) >= found.threshold)} for a, row in zip(answer, table, strict=True)]
    read = [(sets[k], int(truth[k])) for k in np.flatnonzero(~chosen)]
    assert found.read is not None
    assert found.read.n == len(read) == 30
    assert found.read.held == sum(t in labels for labels, t in read) / 30
    assert found.read.size == sum(len(labels) for labels, _ in read) / 30
    assert found.read.single == sum(len(labels) == 1 for labels, _ in read) / 30


def test_so_few_faces_that_every_label_stays_possible() -> None:
    table, truth = drawn(np.random.default_rng(8), 100, 3, 1.0)
    found = label_sets(table, truth, table.argmax(1), 0.99)
    assert found.read is not None
    assert (found.threshold, found.read.held, found.read.size) == (0.0, 1.0, 3.0)
    assert label_sets(table[:59], truth[:59], truth[:59], 0.9).read is None


def test_groups_too_small_to_choose_or_to_be_read_are_left_out() -> None:
    table, truth = drawn(np.random.default_rng(8), 300, 3, 1.0)
    part = grouping("light", ["dim"] * (SMALL - 1) + ["bright"] * (301 - SMALL))
    found = label_sets(table, truth, table.argmax(1), 0.9, [(part, part.codes)])
    assert [group.value for group in found.groups] == ["bright"]


def test_only_faces_that_were_answered_with_scores_count() -> None:
    table, truth = drawn(np.random.default_rng(8), 200, 3, 1.0)
    answer = table.argmax(1)
    lacking = table.copy()
    lacking[:20] = math.nan
    answer[20:40] = -1
    found = assess(lacking, truth, answer, sets=0.9)
    assert found is not None
    assert found.sets == label_sets(table[40:], truth[40:], answer[40:], 0.9)
    without = assess(lacking, truth, answer)
    assert without is not None
    assert without.sets is None


@pytest.mark.parametrize("wanted", [0.0, 0.49, 0.995, 90, math.nan])
def test_shares_that_no_set_can_be_made_for(wanted: float) -> None:
    with pytest.raises(InputError, match=r"expected a share from 0\.5 to 0\.99: 0\.9 for sets"):
        check(wanted)


def test_faces_that_belong_together_are_on_one_side() -> None:
    """Each cluster's faces are alike: on both sides they would be known before they are read."""
    rng = np.random.default_rng(3)
    table, truth = drawn(rng, 40, 4, 2.0)
    clusters = np.repeat(np.arange(40), 5)
    alone = label_sets(table, truth, table.argmax(1), 0.9)
    table, truth = table[clusters], truth[clusters]
    apart = label_sets(table, truth, table.argmax(1), 0.9)
    found = label_sets(table, truth, table.argmax(1), 0.9, clusters=clusters)
    assert alone.read is None
    assert found.chosen_on % 5 == 0
    assert apart.read is not None
    assert found.read is not None
    assert found.chosen_on + found.read.n == 200
    assert found.read.high - found.read.low > 1.3 * (apart.read.high - apart.read.low)
    lone = label_sets(table, truth, table.argmax(1), 0.9, clusters=np.zeros(200, dtype=np.int64))
    assert lone.read is None
