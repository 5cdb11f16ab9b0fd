"""The published tables as data, and the comparison with them against statsmodels and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportions_ztest

from facevlm import attributes
from facevlm.backends import cards
from facevlm.errors import UnknownName
from facevlm.evaluation import published
from facevlm.evaluation.metrics import wilson
from facevlm.evaluation.published import compare

PAPER = published.shipped()


def test_every_table_is_of_a_known_label_set() -> None:
    for table in PAPER.tables.values():
        assert table.attribute in attributes.shipped().attributes
        assert table.name == f"{table.dataset}-{table.attribute}"
        assert table.n in (10_954, 3_999, 24_086, 7_160)
        assert table.figures
        assert all(0.3 < one.accuracy < 1 for one in table.figures.values())
        macro = [v for one in table.figures.values() for v in (one.precision, one.recall, one.f1)]
        assert all(v is None or 0.3 < v < 1 for v in macro)


def test_every_model_is_one_that_can_be_asked_for() -> None:
    assert set(PAPER.models) <= set(cards.shipped())
    systems = {system for table in PAPER.tables.values() for system in table.figures}
    assert set(PAPER.models.values()) <= systems
    assert set(PAPER.trained_on) <= set(cards.shipped())


def test_figures_that_the_paper_is_known_by() -> None:
    """Of the abstract and the tables: accuracies of FaceScanPaliGemma and of FaceScanGPT."""
    known = {
        "fairface-race6": 81.1,
        "fairface-race7": 75.7,
        "fairface-gender": 95.8,
        "fairface-age5": 80,
        "affectnet-emotion8": 59.4,
        "utkface-race5": 88.3,
        "utkface-gender": 97.4,
        "utkface-age5": 81.9,
    }
    told = {name: PAPER.tables[name].figures["FaceScanPaliGemma"].accuracy for name in known}
    assert told == pytest.approx({name: value / 100 for name, value in known.items()})
    assert PAPER.tables["diversefaces-gender"].figures["FaceScanGPT"].accuracy == 0.97
    race = PAPER.tables["fairface-race6"].figures["GPT-4o"]
    assert (race.accuracy, race.precision, race.recall, race.f1) == (0.764, 0.75, 0.73, 0.74)
    assert "2410.24148" in PAPER.sources[0]
    assert "s41598-026-39584-3" in PAPER.sources[1]


def test_classes_are_those_of_the_label_set() -> None:
    told = {t.name: t.classes for t in PAPER.tables.values() if t.classes}
    assert set(told) == {"fairface-race7", "fairface-age5"}
    for name, systems in told.items():
        for system, rows in systems.items():
            table = PAPER.tables[name]
            assert set(rows) == set(attributes.get(table.attribute).labels)
            means = [sum(row[k] for row in rows.values()) / len(rows) for k in range(3)]
            figures = table.figures[system]
            assert means == pytest.approx([figures.precision, figures.recall, figures.f1], abs=0.01)


def test_tables_by_name_label_set_or_data_set() -> None:
    assert len(PAPER.select(None)) == len(PAPER.tables) == 11
    assert [t.name for t in PAPER.select(["gender"])] == ["fairface-gender", "utkface-gender", "diversefaces-gender"]
    assert [t.name for t in PAPER.select(["affectnet", "utkface-age5"])] == ["affectnet-emotion8", "utkface-age5"]
    with pytest.raises(UnknownName, match=r"Unknown table 'gendr'.*Did you mean 'gender'"):
        PAPER.select(["race7", "gendr"])


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(1, 999), st.integers(1, 30_000))
@settings(deadline=None, max_examples=100)
def test_two_proportions_agree_with_statsmodels(n: int, share: float, published_share: int, published_n: int) -> None:
    right, told = round(share * n), published_share / 1000
    found = compare(right, n, told, published_n)
    _, expected = proportions_ztest([right, told * published_n], [n, published_n])
    assert found.p_value == pytest.approx(expected, abs=1e-9)
    assert found.within_noise == (found.p_value >= 0.05)
    low, high = wilson(right, n)
    assert found.contains == (low <= told <= high)
    assert found.difference == pytest.approx(right / n - told)


def test_by_hand() -> None:
    same = compare(950, 1000, 0.95, 10_000)
    assert (same.difference, same.p_value, same.within_noise, same.contains) == (0, 1, True, True)
    far = compare(900, 1000, 0.95, 10_000)
    assert far.p_value < 1e-9
    assert not far.within_noise
    assert not far.contains
    assert far.published_low < 0.95 < far.published_high
    perfect = compare(10, 10, 1.0, 100)
    assert (perfect.p_value, perfect.within_noise) == (1, True)


def test_the_interval_can_miss_a_figure_that_chance_explains() -> None:
    """The published figure has chance of its own: the test allows for it, the interval does not."""
    found = compare(8000, 10_000, 0.79, 10_000)
    assert not found.contains
    assert found.within_noise


def test_nothing_of_ones_own_is_no_difference() -> None:
    found = compare(0, 0, 0.9, 100, 0.005)
    assert math.isnan(found.difference)
    assert not found.contains
    assert found.within_noise is None


def test_half_a_point_of_a_whole_per_cent_may_be_rounding() -> None:
    """79.6 % of 24,086 faces may have been printed as 80 %, and not as 80.0 %."""
    exact, whole = compare(19_172, 24_086, 0.8, 24_086), compare(19_172, 24_086, 0.8, 24_086, 0.005)
    assert exact.difference == whole.difference == pytest.approx(-0.004, abs=1e-4)
    assert (whole.within_noise, whole.contains, whole.p_value) == (True, True, 1)
    below = compare(18_800, 24_086, 0.8, 24_086, 0.005)
    nearest = compare(18_800, 24_086, 0.795, 24_086)
    assert below.p_value == pytest.approx(nearest.p_value)
    assert not below.within_noise
    assert not below.contains


def test_figures_are_rounded_as_they_are_printed() -> None:
    figures = PAPER.tables["fairface-race7"].figures
    assert figures["FairFace ResNet34"].rounding == pytest.approx(0.005)
    assert figures["FaceScanPaliGemma"].rounding == pytest.approx(0.0005)
    assert PAPER.tables["affectnet-emotion8"].figures["POSTER++"].rounding == pytest.approx(0.00005)


def test_of_equal_models_one_in_twenty_seems_different() -> None:
    rng = np.random.default_rng(4)
    n, published_n, truth = 2_196, 24_086, 0.9
    own, told = rng.binomial(n, truth, 4000), rng.binomial(published_n, truth, 4000) / published_n
    beyond = [not compare(int(k), n, float(p), published_n).within_noise for k, p in zip(own, told, strict=True)]
    assert 0.04 < np.mean(beyond) < 0.06
