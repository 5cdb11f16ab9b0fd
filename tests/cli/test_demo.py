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
        assert (summary[1], summary[2], summary[-1]) == ("96", "100.0", "-")
        assert re.search(rf"^{name}  \(.+\)\n=+$", demo.out, re.MULTILINE)
    assert "96 faces asked, 0 skipped" in demo.out
    assert "Off by one at most: " in demo.out


def test_the_tables_of_the_demo_are_complete(demo: Ran) -> None:
    classes = demo.tables("class", "n")
    assert [sum(int(row[1]) for row in rows) for rows in classes] == [96] * 4
    assert [sum(int(row[2]) for row in rows) for rows in classes] == [96] * 4
    by_gender = demo.tables("gender", "n")
    assert [sum(int(row[1].rstrip("*")) for row in rows) for rows in by_gender] == [96] * 4
    assert all(row[1].endswith("*") == (int(row[1].rstrip("*")) < 30) for rows in by_gender for row in rows)
    assert demo.tables("gender", "age_group") == []


def test_the_demo_says_where_its_results_are(demo: Ran) -> None:
    keys = [f"demo_eval_{name}" for name in ATTRIBUTES]
    assert f"In the App's Model Evaluation panel: {', '.join(keys)}\n" in demo.out
    assert f"most confident first: {', '.join(f'{key}_errors' for key in keys)}\n" in demo.out
    assert demo.out.endswith(f"fiftyone app launch {SAMPLES}\n")
    dataset = fo.load_dataset(SAMPLES)
    assert dataset.list_evaluations() == sorted(keys)
    assert {f"{key}_errors" for key in keys} <= set(dataset.list_saved_views())
    assert {name: dataset.count(f"demo_{name}.label") for name in ATTRIBUTES} == dict.fromkeys(ATTRIBUTES, 96)


def test_the_demo_makes_the_group_pictures_too(demo: Ran) -> None:
    groups = fo.load_dataset(GROUPS)
    assert groups.persistent
    assert groups.count("faces.detections") == len(samples.read("group"))


def test_the_demo_gives_the_same_figures_again(demo: Ran, run: Run) -> None:
    again = run("demo")
    assert again.status == 0
    figures = "\nattribute    n    answered"
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
