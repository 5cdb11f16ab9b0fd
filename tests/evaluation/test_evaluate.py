"""Records into figures, checked by hand on small cases."""

from __future__ import annotations

import json
import math

import pytest

from facevlm.attributes import define
from facevlm.evaluation import metrics
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, GroupTable, Records, evaluate
from facevlm.types import Attribute

HAIR = define("hair", ["dark", "fair", "grey", "red"], "which hair colour does the person seem to have?")
STAGE = define("stage", ["child", "teen", "adult", "old"], "how old does the person seem?", kind="ordinal")

# dark: right, right, taken for fair. fair: right, refused. grey: taken for dark. red: neither true nor said.
RECORDS = Records(
    truth=["dark", "dark", "dark", "fair", "fair", "grey"],
    predicted=["dark", "dark", "fair", "fair", None, "dark"],
    outcomes=["ok", "ok", "ok", "ok", "refused", "ok"],
    groups={
        "place": ["in", "out", "in", "out", "in", None],
        "light": ["dim", "dim", "bright", None, "dim", "dim"],
        "lens": [None] * 6,
    },
    not_asked=4,
    no_truth=2,
)


@pytest.fixture
def result() -> AttributeEvaluation:
    return evaluate(HAIR, RECORDS)


def table(result: AttributeEvaluation, *by: str) -> GroupTable:
    return next(t for t in result.groups if t.by == by)


def test_overall_figures(result: AttributeEvaluation) -> None:
    cell = result.overall
    assert cell.n == 6
    assert cell.coverage == pytest.approx(5 / 6)
    assert cell.accuracy == pytest.approx(3 / 6)
    assert (cell.low, cell.high) == metrics.wilson(3, 6)
    assert cell.accuracy_answered == pytest.approx(3 / 5)
    assert cell.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert cell.precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert cell.recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert cell.f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert cell.outcomes == {"ok": 5, "refused": 1}
    assert cell.small


def test_confusion_has_a_last_column_for_no_answer(result: AttributeEvaluation) -> None:
    assert result.confusion == ((2, 1, 0, 0, 0), (0, 1, 0, 0, 1), (1, 0, 0, 0, 0), (0, 0, 0, 0, 0))
    assert result.labels == ("dark", "fair", "grey", "red")


def test_class_rows_hold_the_labels_that_occur(result: AttributeEvaluation) -> None:
    dark, fair, grey = result.classes
    assert (dark.label, dark.n, dark.said) == ("dark", 3, 3)
    assert (dark.precision, dark.recall, dark.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (dark.low, dark.high) == metrics.wilson(2, 3)
    assert (fair.label, fair.n, fair.said, fair.precision, fair.recall) == ("fair", 2, 2, 0.5, 0.5)
    assert (grey.label, grey.n, grey.said, grey.recall, grey.f1) == ("grey", 1, 0, 0.0, 0.0)
    assert math.isnan(grey.precision)


def test_a_label_that_is_said_but_never_true_has_no_recall() -> None:
    rows = evaluate(HAIR, Records(["dark"], ["red"], ["ok"])).classes
    assert [(r.label, r.n, r.said) for r in rows] == [("dark", 1, 0), ("red", 0, 1)]
    assert all(math.isnan(v) for v in (rows[1].recall, rows[1].low, rows[1].high))
    assert rows[1].precision == 0.0


def test_groups_leave_out_faces_of_unknown_group(result: AttributeEvaluation) -> None:
    inside, outside = table(result, "place").rows
    assert (inside.values, inside.cell.n, outside.values, outside.cell.n) == (("in",), 3, ("out",), 2)
    assert inside.cell.accuracy == pytest.approx(1 / 3)
    assert inside.cell.coverage == pytest.approx(2 / 3)
    assert inside.cell.accuracy_answered == pytest.approx(1 / 2)
    assert inside.cell.outcomes == {"ok": 2, "refused": 1}
    assert (outside.cell.accuracy, outside.cell.coverage) == (1.0, 1.0)
    assert outside.cell.outcomes == {"ok": 2}


def test_every_combination_of_groups_is_crossed_and_only_those_that_occur(result: AttributeEvaluation) -> None:
    assert [t.by for t in result.groups] == [
        ("place",),
        ("light",),
        ("lens",),
        ("place", "light"),
        ("place", "lens"),
        ("light", "lens"),
        ("place", "light", "lens"),
    ]
    rows = {row.values: row.cell for row in table(result, "place", "light").rows}
    assert [(*values, cell.n) for values, cell in rows.items()] == [
        ("in", "bright", 1),
        ("in", "dim", 2),
        ("out", "dim", 1),
    ]
    assert rows["in", "dim"].accuracy == 0.5
    assert rows["in", "bright"].accuracy == 0.0


def test_a_field_without_any_value_has_no_rows(result: AttributeEvaluation) -> None:
    assert table(result, "lens").rows == ()
    assert table(result, "place", "lens").rows == ()


def test_the_groups_of_a_complete_field_add_up_to_all() -> None:
    groups = {"side": ["l", "r", "l", "r", "l", "r"]}
    result = evaluate(HAIR, Records(RECORDS.truth, RECORDS.predicted, RECORDS.outcomes, groups))
    cells = [row.cell for row in result.groups[0].rows]
    assert sum(c.n for c in cells) == result.overall.n
    assert sum(c.n * c.accuracy for c in cells) == pytest.approx(result.overall.n * result.overall.accuracy)


def test_ordinal_figures_are_those_of_the_answered_faces() -> None:
    records = Records(
        truth=["child", "child", "child", "teen", "old"],
        predicted=["child", "teen", "old", None, "adult"],
        outcomes=["ok", "ok", "ok", "failed", "ok"],
    )
    cell = evaluate(STAGE, records).overall
    assert cell.off_by_one == pytest.approx(3 / 4)
    assert cell.mean_bin_error == pytest.approx((0 + 1 + 3 + 1) / 4)


def test_nominal_attributes_have_no_ordinal_figures(result: AttributeEvaluation) -> None:
    cells = [result.overall, *(row.cell for t in result.groups for row in t.rows)]
    assert {(c.off_by_one, c.mean_bin_error) for c in cells} == {(None, None)}


@pytest.mark.parametrize(("n", "small"), [(SMALL - 1, True), (SMALL, False)])
def test_small_cells_are_known(n: int, small: bool) -> None:
    assert evaluate(HAIR, Records(["dark"] * n, ["dark"] * n, ["ok"] * n)).overall.small is small


def test_names_and_counts_are_carried_along(result: AttributeEvaluation) -> None:
    assert (result.attribute, result.predicted_attribute, result.alignment) == ("hair", "hair", "")
    assert (result.not_asked, result.no_truth) == (4, 2)
    named = evaluate(HAIR, RECORDS, predicted_attribute="hair9", alignment="hair9 -> hair")
    assert (named.attribute, named.predicted_attribute, named.alignment) == ("hair", "hair9", "hair9 -> hair")


def test_without_records_every_figure_is_undefined() -> None:
    result = evaluate(STAGE, Records([], [], [], {"place": []}))
    cell = result.overall
    assert (cell.n, result.classes, result.groups[0].rows, cell.outcomes) == (0, (), (), {})
    figures = [cell.coverage, cell.accuracy, cell.low, cell.high, cell.f1, cell.off_by_one, cell.mean_bin_error]
    assert [v for v in figures if v is None or not math.isnan(v)] == []


@pytest.mark.parametrize(
    ("attribute", "records"),
    [
        (HAIR, RECORDS),
        (HAIR, Records([], [], [])),
        (STAGE, Records(["child", "old"], [None, None], ["failed", "refused"], {"place": ["in", None]})),
    ],
    ids=["mixed", "empty", "no answers"],
)
def test_a_dict_is_strict_json(attribute: Attribute, records: Records) -> None:
    result = evaluate(attribute, records)
    plain = result.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["overall"]["n"] == result.overall.n


def test_what_is_undefined_is_none_in_a_dict(result: AttributeEvaluation) -> None:
    plain = result.to_dict()
    assert plain["classes"][2]["precision"] is None
    assert plain["classes"][2]["recall"] == 0.0
    assert plain["overall"]["off_by_one"] is None
    assert plain["confusion"][0] == [2, 1, 0, 0, 0]
    assert plain["groups"][0]["rows"][0]["values"] == ["in"]
    assert evaluate(HAIR, Records([], [], [])).to_dict()["overall"]["accuracy"] is None
