"""Real data sets, where they lie beside the repository (``../shared/data``); tests that need them skip elsewhere."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needed = pytest.mark.skipif(not DATA.is_dir(), reason="no data sets beside this checkout, in ../shared/data")

Choice = Callable[[list[str]], Collection[str]]


def extract(name: str, folder: Path, choose: Choice) -> list[str]:
    """Put the chosen among an archive's pictures into a folder; returns their names inside, in the archive's order."""
    with tarfile.open(DATA / f"{name}.tar") as archive:
        pictures = {member.name: member for member in archive if member.name.endswith(".jpg")}
        chosen = set(choose(list(pictures)))
        archive.extractall(folder, members=[m for n, m in pictures.items() if n in chosen], filter="data")
    return [name for name in pictures if name in chosen]


def labels(name: str) -> list[dict[str, str]]:
    """The rows of an archive's ``labels.csv``."""
    with tarfile.open(DATA / f"{name}.tar") as archive:
        handle = archive.extractfile("labels.csv")
        assert handle is not None
        return list(csv.DictReader(io.TextIOWrapper(handle, encoding="utf-8")))
