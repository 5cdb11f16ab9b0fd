"""Figures hold the figures of the evaluation: nothing is lost, nothing is made up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from facevlm.attributes import define
from facevlm.evaluation.evaluate import SMALL, Records, evaluate
from facevlm.reports import plots

LABELS = ["child", "teen", "adult", "more than sixty years or so, apparently"]
STAGE = define("stage", LABELS, "how old does the person seem?", kind="ordinal")


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = 120
    truth = rng.choice(4, n)
    table = np.log(rng.dirichlet(np.ones(4) * 0.7, n))
    said = table.argmax(1)
    said[:40] = truth[:40]
    outcomes = ["refused" if k % 20 == 0 else "ok" for k in range(n)]
    records = Records(
        truth=[LABELS[k] for k in truth],
        predicted=[None if o == "refused" else LABELS[k] for k, o in zip(said, outcomes, strict=True)],
        outcomes=outcomes,
        groups={"place": ["in" if k % 5 else "out" for k in range(n)]},
        log_probs=table,
    )
    return evaluate(STAGE, records, draws=20).to_dict()


def test_the_confusion_matrix_stands_in_its_cells(figures: dict[str, Any]) -> None:
    (trace,) = plots.confusion(figures)["data"]
    assert trace["x"] == [*LABELS, plots.NO_ANSWER]
    assert trace["y"] == LABELS
    assert trace["customdata"] == figures["confusion"]
    assert trace["text"] == [[str(n) for n in row] for row in figures["confusion"]]
    assert sum(map(sum, trace["customdata"])) == figures["overall"]["n"] == 120
    assert [sum(row) for row in trace["z"]] == pytest.approx([1.0] * 4)


def test_a_row_without_faces_has_no_share() -> None:
    bare = evaluate(STAGE, Records(["child"], ["child"], ["ok"]), draws=5).to_dict()
    assert plots.confusion(bare)["data"][0]["z"][1:] == [[0.0] * 5] * 3


def test_groups_show_accuracy_interval_and_n_and_grey_small_ones(figures: dict[str, Any]) -> None:
    table = figures["groups"][0]
    figure = plots.groups(table)
    (trace,) = figure["data"]
    cells = [row["cell"] for row in table["rows"]]
    assert [c["n"] for c in cells] == [96, 24]
    assert trace["x"] == [c["accuracy"] for c in cells]
    highs = [x + up for x, up in zip(trace["x"], trace["error_x"]["array"], strict=True)]
    lows = [x - down for x, down in zip(trace["x"], trace["error_x"]["arrayminus"], strict=True)]
    assert highs == pytest.approx([c["high"] for c in cells])
    assert lows == pytest.approx([c["low"] for c in cells])
    assert SMALL == 30
    assert trace["marker"]["color"] == [plots.ACCENT, plots.GREY]
    assert figure["layout"]["yaxis"]["ticktext"] == ["in  (n = 96)", "out  (n = 24)"]


def test_curves_hold_every_point(figures: dict[str, Any]) -> None:
    confidence = figures["confidence"]
    (curve,) = plots.reliability(confidence)["data"]
    assert list(zip(curve["x"], curve["y"], strict=True)) == [
        (b["confidence"], b["accuracy"]) for b in confidence["bins"]
    ]
    assert [c[0] for c in curve["customdata"]] == [b["n"] for b in confidence["bins"]]
    (kept,) = plots.selective(confidence)["data"]
    points = [(p["coverage"], p["accuracy"]) for p in confidence["selective"]]
    assert list(zip(kept["x"], kept["y"], strict=True)) == points


def test_the_answer_of_a_face_is_in_colour() -> None:
    (trace,) = plots.probabilities(["a", "b"], [0.25, 0.75], "b")["data"]
    assert (trace["x"], trace["y"], trace["text"]) == ([0.25, 0.75], ["a", "b"], ["25.0%", "75.0%"])
    assert trace["marker"]["color"] == [plots.GREY, plots.ACCENT]


def test_long_labels_are_cut_on_the_axis_alone(figures: dict[str, Any]) -> None:
    axis = plots.confusion(figures)["layout"]["xaxis"]
    assert axis["tickvals"][3] == LABELS[3]
    assert axis["ticktext"][3].endswith("…")
    assert len(axis["ticktext"][3]) == plots.MOST_NAMED


def test_figures_fit_their_place_and_are_plain(figures: dict[str, Any]) -> None:
    confidence = figures["confidence"]
    made = [
        plots.confusion(figures),
        plots.groups(figures["groups"][0]),
        plots.reliability(confidence),
        plots.selective(confidence),
        plots.probabilities(["a"], [1.0], None),
        plots.groups({"rows": []}),
        plots.reliability({"bins": []}),
        plots.selective({"selective": []}),
    ]
    for figure in made:
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        assert figure["layout"]["autosize"]
        assert figure["layout"]["height"] > 0
        assert "width" not in figure["layout"]


def test_undefined_figures_are_gaps() -> None:
    bare = evaluate(STAGE, Records([], [], [], {"place": []}), draws=5).to_dict()
    assert sum(map(sum, plots.confusion(bare)["data"][0]["customdata"])) == 0
    row = {"values": ["x"], "cell": {"n": 0, "accuracy": None, "low": None, "high": None}}
    (trace,) = plots.groups({"rows": [row]})["data"]
    assert (trace["x"], trace["error_x"]["array"]) == ([None], [0.0])


def test_fiftyone_is_not_imported() -> None:
    code = "import sys, facevlm.reports.plots; assert 'fiftyone' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
