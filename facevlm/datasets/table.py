"""A CSV file of your own: one row per picture, columns that hold labels, years, and the split."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevlm.attributes import YEARS, Registry, canonical
from facevlm.datasets import files
from facevlm.datasets.fairface import repaired_age
from facevlm.datasets.folders import field_of, registry
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, labeller, labels_and_age
from facevlm.errors import InputError, TaxonomyError
from facevlm.types import Attribute

PICTURE = ("filepath", "file", "filename", "image", "image_path", "path", "picture")
SPLIT = ("split", "set", "partition", "usage")
FAMILIES = {"gender": "gender", "race": "race", "emotion": "emotion", "age_group": "age"}
"""Columns that are found by their names, and the family whose attribute fits the first rows best."""
TABLES = (".csv", ".tsv")
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|nan|inf(inity)?)", re.IGNORECASE)
LOOKED_AT = 1000

Meaning = Mapping[str, Attribute | None]
"""Column -> the attribute of its labels, or None for years."""


@dataclass(frozen=True)
class FaceTable(Reader):
    """``columns`` says what columns hold, such as ``sex=gender,ethnicity=race5,years=age``; without it, columns named
    gender, race, emotion, age_group, age (in years, or in groups), or like an attribute are taken. ``file`` is the
    table where there are several, ``pictures`` the folder that its paths start from (that of the table by default),
    ``attributes_file`` has more attributes. Columns are parted by commas, semicolons, tabs or bars."""

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
        layout=f"a CSV or TSV file with a column of pictures ({', '.join(PICTURE[:4])}, ...) and columns of labels",
        attributes={},
        also="a field for each column of labels",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        _, meaning = self._columns(folder, self._table(folder))
        return {field_of(attribute): attribute.name for attribute in meaning.values() if attribute}

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        path = self._table(folder)
        root = self._root(path)
        names, meaning = self._columns(folder, path)
        picture = _column(names, PICTURE)
        if picture is None:
            raise self.reject(folder, f"has a table, {path.name}, without a column of pictures ({', '.join(names)})")
        make = _maker(meaning, root, picture, _column(names, SPLIT), log)

        def convert(row: files.Row) -> Record | None:
            record = make(row)
            return record if split in (None, record.split) else None

        yield from files.table(path, [picture, *meaning], log, convert)

    def _root(self, path: Path) -> Path:
        """The folder that the table's paths start from: the named one, from here or from the table's own folder."""
        if not self.pictures:
            return path.parent
        places = [Path(self.pictures).expanduser().resolve(), path.parent / Path(self.pictures).expanduser()]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            looked = " or ".join(map(str, dict.fromkeys(places)))
            raise InputError(f"Got pictures='{self.pictures}', expected a folder; there is no {looked}.")
        return found

    def _columns(self, folder: Path, path: Path) -> tuple[list[str], Meaning]:
        """All columns, and what those that hold labels or years mean."""
        names, known = files.header(path), registry(self.attributes_file)
        meaning = _given(self.columns, names, known) if self.columns else _guessed(names, path, known)
        _check_apart(path, meaning)
        if not meaning:
            raise self.reject(folder, f"has a table, {path.name}, without a column of labels ({', '.join(names)})")
        return names, meaning

    def _table(self, folder: Path) -> Path:
        if folder.is_file() and folder.suffix.lower() in TABLES:
            return folder
        if self.file:
            if not (folder / self.file).is_file():
                raise self.reject(folder, f"holds no file '{self.file}'")
            return folder / self.file
        tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLES) if folder.is_dir() else []
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
        values = [row[name] for row in sample if row[name].strip()]
        if name.lower() in ("age", YEARS):
            meaning[name] = None if _in_years(values) else _fitting(name, values, path, known)
        elif name in known.attributes:
            meaning[name] = known.get(name)
        elif name.lower() in FAMILIES:
            meaning[name] = _fitting(name, values, path, known)
    return meaning


def _in_years(values: list[str]) -> bool:
    """Whether at least half of the values are numbers, so that the others are faults and no groups."""
    return 2 * sum(NUMBER.fullmatch(value.strip()) is not None for value in values) >= len(values)


def _check_apart(path: Path, meaning: Meaning) -> None:
    """Raise :class:`~facevlm.errors.InputError` for two columns that would be the same field."""
    columns: dict[str, list[str]] = defaultdict(list)
    for column, attribute in meaning.items():
        columns[field_of(attribute) if attribute else "age"].append(column)
    for field, names in columns.items():
        if len(names) > 1:
            raise InputError(
                f"{path}: the columns {' and '.join(names)} would both become the field '{field}'. Say which is "
                f"meant with columns=COLUMN=ATTRIBUTE,..., such as columns={names[0]}={_word(meaning[names[0]])}."
            )


def _word(attribute: Attribute | None) -> str:
    return attribute.name if attribute else "age"


def _fitting(name: str, values: list[str], path: Path, known: Registry) -> Attribute:
    """The attribute of the family that knows most of the values; the first of those that tie, which is the finest."""
    family = known.family(FAMILIES.get(name.lower(), "age"))
    fits = {a.name: sum(canonical(a, repaired_age(value)) is not None for value in values) for a in family}
    best = max(family, key=lambda a: fits[a.name])
    if fits[best.name] * 2 < len(values):
        strange = sorted({value for value in values if canonical(best, value) is None})
        raise TaxonomyError(
            f"{path}, column '{name}': got {', '.join(strange[:5])}, expected labels of one of "
            f"{', '.join(a.name for a in family)}. Say what columns hold with columns=COLUMN=ATTRIBUTE,..."
        )
    return best


def _maker(meaning: Meaning, root: Path, picture: str, part: str | None, log: Log) -> Callable[[files.Row], Record]:
    readers = {column: _reader(attribute) for column, attribute in meaning.items()}
    fields = {column: field_of(attribute) if attribute else "age" for column, attribute in meaning.items()}

    def make(row: files.Row) -> Record:
        split = row[part].strip().lower() if part else ""
        # The table is the user's own: its pictures may lie anywhere.
        path = os.path.normpath(os.path.join(root, row[picture]))
        if not os.path.isfile(path):
            raise BrokenRow("picture not there", f"{path}; pictures=FOLDER says where the table's paths start")
        given = {fields[c]: functools.partial(read, row[c]) for c, read in readers.items() if row[c].strip()}
        labels, age = labels_and_age(log.kept(given))
        return Record(path, labels, age, files.SPLITS.get(split, split) or None)

    return make


def _reader(attribute: Attribute | None) -> Callable[[str], str | float]:
    """What reads a cell: an age in years, or a label."""
    if attribute is None:
        return files.age
    label = labeller(attribute)
    return (lambda value: label(repaired_age(value))) if attribute.family == "age" else label
