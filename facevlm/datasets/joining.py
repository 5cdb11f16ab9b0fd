"""Tables whose rows belong to pictures that are known already: which row is about which, by path, name or id."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facevlm.datasets import files
from facevlm.datasets.records import Log
from facevlm.datasets.table import NUMBER, PICTURE, TABLES
from facevlm.errors import InputError, lookup

IDS = ("sample_id", "id")
PARQUET = ".parquet"
Row = Mapping[str, str]


@dataclass(frozen=True)
class OwnTable:
    """Rows of text of a table, each with its place (file and line), and ``left_out``: places of broken rows."""

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joined:
    """Which row is about which picture: ``pairs`` of a picture's id and a row.

    ``unmatched`` rows name no picture, ``ambiguous`` ones several, or one that another row names, too; each as it
    stands in the table, with its line.
    """

    pairs: tuple[tuple[str, Row], ...]
    unmatched: tuple[str, ...]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """The values of a column by id of the picture: numbers where its cells are numbers, else labels. ``bad`` cells of a
    column of numbers are none."""

    values: Mapping[str, str | float]
    numbers: bool
    bad: tuple[str, ...] = field(default_factory=tuple)


def read(path: Path) -> OwnTable:
    """A CSV, TSV or Parquet file as text.

    Raises :class:`~facevlm.errors.InputError` for another file, or one that cannot be read.
    """
    if path.suffix.lower() not in (*TABLES, PARQUET) or not path.is_file():
        raise InputError(f"Got the table '{path}', expected a file that is there and ends in .csv, .tsv or {PARQUET}.")
    if path.suffix.lower() == PARQUET:
        return _parquet(path)
    log = Log()
    try:
        names = tuple(files.header(path))
        rows = tuple((f"{path.name}:{line}", row) for line, row in files.rows(path, (), log))
    except OSError as error:
        raise InputError(f"Cannot read the table '{path}': {error.strerror or error}.") from error
    return OwnTable(path, names, rows, tuple(log.rows))


def _parquet(path: Path) -> OwnTable:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "Tables in Parquet take the package pyarrow: pip install 'facevlm[hub]'; or use CSV."
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"Cannot read the table '{path}': {error}.") from error
    rows = ({name: "" if value is None else str(value) for name, value in row.items()} for row in table.to_pylist())
    return OwnTable(path, tuple(table.column_names), tuple((f"{path.name}:{k}", row) for k, row in enumerate(rows, 1)))


def picture_column(table: OwnTable, given: str | None) -> str:
    """The column that says which picture a row is about: the given one, else the first of a usual name."""
    if given is not None:
        lookup("column", dict.fromkeys(table.names), given)
        return given
    found = next((name for name in table.names if name.lower() in (*PICTURE, *IDS)), None)
    if found is None:
        raise InputError(
            f"{table.path} has the columns {', '.join(table.names)}, none of which is called like one of pictures "
            f"({', '.join(PICTURE[:4])}, ...) or of samples ({', '.join(IDS)}). Name it as path_column."
        )
    return found


class Pictures:
    """Pictures by all that a table may call them: their ids, paths, ends of paths, names, and names without endings."""

    def __init__(self, pictures: Mapping[str, str]) -> None:
        self._pictures = pictures
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for picture, path in pictures.items():
            self._by_path[os.path.normpath(path)].append(picture)
            for name in {os.path.basename(path), Path(path).stem}:
                self._by_name[name].append(picture)

    def called(self, text: str, folder: Path) -> list[str]:
        """Ids of the pictures that are called so in a table of this folder: those whose path it is, else those whose
        path ends so."""
        if text in self._pictures:
            return [text]
        whole = os.path.normpath(os.path.join(folder, text.replace("\\", "/")))
        if whole in self._by_path:
            return self._by_path[whole]
        parts = Path(os.path.normpath(text.replace("\\", "/"))).parts
        named = self._by_name.get(parts[-1], []) if parts else []
        above = tuple(part for part in parts[:-1] if part not in (os.sep, ".."))
        return [picture for picture in named if _ends(Path(self._pictures[picture]).parts[:-1], above)]


def _ends(path: Sequence[str], with_these: Sequence[str]) -> bool:
    return not with_these or tuple(path[-len(with_these) :]) == tuple(with_these)


def join(table: OwnTable, column: str, pictures: Mapping[str, str]) -> Joined:
    """The rows of a table onto pictures, given as id -> path."""
    known, folder = Pictures(pictures), table.path.resolve().parent
    met: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    unmatched, ambiguous = [], []
    for where, row in table.rows:
        text = row[column].strip()
        found = known.called(text, folder) if text else []
        told = f"{where}: {text or '(empty)'}"
        if len(found) == 1:
            met[found[0]].append((told, row))
        elif found:
            ambiguous.append(f"{told} is the name of {len(found)} pictures")
        else:
            unmatched.append(told)
    pairs = tuple((picture, rows[0][1]) for picture, rows in met.items() if len(rows) == 1)
    for rows in met.values():
        ambiguous += [f"{told} is one of {len(rows)} rows about one picture" for told, _ in rows if len(rows) > 1]
    return Joined(pairs, tuple(unmatched), tuple(ambiguous))


def column_of(joined: Joined, name: str) -> Column:
    """What a column says about the pictures; empty cells say nothing."""
    cells = {picture: row[name].strip() for picture, row in joined.pairs if row[name].strip()}
    numeric = [cell for cell in cells.values() if NUMBER.fullmatch(cell)]
    if not cells or 2 * len(numeric) < len(cells):
        return Column(cells, numbers=False)
    values = {picture: _number(cell) for picture, cell in cells.items()}
    known = {picture: value for picture, value in values.items() if math.isfinite(value)}
    return Column(known, numbers=True, bad=tuple(f"{name}: {cells[p]}" for p in values if p not in known))


def _number(cell: str) -> float:
    return float(cell.replace(",", ".")) if NUMBER.fullmatch(cell) else math.nan
