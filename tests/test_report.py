"""The text report: every figure with its n, a dash for what is undefined, a star for small cells."""

from __future__ import annotations

import math

import pytest

from facevlm import report
from facevlm.attributes import define
from facevlm.evaluation import AttributeEvaluation, Records, evaluate

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
    header = " ".join(text.splitlines()[0].split())
    assert header == "attribute n answered accuracy 95 % Wilson balanced macro P macro R macro F1 not ok"
    summary = lines(text, "hair ")[0]
    # balanced: (1 + 0 + 0) / 3; precision: (24/32 + 0 + 0) / 3; F1: (2 * .75 / 1.75) / 3
    assert summary[:10] == ["hair", "40", "80.0", "60.0", "44.6", "-", "73.7", "33.3", "25.0", "33.3"]
    assert summary[10] == "28.6"
    assert " ".join(summary[11:]) == "8 refused, 3 not asked, 5 no ground truth"


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
    assert summary == ["hair", "0*", *["-"] * 10]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (1.0, "100.0"), (0.12345, "12.3"), (math.nan, "-"), (math.inf, "-")]
)
def test_a_share_is_per_cent_with_one_decimal(value: float, shown: str) -> None:
    assert report.share(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.00"), (1.236, "1.24"), (math.nan, "-"), (-math.inf, "-")])
def test_a_number_has_two_decimals(value: float, shown: str) -> None:
    assert report.number(value) == shown
