"""Datasets to work on: the shipped sample faces, a folder of pictures, or a dataset that is there by name."""

from __future__ import annotations

from pathlib import Path

from facevlm.datasets import samples
from facevlm.store import database
from facevlm.store import samples as records
from facevlm.store.targets import Collection, Dataset

SAMPLES = "facevlm-demo"
GROUPS = "facevlm-demo-groups"
PICTURES = "facevlm-pictures"


def sample_faces(name: str = SAMPLES) -> Dataset:
    """The shipped single faces with their labels as a FiftyOne dataset, built anew."""
    return records.build_singles(name, samples.read("single"))


def sample_groups(name: str = GROUPS) -> Dataset:
    """The shipped group pictures with the boxes of their faces, built anew."""
    return records.build_groups(name, samples.read("group"))


def folder(path: str | Path, name: str = PICTURES) -> Dataset:
    """The pictures in a folder and below as a FiftyOne dataset; predictions on pictures that were in it are kept."""
    return records.build_folder(name, path)


def load(dataset: str, view: str | None = None) -> Collection:
    """A dataset by name, or one of its saved views.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    return database.load_target(dataset, view)
