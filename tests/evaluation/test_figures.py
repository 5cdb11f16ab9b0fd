"""The table of figures: what may be registered, what comes of one, and what a cell offers."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from facevlm.attributes import define
from facevlm.errors import InputError, UnknownName
from facevlm.evaluation import figures, metrics
from facevlm.evaluation.evaluate import Cell, Records, evaluate
from facevlm.evaluation.figures import Figure
from facevlm.evaluation.gaps import gap
from facevlm.evaluation.groups import grouping
from facevlm.evaluation.metrics import Counts, Floats
from facevlm.reports import text

HAIR = define("hair", ["dark", "fair"], "which hair colour does the person seem to have?")
STAGE = define("stage", ["child", "teen", "adult"], "how old does the person seem?", kind="ordinal")
RECORDS = Records(
    truth=["dark"] * 40 + ["fair"] * 40,
    predicted=["dark"] * 30 + ["fair"] * 45 + [None] * 5,
    outcomes=["ok"] * 75 + ["refused"] * 5,
    groups={"place": ["in"] * 40 + ["out"] * 40},
)


def errors(counts: Counts) -> Floats:
    """Share wrong of all faces."""
    return np.asarray(1 - metrics.accuracy(counts))


WRONG = Figure(
    "wrong",
    "wrong answers",
    errors,
    "Share wrong of all faces.",
    interval="wilson",
    answered=True,
    gaps=True,
    lower_is_better=True,
)


def test_a_registered_figure_is_computed_everywhere() -> None:
    with figures.registered(WRONG):
        result = evaluate(HAIR, RECORDS, draws=50)
    cell = result.overall
    assert cell.wrong == pytest.approx(1 - cell.accuracy) == pytest.approx(15 / 80)
    assert (cell.wrong_low, cell.wrong_high) == pytest.approx(metrics.wilson(15, 80))
    assert cell.answered["wrong"] == pytest.approx(10 / 75)
    assert result.to_dict()["overall"]["wrong"] == cell.wrong
    by_group = {row.values[0]: row.cell.wrong for row in result.groups[0].rows}
    assert by_group == pytest.approx({"in": 10 / 40, "out": 5 / 40})
    [apart] = [g for g in result.groups[0].gaps if g.figure == "wrong"]
    assert (apart.worst, apart.best, apart.low_value, apart.high_value) == (("in",), ("out",), 0.25, 0.125)
    assert apart.difference == pytest.approx(0.125)
    assert apart.difference_low < 0.125 < apart.difference_high
    assert "wrong" not in evaluate(HAIR, RECORDS, draws=50).overall.figures


def test_a_registered_figure_stands_in_the_text() -> None:
    number = dataclasses.replace(WRONG, unit="number", short="wrong")
    with figures.registered(number):
        shown = text.text([evaluate(HAIR, RECORDS, draws=50)])
    lines = shown.splitlines()
    header, _, row = lines[(at := next(k for k, x in enumerate(lines) if x.startswith("attribute "))) : at + 3]
    assert " ".join(header.split()).endswith("kappa wrong 95 % Wilson not ok")
    assert "0.19" in row.split()
    assert "Figures in per cent, kappa, wrong as they are." in shown
    assert "No clear gap in wrong answers: in 0.25, out 0.12, difference 0.12 (0.00 - 0.29), p 0." in shown
    assert "kappa    not ok" in text.text([evaluate(HAIR, RECORDS, draws=50)])


def test_a_bootstrap_interval_holds_its_figure() -> None:
    spread = Figure("spread", "spread", metrics.balanced_accuracy, interval="bootstrap")
    with figures.registered(spread):
        cell = evaluate(HAIR, RECORDS, draws=100).overall
    assert cell.spread_low < cell.spread < cell.spread_high


def test_intervals_of_several_figures_are_those_of_each() -> None:
    counts = np.random.default_rng(5).integers(0, 30, (4, 3, 4))
    chosen = [figure for figure in figures.table() if figure.interval]
    together = figures.all_bounds(chosen, counts, 200, 7)
    assert len(together) == len(chosen) > 2
    for figure in chosen:
        np.testing.assert_array_equal(together[figure.name], figure.bounds(counts, 200, 7))


def test_an_ordinal_figure_is_for_ordinal_attributes_alone() -> None:
    far = Figure("far", "far off", metrics.mean_bin_error, unit="groups", ordinal=True, gaps=True, answered=True)
    with figures.registered(far):
        nominal = evaluate(HAIR, RECORDS, draws=20)
        ordinal = evaluate(STAGE, Records(["child", "adult"], ["teen", "adult"], ["ok"] * 2), draws=20)
        assert "mean error: 0.50 groups, far off: 0.50 groups" in text.text([ordinal])
    assert nominal.overall.far is None
    assert "far" not in nominal.overall.answered
    assert "far" not in {g.figure for g in nominal.groups[0].gaps}
    assert ordinal.overall.far == ordinal.overall.answered["far"] == 0.5


@pytest.mark.parametrize("name", ["f1", "n", "low", "f1_low", "outcomes", "macro_f1"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}', which is taken. Give it another one"):
        figures.register(Figure(name, "mine", errors))


@pytest.mark.parametrize("title", ["Macro F1", "precision", "fscore"])
def test_a_title_that_is_taken_here_or_in_fiftyone_is_refused(title: str) -> None:
    with pytest.raises(InputError, match=f"titled '{title}', which is taken"):
        figures.register(dataclasses.replace(WRONG, title=title))


def test_two_figures_of_one_name_are_refused() -> None:
    with figures.registered(WRONG), pytest.raises(InputError, match="'wrong', which is taken"):
        figures.register(WRONG)
    assert WRONG not in figures.table()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "my figure"}, InputError, "expected letters, digits and _"),
        ({"shown_in": ("txt",)}, UnknownName, "Unknown surface 'txt'.*Did you mean 'text'"),
        ({"unit": "percent"}, UnknownName, "Unknown unit 'percent'"),
        ({"interval": "wilsons"}, UnknownName, "Unknown kind of interval 'wilsons'.*Did you mean 'wilson'"),
    ],
    ids=["name", "surface", "unit", "interval"],
)
def test_what_is_unknown_is_refused(change: dict[str, Any], error: type[InputError], message: str) -> None:
    with pytest.raises(error, match=message):
        figures.register(dataclasses.replace(WRONG, **change))
    assert figures.table() == figures.SHIPPED


def test_a_function_of_one_matrix_alone_is_refused_with_the_shape() -> None:
    alone = Figure("alone", "alone", lambda counts: counts.sum())
    with figures.registered(alone), pytest.raises(InputError, match=r"'alone' gave values of shape \(\).*\(1,\)"):
        evaluate(HAIR, RECORDS, draws=20)


def test_every_shipped_figure_can_be_registered_and_is_shown_somewhere() -> None:
    names = [name for figure in figures.SHIPPED for name in (figure.name, *figure.ends)]
    assert len(set(names)) == len(names)
    assert all(figure.shown_in and figure.meaning for figure in figures.SHIPPED)
    assert {surface for figure in figures.SHIPPED for surface in figure.shown_in} == set(figures.SURFACES)
    native = [figure.key for figure in figures.shown("fiftyone")]
    assert native == ["macro_f1"]
    assert not set(native) & set(figures.NATIVE)


def test_a_cell_offers_its_figures_by_name() -> None:
    cell = evaluate(HAIR, RECORDS, draws=20).overall
    assert cell.accuracy == cell.figures["accuracy"] == pytest.approx(65 / 80)
    assert {"accuracy", "low", "f1_high", "kappa", "n"} <= set(dir(cell))
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell)), dataclasses.replace(cell, n=80)):
        assert isinstance(other, Cell)
        assert other == cell
        assert other.f1 == cell.f1
    with pytest.raises(AttributeError, match=r"Unknown figure 'acuracy'\. Known: coverage, accuracy, low"):
        _ = cell.acuracy


def test_a_figure_is_found_by_the_name_of_an_earlier_version() -> None:
    assert figures.find("macro_f1") is figures.find("f1")
    assert figures.find("f1").value({"macro_f1": 0.5}) == 0.5
    gone = figures.find("of_old")
    assert (gone.name, gone.title, gone.shown_in) == ("of_old", "of old", ())
    assert np.isnan(gone.of(np.ones((2, 3, 4), dtype=np.int64))).all()


def test_where_lower_is_better_the_worst_group_is_the_highest() -> None:
    part = grouping("place", ["in"] * 40 + ["out"] * 40)
    counts = np.array([[[20, 20, 0], [0, 0, 0]], [[36, 4, 0], [0, 0, 0]]])
    by_errors, by_hits = gap(part, counts, WRONG, draws=200), gap(part, counts, figures.find("accuracy"), draws=200)
    assert by_errors is not None
    assert by_hits is not None
    assert (by_errors.worst, by_errors.best) == (by_hits.worst, by_hits.best) == (("in",), ("out",))
    assert by_errors.difference == pytest.approx(by_hits.difference)
    assert by_errors.difference_low == pytest.approx(by_hits.difference_low)
    assert (by_errors.low_value, by_errors.high_value) == pytest.approx((0.5, 0.1))
