"""A CSV file of your own: one row per picture, columns that hold labels, years, and the split."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevlm import attributes
from facevlm.attributes import YEARS
from facevlm.datasets import files
from facevlm.datasets.folders import field_of
from facevlm.datasets.records import BrokenRow, Card, Log, Reader, Record, label
from facevlm.errors import InputError, TaxonomyError

PICTURE = ("filepath", "file", "filename", "image", "image_path", "path", "picture")
SPLIT = ("split", "set", "partition", "usage")
FAMILIES = {"gender": "gender", "race": "race7", "emotion": "emotion8", "age_group": "age9"}
"""Columns that are found by their names, and the finest attribute of each; a coarser one of the family is taken where
it fits better."""
LOOKED_AT = 1000
"""Rows from which the label set of a column is told."""


@dataclass(frozen=True)
class Table(Reader):
    """``columns`` says what columns hold, such as ``sex=gender,ethnicity=race5,years=age``; without it, columns named
    gender, race, emotion, age_group, age, or like an attribute are taken. ``file`` is the CSV where there are several,
    ``pictures`` the folder that its paths start from."""

    columns: str = ""
    file: str = ""
    pictures: str = ""

    card = Card(
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
        return {field_of(name): name for name in meaning.values() if name != YEARS}

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

    def _columns(self, folder: Path, path: Path) -> tuple[list[str], dict[str, str]]:
        """All columns, and what those that hold labels or years mean."""
        names, sample = _head(path)
        meaning = _given(self.columns, names) if self.columns else _guessed(names, sample, path)
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
        found = sorted(folder.glob("*.csv")) if folder.is_dir() else []
        if len(found) > 1:
            raise InputError(f"'{folder}' holds {', '.join(p.name for p in found)}: choose with file.")
        if not found:
            raise self.reject(folder)
        return found[0]


def _head(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as handle:
        reader = csv.DictReader(handle, skipinitialspace=True)
        names = [str(name).strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        return names, list(itertools.islice(reader, LOOKED_AT))


def _column(names: list[str], usual: tuple[str, ...]) -> str | None:
    return next((name for name in names if name.lower() in usual), None)


def _given(columns: str, names: list[str]) -> dict[str, str]:
    """Column -> attribute or ``years``, as the caller says."""
    found = {}
    for part in columns.split(","):
        column, equals, attribute = (text.strip() for text in part.partition("="))
        if not equals or column not in names:
            raise InputError(f"Got columns '{part.strip()}', expected COLUMN=ATTRIBUTE with one of {', '.join(names)}.")
        found[column] = YEARS if attribute in ("age", YEARS) else attributes.get(attribute).name
    return found


def _guessed(names: list[str], sample: list[dict[str, str]], path: Path) -> dict[str, str]:
    """Column -> attribute or ``years``, from the names of the columns and the first rows."""
    known, found = attributes.shipped(), {}
    for name in names:
        if name.lower() in ("age", YEARS):
            found[name] = YEARS
        elif name in known.attributes:
            found[name] = name
        elif name.lower() in FAMILIES:
            values = {row.get(name) for row in sample}
            found[name] = _recognised(name, values, path)
    return found


def _recognised(name: str, values: set[str | None], path: Path) -> str:
    try:
        attribute = attributes.recognise(values, attributes.get(FAMILIES[name.lower()]), attributes.shipped())
    except TaxonomyError as error:
        raise TaxonomyError(
            f"{path}, column '{name}': {error} Say what columns hold with columns=COLUMN=ATTRIBUTE,..."
        ) from error
    return attribute if isinstance(attribute, str) else attribute.name


def _maker(meaning: Mapping[str, str], root: Path, picture: str, part: str | None) -> Callable[[files.Row], Record]:
    labels = {column: (field_of(name), name) for column, name in meaning.items() if name != YEARS}
    years = next((column for column, name in meaning.items() if name == YEARS), None)

    def make(row: files.Row) -> Record:
        age = files.number(row[years], "age") if years and row[years].strip() else None
        if age is not None and age < 0:
            raise BrokenRow("age is below 0", f"got '{age:g}'")
        split = row[part].strip().lower() if part else ""
        return Record(
            filepath=files.picture(root, row[picture]),
            labels={field: label(name, row[column]) for column, (field, name) in labels.items() if row[column].strip()},
            age=age,
            split=files.SPLITS.get(split, split) or None,
        )

    return make
