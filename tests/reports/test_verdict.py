"""The three sentences of an evaluation, and the groups that they name: from made-up figures, in every format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from facevlm import reports
from facevlm.attributes import define
from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate
from facevlm.reports import text, verdict, worst
from facevlm.reports.source import Source
from facevlm.reports.structure import Report, Table

LABELS = ("dark", "fair", "grey")
HAIR = define("hair", list(LABELS), "which hair colour does the person seem to have?")


def hair(parts: dict[str, tuple[int, int, str]], name: str = "hair") -> AttributeEvaluation:
    """Faces of places: how many there are, how many of them are right, their true label."""
    truth: list[str] = []
    said: list[str | None] = []
    places: list[str | None] = []
    for place, (n, right, label) in parts.items():
        other = next(one for one in LABELS if one != label)
        truth += [label] * n
        said += [label] * right + [other] * (n - right)
        places += [place] * n
    records = Records(truth, said, ["ok"] * len(truth), {"place": places})
    return evaluate(HAIR, records, predicted_attribute=name, draws=20)


def said(*evaluations: AttributeEvaluation) -> list[str]:
    """The sentences of a verdict."""
    whole = verdict.text([e.to_dict() for e in evaluations])
    return re.split(r"(?<=[a-z)\d])\. (?=[A-Z])", whole)


def built(*evaluations: AttributeEvaluation) -> Report:
    kept = [json.loads(json.dumps(e.to_dict())) for e in evaluations]
    evaluation: dict[str, Any] = {"eval_key": "e", "ground_truth": {}, "views": {}, "evaluations": kept}
    return reports.build(Source("d", "p", evaluation))


def test_a_clear_difference_is_said_with_its_n_and_interval() -> None:
    how, whom, sure = said(hair({"in": (100, 50, "dark"), "out": (300, 290, "fair"), "roof": (50, 45, "fair")}))
    assert how == "Judged by the ground truth, hair is right for 85.6 % of 450 faces (95 % Wilson 82.0 - 88.5)"
    assert whom == "It is worst for place 'in' in hair: 50.0 % of 100 faces right, 35.6 points below all faces"
    assert sure == (
        "For place 'in' this is a clear difference: its 95 % interval, 40.4 - 59.6 at n = 100, lies wholly below that "
        "of all faces, 82.0 - 88.5 at n = 450."
    )


def test_what_may_be_chance_is_said_to_be_no_difference_that_shows() -> None:
    _, whom, sure = said(hair({"in": (40, 33, "dark"), "out": (60, 54, "fair")}))
    assert whom.startswith("It is worst for place 'in' in hair: 82.5 % of 40 faces right, 4.5 points below")
    assert "this is no difference that these numbers can show: its 95 % interval, 68.1 - 91.3 at n = 40" in sure


def test_a_shown_difference_stands_before_a_larger_one_that_may_be_chance() -> None:
    parts = {"sea": (30, 25, "dark"), "in": (2000, 1700, "fair"), "out": (4000, 3800, "fair")}
    evaluation = hair(parts)
    rows = {row.values[0]: row.cell for row in evaluation.groups[0].rows}
    assert rows["sea"].figures["accuracy"] < rows["in"].figures["accuracy"]  # type: ignore[operator]
    _, whom, sure = said(evaluation)
    assert whom.startswith("It is worst for place 'in' in hair: 85.0 % of 2,000 faces")
    assert sure.startswith("For place 'in' this is a clear difference")


def test_the_clearly_worst_class_is_named_however_few_it_has(tmp_path: Path) -> None:
    evaluation = hair({"in": (150, 140, "dark"), "out": (150, 138, "fair"), "roof": (19, 4, "fair")})
    _, whom, _ = said(evaluation)
    assert "; small, but clearly worse than all faces: place 'roof' in hair (21.1 % of 19, 8.5 - 43.3)" in whom
    report = built(evaluation)
    glance = report.sections[0]
    [small] = [b for b in glance.blocks if isinstance(b, Table) and b.title == "Small groups that are clearly worse"]
    [row] = small.rows
    assert [cell.shown for cell in row.cells[:6]] == ["hair", "place", "roof", "19*", "21.1", "8.5 - 43.3"]
    assert row.muted
    for path in reports.write(report, tmp_path):
        assert "Small groups that are clearly worse" in path.read_text(encoding="utf-8")


def test_a_label_by_which_no_field_groups_is_a_group_too() -> None:
    records = Records(
        ["dark"] * 150 + ["fair"] * 150 + ["grey"] * 19,
        ["dark"] * 150 + ["fair"] * 150 + ["dark"] * 15 + ["grey"] * 4,
        ["ok"] * 319,
    )
    _, whom, _ = said(evaluate(HAIR, records, draws=20))
    assert whom == (
        "No group of 30 faces or more lies below all faces; small, but clearly worse than all faces: true label 'grey' "
        "in hair (21.1 % of 19, 8.5 - 43.3)"
    )


@pytest.mark.parametrize(("n", "named"), [(1, 0), (4, 0), (5, 1), (29, 1), (30, 0)])
def test_small_is_from_five_faces_to_twenty_nine(n: int, named: int) -> None:
    evaluation = hair({"in": (150, 140, "dark"), "out": (150, 138, "fair"), "roof": (n, 0, "fair")})
    assert len(worst.small([evaluation.to_dict()])) == named
    assert len([g for g in worst.large([evaluation.to_dict()]) if g.cell["n"] == n]) == (n == 30)


def test_of_many_attributes_the_best_and_the_worst_are_told() -> None:
    made = [hair({"in": (50, 50 - k, "dark"), "out": (50, 48, "fair")}, f"a{k}") for k in (3, 0, 9, 4, 5)]
    how = said(*made)[0]
    assert "a0 is right for 98.0 % of 100 faces" in how
    assert " and a9 for 89.0 % of 100 (" in how
    assert "3 more attributes lie between them" in how
    assert "a4" not in how


def test_unanswered_faces_and_a_small_number_are_said() -> None:
    records = Records(["dark"] * 10, ["dark"] * 8 + [None] * 2, ["ok"] * 8 + ["refused"] * 2, {"place": ["in"] * 10})
    how, whom, sure = said(evaluate(HAIR, records, draws=20))
    assert how.endswith("a small number); faces without an answer count as wrong")
    assert whom == "For whom it is worst cannot be said, since no group has 30 faces or more"
    assert sure.startswith("So these 10 faces show no difference between groups")


def test_nothing_judged_is_said_in_three_sentences() -> None:
    assert len(said(evaluate(HAIR, Records([], [], []), draws=20))) == 3


def test_all_formats_begin_with_the_same_sentences(tmp_path: Path) -> None:
    evaluation = hair({"in": (100, 50, "dark"), "out": (300, 290, "fair")})
    whole = verdict.text([evaluation.to_dict()])
    assert " ".join(text.text([evaluation]).partition("\n\n")[0].split()) == whole
    page, marked, data = (p.read_text(encoding="utf-8") for p in reports.write(built(evaluation), tmp_path))
    assert marked.split("\n\n")[3] == whole
    assert page.partition("<h2>At a glance</h2>\n")[2].startswith(f"<p>{whole.replace(chr(39), '&#x27;')}</p>")
    assert json.loads(data)["sections"][0]["blocks"][0]["text"] == whole
