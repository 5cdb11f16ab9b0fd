"""Every face is in one place: what tables count, and what they say is left out, add up to all faces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facevlm.attributes import define
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, Records, evaluate
from facevlm.reports import attribute, text
from facevlm.reports.brief import brief
from facevlm.reports.structure import Section, Table

LABELS = ("a", "b", "c")
N = 400


@pytest.fixture(scope="module")
def evaluation() -> AttributeEvaluation:
    """Of 400 faces some have no answer, no scores, no group, no band, or are in a small group or a lone band."""
    rng = np.random.default_rng(6)
    truth = [LABELS[k] for k in rng.integers(0, 2, N)]
    outcomes = [("ok", "ok", "ok", "refused", "no_face")[k] for k in rng.integers(0, 5, N)]
    predicted = [t if rng.random() < 0.8 else "b" for t in truth]
    log_probs = np.log(rng.dirichlet([4, 2, 1], N))
    log_probs[rng.random(N) < 0.1] = math.nan
    light = [(None, "bright", "dim", "dim", "rare")[k] for k in [*rng.integers(0, 4, N - 20), *[4] * 20]]
    camera = [("x", "y", None)[k] for k in rng.choice(3, N, p=[0.5, 0.4, 0.1])]
    band = [(None, "young", "old")[k] for k in rng.integers(0, 3, N)]
    band = ["lone" if one == "bright" and rng.random() < 0.2 else b for one, b in zip(light, band, strict=True)]
    records = Records(
        truth,
        [p if outcome == "ok" else None for p, outcome in zip(predicted, outcomes, strict=True)],
        outcomes,
        {"light": light, "camera": camera},
        not_asked=7,
        no_truth=11,
        extra=3,
        log_probs=log_probs,
        adjust={"band": band},
    )
    return evaluate(define("letter", LABELS, "Which letter?"), records, draws=20)


def test_outcomes_classes_and_the_matrix_hold_every_judged_face_once(evaluation: AttributeEvaluation) -> None:
    assert evaluation.overall.n == N == sum(evaluation.overall.outcomes.values())
    assert sum(row.n for row in evaluation.classes) == N
    assert sum(row.said for row in evaluation.classes) == evaluation.overall.outcomes["ok"]
    assert sum(map(sum, evaluation.confusion)) == N
    assert sum(row[-1] for row in evaluation.confusion) == N - evaluation.overall.outcomes["ok"]


def test_groups_and_those_of_no_group_are_all_faces(evaluation: AttributeEvaluation) -> None:
    shown = text.text([evaluation])
    for table in evaluation.groups:
        inside = sum(row.cell.n for row in table.rows)
        assert all(sum(row.cell.outcomes.values()) == row.cell.n for row in table.rows)
        assert inside < N
        no = " or no ".join(table.by)
        assert f"{N - inside} of {N} faces have no {no}: they are in no group." in " ".join(shown.split())
        for gap in table.gaps:
            few = [row.cell.n for row in table.rows if row.cell.n < SMALL]
            assert gap.n + sum(few) == inside
            assert (gap.compared, gap.left_out) == (len(table.rows) - len(few), len(few))


def test_adjusted_figures_and_what_they_leave_out_are_all_grouped_faces(evaluation: AttributeEvaluation) -> None:
    for table in evaluation.groups:
        held = table.adjusted
        assert held is not None
        left = sum(stratum.n for stratum in held.without_support)
        assert held.n + left + held.unknown + held.small == sum(row.cell.n for row in table.rows)
        assert sum(row.n for row in held.rows) == held.n
    light = evaluation.groups[0].adjusted
    assert light is not None
    assert all((light.n, light.without_support, light.unknown, light.small))


def test_scored_faces_and_those_without_scores_are_the_answered_ones(evaluation: AttributeEvaluation) -> None:
    confidence = evaluation.confidence
    assert confidence is not None
    assert sum(one.n for one in confidence.bins) == confidence.n
    lacking = evaluation.overall.outcomes["ok"] - confidence.n
    assert lacking > 0
    said = f"{lacking} answered faces have no scores: they are in none of these figures."
    assert said in " ".join(text.text([evaluation]).split())
    assert said in str(attribute.section(evaluation.to_dict(), "letter"))


def test_the_first_screen_and_the_report_say_who_was_not_judged(evaluation: AttributeEvaluation) -> None:
    told = " ".join(brief([evaluation]).split())
    assert "letter: 11 without ground truth, 7 not asked, 3 boxes of no true face." in told
    assert f"light 'rare' ({sum(row.cell.n for row in evaluation.groups[0].rows if row.values == ('rare',))})" in told
    section = attribute.section(evaluation.to_dict(), "letter")
    rows = {row.cells[0].shown: row.cells[1].shown for table in tables(section) for row in table.rows}
    assert (rows["not asked"], rows["no ground truth"], rows["predictions of no face"]) == ("7", "11", "3")
    assert sum(int(rows[name]) for name in ("ok", "refused", "unparsed", "no_face", "failed")) == N


def tables(section: Section) -> list[Table]:
    """Those of outcomes."""
    (answers,) = (below for below in section.sections if below.title == "Answers and refusals")
    return [block for block in answers.blocks if isinstance(block, Table) and block.title == "Outcomes"]
