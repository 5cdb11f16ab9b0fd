"""facevlm train: counts, costs and examples first; then figures before and after, and a folder that apply opens."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.datasets import samples
from facevlm.store import samples as records
from tests.backends import tiny
from tests.cli.running import Run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{tiny.paligemma(tmp_path_factory.mktemp('train') / 'base')}"


@pytest.fixture
def many(dataset_name: str) -> fo.Dataset:
    return records.build_singles(dataset_name, samples.read("single")[:24])


def test_a_dry_run_prints_and_writes_nothing(run: Run, many: fo.Dataset, base: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("train", many.name, "--base", base, "--attributes", "gender", "--out", str(out), "--dry-run")
    assert (done.status, done.err) == (0, "")
    counted = {row[1]: [int(n) for n in row[2:]] for row in done.rows("gender")}
    assert set(counted) == {"Male", "Female"}
    assert sum(sum(row) for row in counted.values()) == 24
    assert "parameters, " in done.out
    assert "GiB that are free; about " in done.out
    assert "prompt (sees itself both ways; not counted): <image> x 16 <bos>" in done.out
    assert "answer (counted): " in done.out
    assert not out.exists()


def test_what_is_printed_is_in_the_file_and_the_folder_is_applied(
    run: Run, many: fo.Dataset, base: str, tmp_path: Path
) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    command = ["train", many.name, "--base", base, "--attributes", "gender", "--out", str(out), "--device", "cpu"]
    done = run(*command, "--epochs", "1", "--groups", "race", "--json", str(figures))
    assert done.status == 0
    data = json.loads(figures.read_text())
    after = data["judged"][0]["after"]["overall"]["accuracy"]
    assert done.rows("all")[0][3] == f"{100 * after:.1f}"
    assert f"facevlm apply DATASET --model hf:{out}" in done.out
    assert run("apply", many.name, "--model", f"hf:{out}", "--attributes", "gender", "--device", "cpu").status == 0
    other = run(*command, "--epochs", "2")
    assert other.status == 2
    assert "which holds what was learnt from other faces" in other.err
