"""The text report: every figure with its n, a dash for what is undefined, a star for small cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facevlm.attributes import define
from facevlm.evaluation import comparison
from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate
from facevlm.reports import text as report
from facevlm.reports import verdict

HAIR = define("hair", ["dark", "fair", "grey"], "which hair colour does the person seem to have?")
STAGE = define("stage", ["child", "teen", "adult"], "how old does the person seem?", kind="ordinal")


@pytest.fixture
def hair() -> AttributeEvaluation:
    """40 faces: 24 right, 8 wrong, 8 refused; 30 inside, 10 outside; grey is true 8 times and never said."""
    return evaluate(
        HAIR,
        Records(
            truth=["dark"] * 24 + ["grey"] * 8 + ["fair"] * 8,
            predicted=["dark"] * 24 + ["dark"] * 8 + [None] * 8,
            outcomes=["ok"] * 32 + ["refused"] * 8,
            groups={"place": ["in"] * 30 + ["out"] * 10, "light": ["dim"] * 40},
            not_asked=3,
            no_truth=5,
        ),
        alignment="hair9 -> hair",
    )


@pytest.fixture
def stage() -> AttributeEvaluation:
    return evaluate(STAGE, Records(["child", "teen", "adult"], ["child", "adult", "child"], ["ok"] * 3))


def lines(text: str, start: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(start)]


def test_the_summary_has_a_line_per_attribute(hair: AttributeEvaluation, stage: AttributeEvaluation) -> None:
    text = report.text([hair, stage])
    header = " ".join(next(line for line in text.splitlines() if line.startswith("attribute ")).split())
    assert header == "attribute n answered accuracy 95 % Wilson balanced macro P macro R macro F1 kappa not ok"
    summary = lines(text, "hair ")[0]
    # balanced: (1 + 0 + 0) / 3; precision: (24/32 + 0 + 0) / 3; F1: (2 * .75 / 1.75) / 3
    assert summary[:10] == ["hair", "40", "80.0", "60.0", "44.6", "-", "73.7", "33.3", "25.0", "33.3"]
    # kappa: chance is 24 * 32 / 40 ** 2
    assert summary[10:12] == ["28.6", "0.23"]
    assert " ".join(summary[12:]) == "8 refused, 3 not asked, 5 no ground truth"


def test_the_verdict_comes_first(hair: AttributeEvaluation) -> None:
    first = " ".join(report.text([hair]).partition("\n\n")[0].split())
    assert first == verdict.text([hair.to_dict()])
    assert first.startswith(
        "Judged by the ground truth, hair is right for 60.0 % of 40 faces (95 % Wilson 44.6 - 73.7)"
    )


def test_an_attribute_where_all_is_well_has_nothing_to_add(stage: AttributeEvaluation) -> None:
    summary = lines(report.text([stage]), "stage ")[0]
    assert (summary[1], summary[-1]) == ("3*", "-")


def test_class_rows_have_a_dash_where_a_figure_is_undefined(hair: AttributeEvaluation) -> None:
    text = report.text([hair])
    assert lines(text, "dark") == [["dark", "24", "32", "75.0", "100.0", "86.2", "-", "100.0", "85.7"]]
    assert lines(text, "grey") == [["grey", "8", "0", "-", "0.0", "0.0", "-", "32.4", "0.0"]]


def test_small_groups_have_a_star(hair: AttributeEvaluation) -> None:
    text = report.text([hair])
    assert lines(text, "in ")[0][1:4] == ["30", "100.0", "80.0"]
    assert lines(text, "out ")[0][1:4] == ["10*", "20.0", "0.0"]
    assert text.endswith("* fewer than 30 faces.\n")


def test_pairs_are_shown_unless_they_are_not_wanted(hair: AttributeEvaluation) -> None:
    pair = ["out", "dim", "10*"]
    assert pair in [row[:3] for row in lines(report.text([hair]), "out")]
    assert pair not in [row[:3] for row in lines(report.text([hair], pairs=False), "out")]
    assert ["out", "10*"] in [row[:2] for row in lines(report.text([hair], pairs=False), "out")]


def test_the_alignment_stands_in_the_heading(hair: AttributeEvaluation) -> None:
    assert "\nhair  (hair9 -> hair)\n=====================\n\nclass " in report.text([hair])


def test_ordinal_figures_stand_under_the_heading(hair: AttributeEvaluation, stage: AttributeEvaluation) -> None:
    assert "\nstage\n=====\n\nOff by one at most: 66.7, mean error: 1.00 groups\n\nclass " in report.text([stage])
    assert "off by one" not in report.text([hair]).lower()


def test_ordinal_figures_have_a_dash_where_nothing_was_answered() -> None:
    refused = Records(["child", "teen"], [None, None], ["refused"] * 2)
    for records in (refused, Records([], [], [])):
        assert "Off by one at most: -, mean error: - groups" in report.text([evaluate(STAGE, records)])


def test_an_evaluation_without_faces_is_all_dashes() -> None:
    summary = lines(report.text([evaluate(HAIR, Records([], [], []))]), "hair ")[0]
    assert summary == ["hair", "0*", *["-"] * 9]


def test_gaps_stand_under_their_table() -> None:
    records = Records(
        truth=["dark"] * 60,
        predicted=["dark"] * 45 + ["fair"] * 15,
        outcomes=["ok"] * 60,
        groups={"place": ["out"] * 30 + ["in"] * 30},
    )
    text = report.text([evaluate(HAIR, records)])
    [gap] = [line for line in text.splitlines() if line.startswith("Gap in accuracy")]
    assert gap.startswith("Gap in accuracy: in 50.0, out 100.0, difference 50.0 (")
    assert gap.endswith("), p < 0.001; chance alone gives 9.2")
    assert "\nNo gap in answered\n" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_groups_that_cannot_be_compared_have_no_gap(hair: AttributeEvaluation) -> None:
    assert "Gap in" not in report.text([hair])
    assert "No gap" not in report.text([hair])


def test_calibration_stands_under_the_heading() -> None:
    log_probs = np.log(np.array([[0.8, 0.1, 0.1]] * 40))
    records = Records(["dark"] * 30 + ["fair"] * 10, ["dark"] * 40, ["ok"] * 40, log_probs=log_probs)
    text = report.text([evaluate(HAIR, records)])
    # Brier: 30 * (.04 + .01 + .01) + 10 * (.64 + .81 + .01), over 40
    assert "Brier score 0.41.\nCalibration error (ECE) 5.0 %, no more than chance: with confidences" in text
    assert text.index("Negative log-likelihood 0.74 nats") < text.index("Calibration error")
    assert "No threshold can be promised at this n for 90, 95, 99 % right." in text
    assert "- to -" not in text
    assert "Calibration" not in report.text([evaluate(HAIR, Records(["dark"], ["dark"], ["ok"]))])


def test_a_comparison_is_two_tables_and_one_per_group() -> None:
    truth = np.zeros(40, dtype=np.int64)
    first, second = truth.copy(), np.array([0] * 30 + [1] * 10)
    groups = {"place": ["in"] * 30 + ["out"] * 10}
    result = comparison.compare("hair", ["dark", "fair"], truth, {"one": first, "two": second}, groups)
    text = report.comparison_text([result])
    assert text.startswith("hair\n====\n\na ")
    [pair] = lines(text, "one")
    assert pair[:7] == ["one", "two", "40", "30", "10", "0", "0"]
    assert (pair[7], pair[-2], pair[-1]) == ("25.0", "0.002", "75.0")
    assert lines(text, "all ") == [
        ["all", "runs", "n", "flips", "95", "%", "Wilson"],
        ["all", "40", "25.0", "14.2", "-", "40.2"],
    ]
    assert [row[:3] for row in lines(text, "in")] == [["in", "30", "0.0"]]
    assert [row[:3] for row in lines(text, "out")] == [["out", "10*", "100.0"]]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (1.0, "100.0"), (0.12345, "12.3"), (math.nan, "-"), (math.inf, "-")]
)
def test_a_share_is_per_cent_with_one_decimal(value: float, shown: str) -> None:
    assert report.share(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.00"), (1.236, "1.24"), (math.nan, "-"), (-math.inf, "-")])
def test_a_number_has_two_decimals(value: float, shown: str) -> None:
    assert report.number(value) == shown
