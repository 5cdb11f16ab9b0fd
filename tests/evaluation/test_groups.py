"""Groups and bins: against pandas and fairlearn, and by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fair
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from facevlm.errors import InputError
from facevlm.evaluation import figures, metrics
from facevlm.evaluation.gaps import gap
from facevlm.evaluation.groups import SMALL, binned, cross, crossings, grouping
from facevlm.evaluation.metrics import Codes, Counts

checked = settings(deadline=None, max_examples=60)
VALUES = st.sampled_from(["a", "b", "c", None])


@st.composite
def columns(draw: st.DrawFn) -> dict[str, list[str | None]]:
    """One to four fields of equally many faces; values may be missing, fields may be empty."""
    names = ["w", "x", "y", "z"][: draw(st.integers(1, 4))]
    n = draw(st.integers(0, 30))
    return {name: draw(st.lists(VALUES, min_size=n, max_size=n)) for name in names}


def test_groups_by_one_field() -> None:
    part = grouping("place", ["out", None, "in", "out"])
    assert (part.by, part.keys, part.codes.tolist()) == (("place",), (("in",), ("out",)), [1, -1, 0, 1])
    none = grouping("place", [None, None])
    assert (none.keys, none.codes.tolist()) == ((), [-1, -1])
    assert grouping("place", []).codes.shape == (0,)


@pytest.mark.parametrize(
    "in_order",
    [
        ["2", "10", "100"],
        ["-3", "-1.5", "0", "0.25", "0.5", "1e3"],
        ["1", "10", "unknown"],
        ["0-2", "3-9", "10-19", "20-29", "more than 70"],
        ["1: below 20", "2: from 20 below 100", "3: from 100"],
        ["False", "True"],
        ["a2b10", "a10b2", "nan"],
        ["01", "1", "1.0"],
    ],
)
def test_numbers_are_in_their_own_order(in_order: list[str]) -> None:
    part = grouping("count", [*reversed(in_order), None])
    assert [key[0] for key in part.keys] == in_order
    assert part.codes.tolist() == [*reversed(range(len(in_order))), -1]


@given(columns())
@checked
def test_crossed_groups_are_those_of_pandas(fields: dict[str, list[str | None]]) -> None:
    found = cross([grouping(name, values) for name, values in fields.items()])
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in fields.items()})
    expected = {
        key: rows.index.tolist() for key, rows in frame.groupby(list(fields), dropna=True, sort=True) if len(rows)
    }
    assert found.by == tuple(fields)
    assert list(found.keys) == list(expected)
    assert [np.flatnonzero(found.codes == k).tolist() for k in range(len(found.keys))] == list(expected.values())
    assert (found.codes == -1).sum() == len(frame) - len(frame.dropna())


@given(columns())
@checked
def test_crossings_hold_every_combination_of_fields(fields: dict[str, list[str | None]]) -> None:
    found = crossings(fields)
    sizes = range(1, len(fields) + 1)
    assert [part.by for part in found] == [c for size in sizes for c in itertools.combinations(fields, size)]
    for part in found:
        assert all(len(key) == len(part.by) for key in part.keys)
        assert (np.bincount(part.codes[part.codes >= 0], minlength=len(part.keys)) > 0).all(), "only what occurs"


def test_crossing_a_crossed_grouping_is_crossing_all() -> None:
    parts = [grouping(name, list(values)) for name, values in (("x", "aabb"), ("y", "cdcd"), ("z", "efff"))]
    once, twice = cross(parts), cross([cross(parts[:2]), parts[2]])
    assert (once.by, once.keys, once.codes.tolist()) == (twice.by, twice.keys, twice.codes.tolist())


def test_no_grouping_field_makes_no_table() -> None:
    assert crossings({}) == []


def test_quarters() -> None:
    names = binned("age", list(range(100)))
    assert [names.count(name) for name in sorted(set(map(str, names)))] == [25, 25, 25, 25]
    assert names[0] == "1: below 24.8"
    assert names[30] == "2: from 24.8 below 49.5"
    assert names[99] == "4: from 74.2"


def test_bins_begin_at_an_edge_and_end_below_the_next() -> None:
    found = binned("age", [19.9, 20, 39, 40, 1000, -5, None, math.nan, math.inf], [20, 40])
    below, middle, above = "1: below 20", "2: from 20 below 40", "3: from 40"
    assert found == [below, middle, middle, above, above, below, None, None, None]


def test_a_single_edge_and_equal_numbers() -> None:
    assert binned("x", [1, 2], [2]) == ["1: below 2", "2: from 2"]
    assert len(set(binned("x", [7.0] * 10))) == 1
    assert len(set(binned("x", [0] * 90 + [1] * 10))) <= 2
    assert binned("x", [None, math.nan]) == [None, None]
    assert binned("x", []) == []


def test_more_than_nine_bins_sort_as_the_numbers_do() -> None:
    values = list(range(0, 120, 10))
    names = [str(name) for name in binned("x", values, list(range(10, 120, 10)))]
    assert len(set(names)) == 12
    assert sorted(names) == names


def test_different_bins_have_different_names() -> None:
    """Edges that differ in their fifth digit make bins of their own."""
    names = binned("time", [100_000.5, 100_001.5, 100_002.5, 100_003.5], [100_001, 100_002, 100_003])
    assert len(set(names)) == 4
    assert "100001" in str(names[1])


@given(st.lists(st.none() | st.floats(allow_infinity=True, allow_nan=True), max_size=40))
@example([1.795e308])
@checked
def test_every_known_number_is_in_one_of_at_most_four_quarters(values: list[float | None]) -> None:
    found = binned("x", values)
    assert [name is None for name in found] == [v is None or not math.isfinite(v) for v in values]
    assert len(set(found) - {None}) <= 4
    known = sorted((v, str(name)) for v, name in zip(values, found, strict=True) if v is not None and name)
    assert [name for _, name in known] == sorted(name for _, name in known), "larger numbers are in later bins"


@pytest.mark.parametrize("edges", [[40, 20], [20, 20], [math.nan], [20, math.inf], [[1], [2]]])
def test_edges_that_do_not_rise(edges: Any) -> None:
    with pytest.raises(InputError, match="'age', expected rising numbers such as 20, 40, 60"):
        binned("age", [1, 2], edges)


def faces(seed: int, labels: int, groups: int = 4) -> tuple[Codes, Codes, list[str], Counts]:
    """Faces of several groups of at least ``SMALL``, each label true and said in every one, with group-wise skill."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(SMALL + 10, 300, groups)
    of = np.repeat(np.arange(groups), sizes)
    truth = rng.integers(0, labels, len(of))
    said = np.where(rng.random(len(of)) < 0.4 + 0.12 * of, truth, rng.integers(0, labels, len(of)))
    return truth, said, [f"g{k}" for k in of], metrics.confusions(truth, said, labels, of, groups)


@pytest.mark.parametrize("labels", [2, 5])
def test_figures_per_group_agree_with_fairlearn(labels: int) -> None:
    truth, said, names, counts = faces(9, labels)
    frame = fair.MetricFrame(
        metrics={
            "n": fair.count,
            "accuracy": sk.accuracy_score,
            "macro_f1": lambda t, p: sk.f1_score(t, p, average="macro", zero_division=0),
            "balanced": sk.balanced_accuracy_score,
            "mcc": sk.matthews_corrcoef,
            "kappa": sk.cohen_kappa_score,
        },
        y_true=truth,
        y_pred=said,
        sensitive_features=names,
    )
    ours = {
        "n": counts.sum((-2, -1)),
        "accuracy": metrics.accuracy(counts),
        "macro_f1": metrics.macro_f1(counts),
        "balanced": metrics.balanced_accuracy(counts),
        "mcc": metrics.mcc(counts),
        "kappa": metrics.kappa(counts),
    }
    for name, values in ours.items():
        np.testing.assert_allclose(values, frame.by_group[name].to_numpy(dtype=float), err_msg=name)
    part = grouping("group", names)
    found = gap(part, counts, figures.find("accuracy"), draws=100)
    assert found is not None
    assert found.difference == pytest.approx(frame.difference()["accuracy"])
