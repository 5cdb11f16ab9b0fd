"""A remotely-sourced dataset of FiftyOne's zoo: whatever facevlm reads. Nothing is downloaded; the data set lies on
your disk.

foz.load_zoo_dataset("https://github.com/USER/REPOSITORY", reader="fairface", folder="/data/FairFace", part="val")

FiftyOne copies this folder alone, so facevlm itself has to be installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

MISSING = "This dataset is read by facevlm, which is not installed: pip install git+https://github.com/USER/REPOSITORY"


def _facevlm(module: str) -> Any:
    try:
        return importlib.import_module(f"facevlm.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "facevlm":
            raise
        raise ImportError(MISSING) from error


def download_and_prepare(
    dataset_dir: str, reader: str = "", folder: str = ""
) -> tuple[type[Any] | None, int, list[str] | None]:
    """Called by FiftyOne before the first loading: look whether reader and folder are named; there is nothing to
    download."""
    _check(reader, folder)
    return None, 0, None


def load_dataset(
    dataset: Any,
    dataset_dir: str,
    reader: str = "",
    folder: str = "",
    part: str | None = None,
    max_samples: int | None = None,
    options: Mapping[str, object] | None = None,
) -> None:
    """Called by FiftyOne: add the samples. ``reader`` is a name from ``facevlm load --list``, ``part`` a split of the
    data set."""
    _check(reader, folder)
    types = _facevlm("store.importers")
    importer = types.importer(reader)(dataset_dir=folder, max_samples=max_samples, split=part, options=options)
    dataset.add_importer(importer, dynamic=True)


def _check(reader: str, folder: str) -> None:
    known = _facevlm("datasets.catalog").readers()
    if reader not in known or not folder:
        raise ValueError(
            f"Got reader='{reader}' and folder='{folder}', expected one of {', '.join(sorted(known))} and where it "
            f"lies."
        )
