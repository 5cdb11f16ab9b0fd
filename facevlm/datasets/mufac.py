"""MUFAC: Korean family photographs with eight age groups; its splits keep people apart, and only the split is kept."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm import attributes
from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record

SPLITS = ("train", "val", "test")
CLASSES = "abcdefgh"
AGE = re.compile(r"_AGE_[A-Z]+_(\d{1,3})_")
"""Years in a file name such as F0001_AGE_D_18_a1.jpg."""


@dataclass(frozen=True)
class MUFAC(Reader):
    """No options."""

    card = DatasetCard(
        name="mufac",
        title="MUFAC",
        url="https://github.com/ndb796/MachineUnlearning",
        licence="as stated by AI Hub for its Korean family photographs; research only",
        citation="Choi and Na 2023, Towards machine unlearning benchmarks, arXiv 2311.02240",
        layout="custom_train_dataset.csv, custom_val_dataset.csv, custom_test_dataset.csv and train_images/, "
        "val_images/, test_images/",
        attributes={"age_group": "age8"},
        splits=SPLITS,
        also="age in years where the file name says it",
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        tables = {name: files.find(folder, [f"custom_{name}_dataset.csv"]) for name in SPLITS if split in (None, name)}
        if not any(tables.values()):
            raise self.reject(folder)
        for name, path in tables.items():
            if path:
                convert = functools.partial(_record, root=path.parent / f"{name}_images", split=name, log=log)
                yield from files.table(path, ("image_path", "age_class"), log, convert)


def _record(row: files.Row, root: Path, split: str, log: Log) -> Record:
    code = row["age_class"].strip().lower()
    if len(code) != 1 or code not in CLASSES:
        raise BrokenRow("age_class is none of a to h", f"got '{row['age_class']}'")
    labels = {"age_group": attributes.get("age8").labels[CLASSES.index(code)]}
    path, years = files.picture(root, row["image_path"]), AGE.search(row["image_path"])
    return Record(path, labels, log.cell(lambda: files.age(years[1])) if years else None, split)
