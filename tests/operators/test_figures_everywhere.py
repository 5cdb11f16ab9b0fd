"""A figure that somebody registers is on every surface; one that a stored evaluation lacks is a dash there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

import facevlm
from facevlm import reports
from facevlm.errors import FieldError
from facevlm.evaluation import figures, metrics
from facevlm.evaluation.figures import Figure
from facevlm.evaluation.metrics import Counts, Floats
from facevlm.reports import text
from facevlm.store import reporting
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task
from tests.operators.test_operators import EVALUATE, errors, execute, form
from tests.operators.test_panel import send


def errors_share(counts: Counts) -> Floats:
    """Share wrong of all faces, for matrices (..., labels, labels + 1)."""
    return np.asarray(1 - metrics.accuracy(counts))


WRONG = Figure("wrong", "wrong answers", errors_share, "Share wrong of all faces.", interval="wilson", gaps=True)


@pytest.fixture
def predicted(dataset_name: str) -> fo.Dataset:
    dataset = sources_task.sample_faces(dataset_name)
    facevlm.apply(dataset, "demo", ["gender", "race5"], progress=False)
    return dataset


def summary(dataset: fo.Dataset) -> str:
    """What the operator says after it evaluated."""
    request = {"dataset_name": dataset.name, "operator_uri": EVALUATE, "params": {}}
    context = ExecutionContext(request, executor=Executor(), operator_uri=EVALUATE)
    sent = [step.body for step in foo.get_operator(EVALUATE).execute(context)]
    dataset.reload()
    return str(next(s.params["results"]["summary"] for s in sent if s.operator_uri == "show_output"))


def written(dataset: fo.Dataset, folder: Path) -> dict[str, str]:
    paths = reports.write(reports.build(reporting.read(dataset)), folder)
    return {path.suffix: path.read_text(encoding="utf-8") for path in paths}


def test_a_registered_figure_is_on_every_surface(predicted: fo.Dataset, tmp_path: Path) -> None:
    with figures.registered(WRONG):
        result = facevlm.evaluate(predicted, draws=20)
        cell = result["race5"].overall
        value = f"{100 * cell.wrong:.1f}"
        assert cell.wrong == pytest.approx(1 - cell.accuracy) == pytest.approx(14 / 96)
        said = text.text(result.evaluations)
        assert "wrong answers" in next(line for line in said.splitlines() if line.startswith("attribute "))
        assert value in next(line for line in said.splitlines() if line.startswith("race5 ")).split()
        table = summary(predicted).splitlines()
        assert any("wrong answers | 95 % Wilson" in line for line in table)
        assert f"| {value} |" in next(line for line in table if line.startswith("| race5 "))
        files = written(predicted, tmp_path)
        assert all("wrong answers" in files[kind] for kind in (".html", ".md", ".json"))
        assert all("wrong answers: Share wrong of all faces." in files[kind] for kind in (".html", ".md", ".json"))
        assert f"| {value} |" in next(line for line in files[".md"].splitlines() if line.startswith("| race5 | 96 "))
        kept = json.loads(files[".json"])["evaluation"]["evaluations"]
        assert next(e for e in kept if e["predicted_attribute"] == "race5")["overall"]["wrong"] == cell.wrong
        native = predicted.load_evaluation_results("demo_eval_race5", cache=False)
        assert native.metrics()["wrong_answers"] == pytest.approx(cell.wrong)
        assert native.custom_metrics["@facevlm/face-attributes/wrong_answers"]["label"] == "Wrong answers"
        panel = send(predicted, "on_load").panel
        assert f"wrong answers {value} % (" in panel["overall"]["default"]
    after = send(predicted, "on_load").panel
    assert "wrong answers" not in after["overall"]["default"], "it is stored, but nothing knows it any more"
    gaps = send(predicted, "on_load", {"tab": "groups", "by": {"grouping": "gender"}}).panel["gaps"]["default"]
    assert "wrong" in gaps, "a gap is shown by the name that was stored"


def lacking(dataset: fo.Dataset, names: tuple[str, ...]) -> dict[str, Any]:
    """A stored evaluation as a version without some figures would have left it."""
    stored = results_store.load(dataset, "demo_eval")
    gone = {name for figure in map(figures.find, names) for name in (figure.name, *figure.ends)}
    for evaluation in stored["evaluations"]:
        cells = [evaluation["overall"], *(row["cell"] for table in evaluation["groups"] for row in table["rows"])]
        for cell in cells:
            for part in (cell, cell["answered"]):
                for name in gone & set(part):
                    del part[name]
    results_store.save(dataset, stored)
    return stored


@pytest.mark.parametrize("names", [("kappa", "weighted_f1"), tuple(figure.name for figure in figures.SHIPPED)])
def test_what_a_stored_evaluation_lacks_is_a_dash(
    predicted: fo.Dataset, tmp_path: Path, names: tuple[str, ...]
) -> None:
    result = facevlm.evaluate(predicted, draws=20)
    lacking(predicted, names)
    files = written(predicted, tmp_path)
    glance = next(line for line in files[".md"].splitlines() if line.startswith("| race5 | 96 "))
    assert glance.endswith("| - |")
    assert ("| 85.4 |" in glance) == ("accuracy" not in names)
    shown = send(predicted, "on_load")
    assert "confusion" in shown.panel
    assert {"groups", "gaps"} <= set(send(predicted, "on_load", {"tab": "groups"}).panel)
    assert ("accuracy - (-)" in shown.panel["overall"]["default"]) == ("accuracy" in names)
    cells = {name: value for name, value in result["race5"].overall.figures.items() if name not in names}
    older = dataclasses.replace(
        result["race5"], overall=dataclasses.replace(result["race5"].overall, figures=cells), groups=()
    )
    assert next(x for x in text.text([older]).splitlines() if x.startswith("race5 ")).split()[-2:] == ["-", "-"]


def test_what_everything_needs_is_refused_in_a_sentence(predicted: fo.Dataset) -> None:
    facevlm.evaluate(predicted, draws=20)
    stored = results_store.load(predicted, "demo_eval")
    for evaluation in stored["evaluations"]:
        del evaluation["overall"]["outcomes"]
        del evaluation["confusion"]
    results_store.save(predicted, stored)
    with pytest.raises(FieldError, match=r"it lacks confusion, outcomes\. Evaluate again\."):
        results_store.load(predicted, "demo_eval")
    assert "it lacks confusion, outcomes" in send(predicted, "on_load").panel["broken"]["view"]["label"]


def test_form_and_run_choose_ground_truth_by_one_rule(predicted: fo.Dataset) -> None:
    """The field 'gender' would be guessed by its name, but holds words that are no genders."""
    predicted.delete_sample_field("gender")
    predicted.add_sample_field("gender", fo.StringField)
    predicted.set_values("gender", ["yes", "no"] * (len(predicted) // 2))
    asked = form(EVALUATE, predicted)
    assert asked["truth_gender"]["default"] == "(do not evaluate)"
    assert asked["truth_race5"]["default"] == "race"
    assert errors(asked) == {}
    execute(EVALUATE, predicted)
    assert predicted.load_run_results("facevlm_demo_eval").ground_truth == {"race5": "race"}
    chosen = form(EVALUATE, predicted, truth_gender="gender")
    assert "no label set of 'gender'" in errors(chosen)["truth_gender"]
    with pytest.raises(ExecutionError, match="no label set of 'gender'"):
        execute(EVALUATE, predicted, truth_gender="gender")
