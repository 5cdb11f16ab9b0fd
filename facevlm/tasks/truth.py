"""Labels of your own, joined from a table onto the samples of a dataset, to be evaluated against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevlm.datasets import joining
from facevlm.errors import InputError, lookup
from facevlm.store import targets, truths
from facevlm.tasks._verb import verb


@dataclass(frozen=True)
class TruthResult:
    """What a table says about a dataset: ``fields`` that were written, of each how often every label, or of numbers
    how many, the least and the largest.

    ``matched`` samples have a row. ``rows_unmatched`` name no sample, ``rows_ambiguous`` several, or one that another
    row names, too, and ``rows_broken`` cannot be read: they are left out. ``samples_unmatched`` are paths of samples
    without a row. ``cells`` are none where a number is needed.
    """

    fields: Mapping[str, Mapping[str, float]]
    matched: int
    rows_unmatched: tuple[str, ...] = ()
    rows_ambiguous: tuple[str, ...] = ()
    rows_broken: tuple[str, ...] = ()
    samples_unmatched: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


@verb
def truth(
    target: targets.Collection,
    table: str | Path,
    *,
    path_column: str | None = None,
    map: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> TruthResult:
    """Join the labels of a table onto the samples of a dataset, as ground truth for :func:`facevlm.evaluate`.

    A row is about the sample whose id it gives, whose file it names (from the root or from the table's folder), or
    whose path ends so; a name that several samples have is left out. Columns of numbers, such as ages in years, become
    numbers, all others Classifications of their labels as they are written. Everything is checked before anything is
    written.

    Args:
        target: a FiftyOne dataset or view of pictures; only its samples get values.
        table: a file in CSV or TSV, or in Parquet where pyarrow is installed.
        path_column: the column with paths, names or ids of samples; by default one of a usual name.
        map: column -> field, such as ``{"sex": "gender", "years": "age"}``; by default every other column becomes a
            field of its name.
        overwrite: write over values that are there and others; without it they are refused.

    Raises:
        FacevlmError: for columns that are not there, fields that hold something else, and a table no row of which names
            a sample, saying what to do.
    """
    target = targets.check(target)
    rows = joining.read(Path(table).expanduser())
    column = joining.picture_column(rows, path_column)
    fields = _fields(rows, column, map)
    pictures = truths.pictures(target)
    joined = joining.join(rows, column, pictures)
    if not joined.pairs:
        raise InputError(_nobody(rows, column, joined, pictures))
    read = {name: joining.column_of(joined, source) for name, source in fields.items()}
    truths.check(target, read, overwrite)
    truths.write(target, read)
    met = {picture for picture, _ in joined.pairs}
    return TruthResult(
        {name: _counts(one) for name, one in read.items()},
        len(met),
        joined.unmatched,
        joined.ambiguous,
        rows.left_out,
        tuple(path for picture, path in pictures.items() if picture not in met),
        tuple(cell for one in read.values() for cell in one.bad),
    )


def _fields(table: joining.OwnTable, column: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """Field -> the column that it is made of."""
    wanted = {name: name for name in table.names if name != column} if given is None else given
    if not wanted:
        raise InputError(f"{table.path} has no column but '{column}', expected at least one of labels.")
    for name in wanted:
        lookup("column", dict.fromkeys(table.names), name)
    twice = [name for name, n in Counter(wanted.values()).items() if n > 1]
    if twice:
        raise InputError(f"Got more than one column for the field '{twice[0]}', expected one for each.")
    return {name: source for source, name in wanted.items()}


def _nobody(table: joining.OwnTable, column: str, joined: joining.Joined, pictures: Mapping[str, str]) -> str:
    first = next(iter([*joined.ambiguous, *joined.unmatched]), "no value")
    known = f"the first sample is {next(iter(pictures.values()))}"
    return (
        f"None of the {len(table.rows):,} rows of {table.path.name} is about one sample of the dataset. Column "
        f"'{column}' has {first}; {known}. Name the column with paths, names or ids."
    )


def _counts(column: joining.Column) -> dict[str, float]:
    if not column.numbers:
        return {str(label): n for label, n in Counter(column.values.values()).most_common()}
    numbers = [float(value) for value in column.values.values()]
    return {"n": len(numbers), "least": min(numbers), "largest": max(numbers)} if numbers else {"n": 0}
