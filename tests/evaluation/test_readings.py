"""Predictions brought onto the label set that they have in common with the ground truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facevlm.attributes import Alignment, align, get, shipped
from facevlm.errors import FieldError
from facevlm.evaluation.readings import Reading, Truth, common_log_probs, on_common_labels, shares_of
from facevlm.types import Attribute


@pytest.fixture
def finer() -> tuple[Attribute, Alignment]:
    """Predictions of race7 against ground truth of race5: labels become one."""
    attribute = get("race7")
    return attribute, align(attribute, get("race5").labels, shipped())


def test_labels_become_those_of_both(finer: tuple[Attribute, Alignment]) -> None:
    attribute, alignment = finer
    assert set(alignment.common.labels) == set(get("race5").labels)
    common = on_common_labels("m_race7", [*attribute.labels, None], alignment)
    assert common[-1] is None
    assert set(common[:-1]) == set(alignment.common.labels)
    with pytest.raises(FieldError, match="Field 'm_race7' holds Martian, expected only"):
        on_common_labels("m_race7", ["Martian"], alignment)


def test_probabilities_of_labels_that_become_one_are_added(finer: tuple[Attribute, Alignment]) -> None:
    attribute, alignment = finer
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(len(attribute.labels)), 6)
    given = np.log(shares)
    given[2] = np.nan
    table = common_log_probs(given, attribute, alignment)
    assert table is not None
    assert np.isnan(table[2]).all()
    kept = [0, 1, 3, 4, 5]
    for k, label in enumerate(alignment.common.labels):
        parts = [n for n, own in enumerate(attribute.labels) if alignment.predicted[own] == label]
        assert np.exp(table[kept, k]) == pytest.approx(shares[kept][:, parts].sum(1))
    assert common_log_probs(np.full((2, len(attribute.labels)), np.nan), attribute, alignment) is None


def test_shares_are_those_of_the_predicted_labels() -> None:
    log_probs = np.log([[0.25, 0.75], [0.5, 0.5], [0.1, 0.9], [0.2, 0.8]])
    log_probs[1] = np.nan
    shares = shares_of(["a", "b", None, "b"], log_probs, ["a", "b"])
    assert shares == [pytest.approx(0.25), None, None, pytest.approx(0.8)]


def test_rows_without_truth_or_outcome_are_counted_and_not_judged() -> None:
    gender = get("gender")
    values = ["Male", "Female", None, "Male"]
    truth = Truth("gender", values, align(gender, ["Male", "Female"], shipped()))
    log_probs = np.log(np.full((4, 2), 0.5))
    predicted, outcomes = ["Male", None, "Male", None], ["ok", "refused", "ok", None]
    reading = Reading("m", truth, truth.labels(), predicted, outcomes, [0.5, None, 0.5, None], log_probs, 2)
    assert reading.judged == [0, 1]
    records = reading.records({"tone": ["dark", "fair", "fair", "dark"]})
    assert (records.truth, records.predicted, records.outcomes) == (
        ["Male", "Female"],
        ["Male", None],
        ["ok", "refused"],
    )
    assert (records.not_asked, records.no_truth, records.extra, records.years) == (1, 1, 2, None)
    assert records.groups == {"tone": ["dark", "fair"]}
    assert records.log_probs is not None
    assert records.log_probs.shape == (2, 2)


def test_ages_in_years_are_kept_as_numbers() -> None:
    age = get("age5")
    truth = Truth("age", [31.0, None], align(age, [31.0], shipped()))
    labels = truth.labels()
    reading = Reading("m", truth, labels, [labels[0], None], ["ok", None], [None, None], None)
    records = reading.records({})
    assert records.years == [31.0]
    assert not math.isnan(records.years[0])
