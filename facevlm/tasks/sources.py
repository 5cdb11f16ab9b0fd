"""Datasets to work on: the shipped sample faces, a folder of pictures, or a dataset that is there by name."""

from __future__ import annotations

from pathlib import Path

from facevlm.datasets import samples
from facevlm.store import database
from facevlm.store import samples as records
from facevlm.store.targets import Collection, Dataset
from facevlm.tasks._verb import verb

SAMPLES = "facevlm-demo"
GROUPS = "facevlm-demo-groups"
PICTURES = "facevlm-pictures"


@verb
def sample_faces(name: str = SAMPLES) -> Dataset:
    """The shipped single faces with their labels as a FiftyOne dataset; what you added to it stays."""
    return records.build_singles(name, samples.read("single"))


@verb
def sample_groups(name: str = GROUPS) -> Dataset:
    """The shipped group pictures with the boxes of their faces; what you added to the dataset stays."""
    return records.build_groups(name, samples.read("group"))


@verb
def folder(path: str | Path, name: str = PICTURES, *, prune: bool = False) -> Dataset:
    """The pictures in a folder and below as a FiftyOne dataset, added to those that are in it.

    ``prune`` takes out pictures that are not in the folder, and says how many. Those that carry tags or labels of yours
    stay, and are named.
    """
    return records.build_folder(name, path, prune=prune)


@verb
def load(dataset: str, view: str | None = None) -> Collection:
    """A dataset by name, or one of its saved views.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    return database.load_target(dataset, view)
