"""Folders and tables, read one row at a time; what cannot be read is reported with file and line."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from facevlm import folders
from facevlm.attributes import OLDEST, age_in_years
from facevlm.datasets.records import Box, BrokenRow, Log, Record
from facevlm.errors import ImageError, LayoutError
from facevlm.faces import images

QUIET = frozenset({"thumbs.db", "desktop.ini"})
"""Files that systems lay into folders of pictures, beside those that they hide."""
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual names of splits."""
DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 2**16
"""Bytes from which the encoding of a table is told."""
LONGEST = 2**20
"""Characters of a line at most; a row of FER2013 has 10,000."""

Row = dict[str, str]


def pictures(folder: Path, log: Log | None = None, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Absolute paths of the pictures in a folder and below, sorted within each folder.

    What has no ending of a picture, or is no file, is reported, and so is a folder below that cannot be read; hidden
    files are left out without a word. ``above`` are the folders that this one lies in, which a link in it does not lead
    back to. Raises OSError where the folder itself cannot be read.
    """
    account, is_first, above = log or Log(), not above, above | {os.path.realpath(folder)}
    try:
        with os.scandir(folder) as entries:
            listed = sorted((e.name, e.is_dir(), e.is_file()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        if is_first:
            raise
        account.skip("folder cannot be read", str(folder), str(error.strerror))
        return
    for name, is_dir, is_file in listed:
        path = os.path.join(folder, name)
        if is_dir and os.path.realpath(path) in above:
            account.skip("link to a folder that it lies in", path)
        elif is_dir:
            yield from pictures(Path(path), account, above)
        elif not images.is_named_so(name):
            if name.lower() not in QUIET:
                account.skip("no ending of a picture", path, f"expected {', '.join(images.SUFFIXES)}")
        elif is_file:
            yield path
        else:
            account.skip("no file", path)


def first(paths: Iterable[Path]) -> Path | None:
    """The first path that is there."""
    return next((path for path in paths if path.exists()), None)


def subfolders(folder: Path) -> list[Path]:
    """The folder itself and those directly in it, sorted."""
    if not folder.is_dir():
        return []
    return [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))]


def find(folder: Path, names: Collection[str]) -> Path | None:
    """The first of the named files or folders, looked for in the folder, then one below."""
    return first(place / name for place in subfolders(folder) for name in names)


def table(
    path: Path,
    required: Collection[str],
    log: Log,
    convert: Callable[[Row], Record | None],
    header: list[str] | None = None,
) -> Iterator[Record]:
    """What ``convert`` makes of each row of a CSV file; None leaves a row out, and :class:`BrokenRow` reports it.

    ``header`` and errors as in :func:`rows`.
    """
    for line, row in rows(path, required, log, header):
        with log.skipping(f"{path}:{line}"):
            record = convert(row)
            if record is not None:
                yield record


def header(path: Path) -> list[str]:
    """The names of a CSV file's columns."""
    with text(path) as lines:
        first = next(lines, "")
        reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first), skipinitialspace=True)
        return _distinct(path, next(reader, []))


@contextlib.contextmanager
def text(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a text file, with their ends.

    Raises :class:`~facevlm.errors.LayoutError` at a line of more than :data:`LONGEST` characters, and OSError as
    :func:`facevlm.folders.opened` does.
    """
    with folders.opened(path) as handle:
        encoding = _encoding(handle.read(LOOKED_AT))
        handle.seek(0)
        yield _lines(path, io.TextIOWrapper(handle, encoding, errors="replace", newline=""))


def _lines(path: Path, handle: TextIO) -> Iterator[str]:
    while line := handle.readline(LONGEST):
        if len(line) == LONGEST:
            raise LayoutError(f"{path} has a line of more than {LONGEST:,} characters, expected a table in plain text.")
        yield line


def _encoding(head: bytes) -> str:
    """UTF-8, UTF-16 as spreadsheets write it, with a mark at its beginning, or else what they write in the West."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        # Not final: the head may end within a letter.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    # A file may begin with a byte order mark, which -sig takes away.
    return "utf-8-sig"


def _delimiter(line: str) -> str:
    """What parts the names of columns: the comma, or what parts more of them."""
    return max(DELIMITERS, key=lambda mark: len(next(csv.reader([line], delimiter=mark), [])))


def _distinct(path: Path, names: Iterable[str]) -> list[str]:
    """Names of columns without blanks around them.

    Raises :class:`~facevlm.errors.LayoutError` for one that stands twice.
    """
    trimmed = [name.strip() for name in names]
    twice = sorted({name for name in trimmed if name and trimmed.count(name) > 1})
    if twice:
        raise LayoutError(f"{path} has the column {', '.join(twice)} more than once, expected different names.")
    return trimmed


def rows(path: Path, required: Collection[str], log: Log, header: list[str] | None = None) -> Iterator[tuple[int, Row]]:
    """Line number and row of a CSV file, of the rows that have a value in every column.

    ``header`` names the columns of a file whose first line is a row already. Raises
    :class:`~facevlm.errors.LayoutError` where a required column is missing.
    """
    with text(path) as lines:
        first = next(lines, "")
        reader = csv.DictReader(
            itertools.chain([first], lines),
            fieldnames=header,
            skipinitialspace=True,
            delimiter="," if header else _delimiter(first),
        )
        columns = _distinct(path, map(str, reader.fieldnames or []))
        reader.fieldnames = columns
        missing = [name for name in required if name not in columns]
        if missing:
            raise LayoutError(f"{path} has the columns {', '.join(columns) or 'none'}; {', '.join(missing)} missing.")
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                log.skip("not CSV", f"{path}:{reader.line_num}", str(error))
                continue
            # The reader keeps surplus values under None, and fills up missing ones with None.
            if None in row or None in row.values():
                log.skip("too few or too many columns", f"{path}:{reader.line_num}")
            else:
                yield reader.line_num, row


def words(path: Path, log: Log, count: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and words of the lines of a text file that have ``count`` words."""
    with text(path) as lines:
        for number, line in enumerate(lines, 1):
            parts = line.split()
            if len(parts) == count:
                yield number, parts
            elif parts:
                log.skip(f"not {count} words", f"{path}:{number}", f"got {len(parts)}")


def inside(root: Path | str, name: str) -> str:
    """The absolute path of a name in a folder.

    Raises :class:`BrokenRow` for a name that leads out of it.
    """
    path = os.path.normpath(os.path.join(root, name))
    # With the separator at the end: /data2 is not inside of /data.
    if not path.startswith(os.path.join(root, "")):
        raise BrokenRow("picture outside of the data set's folder", name)
    return path


def picture(root: Path | str, name: str) -> str:
    """The absolute path of a picture that is there.

    Raises :class:`BrokenRow` where it is not, or lies outside of the folder.
    """
    return there(inside(root, name), name)


def there(path: str, name: str) -> str:
    """The path of a picture that is there.

    Raises :class:`BrokenRow` with its name where it is not.
    """
    if not os.path.isfile(path):
        raise BrokenRow("picture not there", name)
    return path


def number(value: str, what: str) -> float:
    """A number.

    Raises :class:`BrokenRow` for anything else.
    """
    try:
        parsed = float(value)
    except ValueError:
        raise BrokenRow(f"{what} is no number", f"got '{value}'") from None
    if not math.isfinite(parsed):
        raise BrokenRow(f"{what} is no number", f"got '{value}'")
    return parsed


def age(value: str) -> float:
    """An age in years.

    Raises :class:`BrokenRow` for what cannot be one.
    """
    years = age_in_years(number(value, "age"))
    if years is None:
        raise BrokenRow(f"age is not from 0 to {OLDEST}", f"got '{value}'")
    return years


def size(path: str) -> tuple[int, int]:
    """Width and height in pixels, from the file's head.

    Raises :class:`BrokenRow` for a file that is no picture.
    """
    try:
        return images.size(path)
    except ImageError as error:
        raise BrokenRow("picture cannot be read", str(error)) from None


def relative_box(x: float, y: float, width: float, height: float, of: tuple[int, int]) -> Box:
    """A box in pixels as shares of a picture of ``of`` pixels, cut at its edges.

    Raises :class:`BrokenRow` where nothing is left.
    """
    if not all(map(math.isfinite, (x, y, width, height))):
        raise BrokenRow("box of no numbers")
    left, top = max(0.0, x / of[0]), max(0.0, y / of[1])
    right, bottom = min(1.0, (x + width) / of[0]), min(1.0, (y + height) / of[1])
    if right <= left or bottom <= top:
        raise BrokenRow("box outside of the picture")
    return left, top, right - left, bottom - top
