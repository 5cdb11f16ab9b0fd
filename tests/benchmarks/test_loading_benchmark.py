"""The benchmark of loading: one run with few records, both ways to the same dataset."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo

from benchmarks import loading
from tests.datasets import layouts


def test_all_ways_load_the_same_and_are_timed(tmp_path: Path) -> None:
    for k in range(30):
        layouts.picture(tmp_path / f"{k}_{k % 2}_{k % 5}_2017010{k:02d}.jpg.chip.jpg")
    found = loading.loading(tmp_path, rounds=1)
    assert found["n"] == 30
    assert all(rate > 0 for rate in found["records/s"].values())
    assert len(found["ratios"]) == 2
    assert not any(fo.dataset_exists(name) for name in (loading.NAME, f"{loading.NAME}-bare"))


def test_labels_and_ages_are_mapped_in_time(tmp_path: Path) -> None:
    seconds = loading.mapping(20_000, rounds=3)
    assert set(seconds) == {"race7 -> race5", "years -> age5"}
    assert all(value < 1 for value in seconds.values())


def test_without_data_it_makes_names_of_that_kind(tmp_path: Path) -> None:
    assert loading.folder(tmp_path / "mine", tmp_path) == tmp_path / "mine"
