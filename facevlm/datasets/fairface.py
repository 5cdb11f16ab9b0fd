"""FairFace: ``file,age,gender,race,service_test`` beside the folders ``train`` and ``val``, at either margin."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, label
from facevlm.errors import InputError

COLUMNS = ("file", "age", "gender", "race")
SPLITS = ("train", "val")
MARGINS = ("0.25", "1.25")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
TRUTH = {"true": True, "false": False}
MANGLED = re.compile(r"(?:(?P<day>\d{1,2})[- ](?P<month>[A-Za-z]{3,})|(?P<month2>[A-Za-z]{3,})[- ](?P<day2>\d{1,2}))")

CARD = DatasetCard(
    name="fairface",
    title="FairFace",
    url="https://github.com/joojs/fairface",
    licence="CC BY 4.0",
    citation="Karkkainen and Joo 2021, FairFace: face attribute dataset for balanced race, gender, and age, WACV",
    layout="fairface_label_train.csv and fairface_label_val.csv beside the folders train/ and val/ (or beside the "
    "unpacked fairface-img-margin025-trainval/ or fairface-img-margin125-trainval/)",
    attributes={"gender": "gender", "race": "race7", "age_group": "age9"},
    splits=SPLITS,
    also="service_test",
)


def repaired_age(age: str) -> str:
    """FairFace's age group where a spreadsheet took it for a date: 9-Mar or 3-Sep is 3-9, 19-Oct is 10-19."""
    mangled = MANGLED.fullmatch(age.strip())
    if not mangled:
        return age
    month = (mangled["month"] or mangled["month2"])[:3].lower()
    if month not in MONTHS:
        return age
    low, high = sorted((MONTHS.index(month) + 1, int(mangled["day"] or mangled["day2"])))
    return f"{low}-{high}"


@dataclass(frozen=True)
class FairFace(Reader):
    """``margin`` is 0.25 or 1.25, needed only where both are unpacked in one folder."""

    margin: str = ""

    card = CARD

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        root = self._pictures(folder)
        tables = {name: _table(folder, root, name) for name in SPLITS if split in (None, name)}
        if not any(tables.values()):
            raise self.reject(folder, "holds no table of labels")
        for name, path in tables.items():
            if path:
                convert = functools.partial(_record, root=root, split=name, log=log)
                yield from files.table(path, COLUMNS, log, convert)

    def _pictures(self, folder: Path) -> Path:
        roots = [p for p in files.subfolders(folder) if any((p / name).is_dir() for name in SPLITS)]
        if self.margin and len(roots) > 1:
            roots = [p for p in roots if f"margin{self.margin.replace('.', '')}" in p.name]
        if len(roots) > 1:
            names = ", ".join(p.name for p in roots)
            raise InputError(f"'{folder}' holds {names}: choose with margin, one of {', '.join(MARGINS)}.")
        if not roots:
            raise self.reject(folder)
        return roots[0]


def _table(folder: Path, root: Path, split: str) -> Path | None:
    names = (f"fairface_label_{split}.csv", f"{split}_labels.csv", f"{split}.csv")
    return files.first(place / name for place in (folder, root) for name in names)


def _record(row: files.Row, root: Path, split: str, log: Log) -> Record:
    service = log.cell(functools.partial(_service, row))
    path = files.picture(root, row["file"])
    return Record(
        filepath=path,
        labels=log.kept(
            {
                "gender": lambda: label("gender", row["gender"]),
                "race": lambda: label("race7", row["race"]),
                "age_group": lambda: label("age9", repaired_age(row["age"])),
            }
        ),
        split=split,
        values={} if service is None else {"service_test": service},
    )


def _service(row: files.Row) -> bool | None:
    if "service_test" not in row:
        return None
    service = TRUTH.get(row["service_test"].strip().lower())
    if service is None:
        raise BrokenRow("service_test is neither True nor False", f"got '{row['service_test']}'")
    return service
