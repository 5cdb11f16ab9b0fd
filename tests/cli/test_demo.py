"""facevlm demo: what it prints and leaves behind."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm import cli
from facevlm.datasets import samples
from facevlm.tasks.sources import GROUPS, PICTURES, SAMPLES
from tests.cli.running import Ran, Run, drop

ATTRIBUTES = ("gender", "age5", "race5", "emotion7")


@pytest.fixture(scope="module")
def demo() -> Iterator[Ran]:
    """The first run of the demo in this database."""
    drop(SAMPLES, GROUPS)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = cli.main(["demo"])
    yield Ran(status, out.getvalue(), err.getvalue())
    drop(SAMPLES, GROUPS)


def test_the_demo_labels_and_evaluates_all_four_attributes(demo: Ran) -> None:
    assert demo.status == 0
    assert demo.out.startswith(f"Dataset '{SAMPLES}': 96 pictures. Labels are perceived or apparent, not facts.\n")
    for name in ATTRIBUTES:
        applied, summary = demo.rows(name)[:2]
        assert applied[:7] == [name, f"demo_{name}", "96", "0", "0", "0", "0"]
        assert 0 <= float(applied[7]) <= 100
        assert summary[1] == "96"
        assert f"\n- {name}: " in demo.out
    assert "96 faces asked, 0 skipped" in demo.out


def test_the_demo_prints_one_screen(demo: Ran) -> None:
    evaluated = demo.out[demo.out.index("Judged by the ground truth") :]
    assert evaluated.count("\n") < 45
    assert max(map(len, evaluated.partition("* fewer than 30 faces.")[0].splitlines())) <= 110
    assert "- emotion7: by emotion, happy 50.0 and neutral 100.0, 50.0 points apart" in evaluated
    assert "samples.\n- race5" in evaluated
    assert "age_group '10-19' (2)" in evaluated
    assert f"facevlm evaluate {SAMPLES} --full" in evaluated


def test_the_tables_of_the_demo_are_complete(demo: Ran, run: Run) -> None:
    full = run("evaluate", SAMPLES, "--full")
    classes = full.tables("class", "n")
    assert [sum(int(row[1]) for row in rows) for rows in classes] == [96] * 4
    assert [sum(int(row[2]) for row in rows) for rows in classes] == [96] * 4
    by_gender = full.tables("gender", "n")
    assert [sum(int(row[1].rstrip("*")) for row in rows) for rows in by_gender] == [96] * 4
    assert all(row[1].endswith("*") == (int(row[1].rstrip("*")) < 30) for rows in by_gender for row in rows)
    assert full.tables("gender", "age_group") == []
    assert "Off by one at most: " in full.out
    for name in ATTRIBUTES:
        assert re.search(rf"^{name}  \(.+\)\n=+$", full.out, re.MULTILINE)


def test_the_demo_says_where_its_results_are(demo: Ran) -> None:
    keys = [f"demo_eval_{name}" for name in ATTRIBUTES]
    assert f"In the App's Model Evaluation panel: {', '.join(keys)}\n" in demo.out
    assert f"most confident first: {', '.join(f'{key}_errors' for key in keys)}\n" in demo.out
    assert demo.out.endswith(f"fiftyone app launch {SAMPLES}\n")
    dataset = fo.load_dataset(SAMPLES)
    assert dataset.list_evaluations() == sorted(keys)
    assert {f"{key}_errors" for key in keys} <= set(dataset.list_saved_views())
    assert {name: dataset.count(f"demo_{name}.label") for name in ATTRIBUTES} == dict.fromkeys(ATTRIBUTES, 96)


def test_the_demo_again_keeps_what_was_added(demo: Ran) -> None:
    dataset = fo.load_dataset(SAMPLES)
    sample = dataset.first()
    sample.tags.append("label_error")
    sample["gender_corrected"] = fo.Classification(label="Female")
    sample.save()
    assert cli.main(["demo"]) == 0
    dataset.reload()
    assert (len(dataset), dataset.count_sample_tags()) == (96, {"label_error": 1})
    assert dataset.count("gender_corrected.label") == 1
    assert dataset.values("id")[0] == sample.id


def test_the_demo_makes_the_group_pictures_too(demo: Ran) -> None:
    groups = fo.load_dataset(GROUPS)
    assert groups.persistent
    assert groups.count("faces.detections") == len(samples.read("group"))


def test_the_demo_gives_the_same_figures_again(demo: Ran, run: Run) -> None:
    again = run("demo")
    assert again.status == 0
    figures = "\nattribute    n    accuracy"
    assert again.out[again.out.index(figures) :] == demo.out[demo.out.index(figures) :]
    assert len(fo.load_dataset(SAMPLES)) == 96


def test_the_demo_on_own_pictures_has_nothing_to_evaluate(folder: Path, run: Run) -> None:
    drop(PICTURES)
    done = run("demo", "--images", str(folder))
    assert done.status == 0
    assert done.out.startswith(f"Dataset '{PICTURES}': 4 pictures.")
    for name in ATTRIBUTES:
        [row] = done.rows(name)
        assert row[:7] == [name, f"demo_{name}", "3", "0", "0", "0", "1"]
    assert "  4 x not a picture, or of an unknown format: bad.jpg\n" in done.out
    assert "accuracy" not in done.out
    assert "Model Evaluation" not in done.out
    dataset = fo.load_dataset(PICTURES)
    assert dataset.list_evaluations() == []
    outcomes = dict(zip(dataset.values("filepath"), dataset.values("demo_gender.outcome"), strict=True))
    assert {Path(path).name: outcome for path, outcome in outcomes.items() if outcome != "ok"} == {"bad.jpg": "failed"}
    drop(PICTURES)
