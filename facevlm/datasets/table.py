"""A CSV file of your own: one row per picture, columns that hold labels, years, and the split."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevlm.attributes import YEARS, Registry, canonical
from facevlm.datasets import files
from facevlm.datasets.folders import field_of, registry
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, labeller
from facevlm.errors import InputError, TaxonomyError
from facevlm.types import Attribute

PICTURE = ("filepath", "file", "filename", "image", "image_path", "path", "picture")
SPLIT = ("split", "set", "partition", "usage")
FAMILIES = {"gender": "gender", "race": "race", "emotion": "emotion", "age_group": "age"}
"""Columns that are found by their names, and the family whose attribute fits the first rows best."""
LOOKED_AT = 1000

Meaning = Mapping[str, Attribute | None]
"""Column -> the attribute of its labels, or None for years."""


@dataclass(frozen=True)
class FaceTable(Reader):
    """``columns`` says what columns hold, such as ``sex=gender,ethnicity=race5,years=age``; without it, columns named
    gender, race, emotion, age_group, age, or like an attribute are taken. ``file`` is the CSV where there are several,
    ``pictures`` the folder that its paths start from, ``attributes_file`` has more attributes."""

    columns: str = ""
    file: str = ""
    pictures: str = ""
    attributes_file: str = ""

    card = DatasetCard(
        name="csv",
        title="A table of your own",
        url="your own data",
        licence="yours",
        citation="",
        layout=f"a CSV file with a column of pictures ({', '.join(PICTURE[:4])}, ...) and columns of labels",
        attributes={},
        also="a field for each column of labels",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        _, meaning = self._columns(folder, self._table(folder))
        return {field_of(attribute): attribute.name for attribute in meaning.values() if attribute}

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        path = self._table(folder)
        root = Path(self.pictures).expanduser().resolve() if self.pictures else path.parent
        names, meaning = self._columns(folder, path)
        picture = _column(names, PICTURE)
        if picture is None:
            raise self.reject(folder, f"has a table, {path.name}, without a column of pictures ({', '.join(names)})")
        make = _maker(meaning, root, picture, _column(names, SPLIT))

        def convert(row: files.Row) -> Record | None:
            record = make(row)
            return record if split in (None, record.split) else None

        yield from files.table(path, [picture, *meaning], log, convert)

    def _columns(self, folder: Path, path: Path) -> tuple[list[str], Meaning]:
        """All columns, and what those that hold labels or years mean."""
        names, known = files.header(path), registry(self.attributes_file)
        meaning = _given(self.columns, names, known) if self.columns else _guessed(names, path, known)
        if not meaning:
            raise self.reject(folder, f"has a table, {path.name}, without a column of labels ({', '.join(names)})")
        return names, meaning

    def _table(self, folder: Path) -> Path:
        if folder.is_file() and folder.suffix.lower() == ".csv":
            return folder
        if self.file:
            if not (folder / self.file).is_file():
                raise self.reject(folder, f"holds no file '{self.file}'")
            return folder / self.file
        tables = sorted(folder.glob("*.csv")) if folder.is_dir() else []
        if len(tables) > 1:
            raise InputError(f"'{folder}' holds {', '.join(p.name for p in tables)}: choose with file.")
        if not tables:
            raise self.reject(folder)
        return tables[0]


def _column(names: list[str], usual: tuple[str, ...]) -> str | None:
    return next((name for name in names if name.lower() in usual), None)


def _given(columns: str, names: list[str], known: Registry) -> Meaning:
    """As the caller says."""
    meaning: dict[str, Attribute | None] = {}
    for part in columns.split(","):
        column, equals, attribute = (text.strip() for text in part.partition("="))
        if not equals or column not in names:
            raise InputError(f"Got columns '{part.strip()}', expected COLUMN=ATTRIBUTE with one of {', '.join(names)}.")
        meaning[column] = None if attribute in ("age", YEARS) else known.get(attribute)
    return meaning


def _guessed(names: list[str], path: Path, known: Registry) -> Meaning:
    """From the names of the columns and the first rows."""
    sample = [row for _, row in itertools.islice(files.rows(path, (), Log()), LOOKED_AT)]
    meaning: dict[str, Attribute | None] = {}
    for name in names:
        if name.lower() in ("age", YEARS):
            meaning[name] = None
        elif name in known.attributes:
            meaning[name] = known.get(name)
        elif name.lower() in FAMILIES:
            meaning[name] = _fitting(name, [row[name] for row in sample if row[name].strip()], path, known)
    return meaning


def _fitting(name: str, values: list[str], path: Path, known: Registry) -> Attribute:
    """The attribute of the family that knows most of the values; the first of those that tie, which is the finest."""
    family = known.family(FAMILIES[name.lower()])
    fits = {a.name: sum(canonical(a, value) is not None for value in values) for a in family}
    best = max(family, key=lambda a: fits[a.name])
    if fits[best.name] * 2 < len(values):
        strange = sorted({value for value in values if canonical(best, value) is None})
        raise TaxonomyError(
            f"{path}, column '{name}': got {', '.join(strange[:5])}, expected labels of one of "
            f"{', '.join(a.name for a in family)}. Say what columns hold with columns=COLUMN=ATTRIBUTE,..."
        )
    return best


def _maker(meaning: Meaning, root: Path, picture: str, part: str | None) -> Callable[[files.Row], Record]:
    labels = {column: (field_of(attribute), labeller(attribute)) for column, attribute in meaning.items() if attribute}
    years = next((column for column, attribute in meaning.items() if attribute is None), None)

    def make(row: files.Row) -> Record:
        age = files.number(row[years], "age") if years and row[years].strip() else None
        if age is not None and age < 0:
            raise BrokenRow("age is below 0", f"got '{age:g}'")
        split = row[part].strip().lower() if part else ""
        return Record(
            # The table is the user's own: its pictures may lie anywhere.
            filepath=files.there(os.path.normpath(os.path.join(root, row[picture])), row[picture]),
            labels={field: label(row[column]) for column, (field, label) in labels.items() if row[column].strip()},
            age=age,
            split=files.SPLITS.get(split, split) or None,
        )

    return make
