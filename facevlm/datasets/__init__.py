"""Data sets of faces: readers of folders and files into plain records, without FiftyOne, one at a time.

``facevlm.datasets.load("fairface", folder, split="val")`` makes a FiftyOne dataset of one. It stands in
:mod:`facevlm.tasks.load`, above the store; the types for ``fiftyone.Dataset.from_dir`` stand in
:mod:`facevlm.store.importers`. Both are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facevlm.datasets.catalog import READERS as READERS
    from facevlm.datasets.catalog import reader as reader
    from facevlm.datasets.catalog import readers as readers
    from facevlm.datasets.records import DatasetCard as DatasetCard
    from facevlm.datasets.records import FaceBox as FaceBox
    from facevlm.datasets.records import Log as Log
    from facevlm.datasets.records import Reader as Reader
    from facevlm.datasets.records import Record as Record

_RECORDS = ("DatasetCard", "FaceBox", "Log", "Reader", "Record")
_LAZY = {
    **dict.fromkeys(_RECORDS, "facevlm.datasets.records"),
    **dict.fromkeys(("READERS", "reader", "readers"), "facevlm.datasets.catalog"),
    "load": "facevlm.tasks.load",
    "build_diversefaces": "facevlm.tasks.load",
}


def __getattr__(name: str) -> Any:
    """What stands elsewhere, such as ``load``, and the dataset types, such as ``FairFaceDataset``."""
    module = importlib.import_module(_LAZY[name]) if name in _LAZY else None
    if module is None and name.endswith("Dataset") and not name.startswith("_"):
        module = importlib.import_module("facevlm.store.importers")
    if module is None or not hasattr(module, name):
        raise AttributeError(f"module 'facevlm.datasets' has no attribute '{name}'")
    return getattr(module, name)
