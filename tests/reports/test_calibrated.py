"""What is said of confidences: beside chance, with the reason where something is undefined, and of old evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facevlm.evaluation.calibration import assess, scaled, selective
from facevlm.evaluation.evaluate import to_plain
from facevlm.evaluation.groups import grouping
from facevlm.evaluation.thresholds import steps
from facevlm.reports import calibrated


def confidence(n: int, heat: float = 1.0, right: bool | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    table = scaled(rng.normal(scale=3, size=(n, 3)), 1.0)
    truth = (np.exp(table).cumsum(1) > rng.random((n, 1))).argmax(1)
    table = scaled(table, heat)
    answer = table.argmax(1)
    truth = truth if right is None else answer if right else (answer + 1) % 3
    found = to_plain(assess(table, truth, answer, [grouping("place", ["in", "out"] * (n // 2))]))
    assert isinstance(found, dict)
    return found


def test_an_error_that_is_chance_is_called_so_and_one_beyond_is_not() -> None:
    calm, hot = confidence(300), confidence(300, 0.3)
    assert "no more than chance" in calibrated.error(calm)
    assert ", more than chance" in calibrated.error(hot)
    assert f"up to {100 * hot['floor']['high']:.1f} %" in calibrated.error(hot)


def test_a_temperature_says_what_it_gains_or_why_there_is_none() -> None:
    assert "nothing is gained" in calibrated.temperature(confidence(300))
    assert ": a gain (95 % +" in calibrated.temperature(confidence(300, 0.3))
    assert "an end of the search from 0.05 to 20.00" in calibrated.temperature(confidence(100, right=True))
    few = calibrated.temperature(confidence(20))
    assert few == "No temperature is fitted: 20 faces with scores are fewer than 30."


def test_promises_are_told_apart_from_what_is_lacking() -> None:
    table = calibrated.promised(confidence(100, right=True))
    assert table is not None
    wanted, standing, threshold, n, share, accuracy, ends = (
        [row.cells[k].shown for row in table.rows] for k in range(7)
    )
    assert wanted == ["90 % right", "95 % right", "99 % right"]
    assert standing[:2] == ["promised at 95 % confidence"] * 2
    assert standing[2].startswith("none at this n: it takes 299 kept answers that are all right")
    assert [n[0], share[0], accuracy[0], ends[0]] == ["100", "100.0", "100.0", "97.0 - 100.0"]
    assert threshold[2] == "-"
    none = calibrated.why_none(confidence(100, right=False)["promises"][0])
    assert none.endswith("no part of these answers is that right, so that no number of such faces is sure to do")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.78, "0.78"), (0.5, "0.50"), (1.0, "1.00"), (0.0, "0.00"), (1e-9, "0.000000001")]
)
def test_a_threshold_has_all_its_digits_and_two_at_least(value: float, shown: str) -> None:
    assert calibrated.threshold(value) == shown


@pytest.mark.parametrize("value", [0.999991, 0.123456789, 1 - 1e-11, 1 / 3, *steps()[::37].tolist()])
def test_a_threshold_is_shown_as_it_is(value: float) -> None:
    assert float(calibrated.threshold(value)) == value


def test_a_shown_threshold_of_the_curve_keeps_the_faces_beside_it() -> None:
    rng = np.random.default_rng(2)
    sure = np.concatenate([rng.random(300), 1 - rng.random(100) * 1e-6])
    for point in selective(sure, rng.random(400) < sure, 400, 50):
        assert (sure >= float(calibrated.threshold(point.threshold))).sum() == point.n


def test_groups_stand_beside_what_chance_gives_them() -> None:
    table = calibrated.by_groups(confidence(300, 0.3))
    assert table is not None
    assert [row.cells[1].shown for row in table.rows] == ["in", "out"]
    assert [row.cells[-1].shown for row in table.rows] == ["< 0.001", "< 0.001"]
    assert calibrated.by_groups(confidence(40)) is None, "groups of 20"


def test_an_evaluation_of_an_earlier_version_is_told_as_far_as_it_goes() -> None:
    old = confidence(100) | {"temperature": 1.2, "ece_before": 0.1, "ece_after": 0.2}
    for late in ("nll", "floor", "floor_mass", "scaling", "promises", "groups"):
        del old[late]
    said = calibrated.words(old, old["n"])
    assert said[0].startswith("Brier score")
    assert said[1].endswith(calibrated.OLD)
    assert said[2] == "Temperature 1.20, fitted on one half of the faces."
    assert calibrated.promised(old) is None
    assert calibrated.by_groups(old) is None
    assert calibrated.promises_told(old) == []
    assert "negative log-likelihood, nats" not in dict(calibrated.facts_of(old))
