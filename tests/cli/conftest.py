"""Command lines run in process against a real MongoDB, and datasets to run them on."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm import cli
from facevlm.datasets import samples
from facevlm.store import samples as records
from tests.cli.running import COUNT, JUDGED, Ran, Run, drop


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line as a shell would."""

    def started(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            status = cli.main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Ran(status, *capsys.readouterr())

    return started


@pytest.fixture(scope="module")
def judged() -> Iterator[fo.Dataset]:
    """Sample faces with predictions under the prefix 'demo', ground truth, and a saved view of five."""
    dataset = records.build_singles(JUDGED, samples.read("single")[:COUNT])
    dataset.set_values("sex", [label.lower() for label in dataset.values("gender.label")])
    dataset.set_values("side", ["left", "right"] * (COUNT // 2))
    dataset.save_view("few", dataset.limit(5))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main(["apply", JUDGED, "--attributes", "gender,age5"]) == 0
    yield dataset
    drop(JUDGED)


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    """Six sample faces without predictions, and a saved view of two."""
    dataset = records.build_singles(dataset_name, samples.read("single")[:6])
    dataset.save_view("few", dataset.limit(2))
    return dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three readable pictures, one of them in a folder below, and one that is none."""
    place = tmp_path / "mine"
    (place / "deep").mkdir(parents=True)
    for record, name in zip(samples.read("single")[:3], ("a.jpg", "b.jpg", "deep/c.jpg"), strict=True):
        shutil.copy(record.filepath, place / name)
    (place / "bad.jpg").write_bytes(b"no picture")
    return place
