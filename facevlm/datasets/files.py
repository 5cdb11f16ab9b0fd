"""Folders and tables, read one row at a time; what cannot be read is reported with file and line."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from facevlm.datasets.records import Box, BrokenRow, Log, Record
from facevlm.errors import LayoutError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual names of splits."""

Row = dict[str, str]


def pictures(folder: Path) -> Iterator[str]:
    """Absolute paths of the pictures in a folder and below, sorted within each folder; hidden ones are left out."""
    with os.scandir(folder) as entries:
        listed = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    for name, is_dir in listed:
        if is_dir:
            yield from pictures(folder / name)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:
            yield os.path.join(folder, name)


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
    # Spreadsheets begin a file with a byte order mark, which -sig takes away.
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as handle:
        return [name.strip() for name in next(csv.reader(handle, skipinitialspace=True), [])]


def rows(path: Path, required: Collection[str], log: Log, header: list[str] | None = None) -> Iterator[tuple[int, Row]]:
    """Line number and row of a CSV file, of the rows that have a value in every column.

    ``header`` names the columns of a file whose first line is a row already. Raises
    :class:`~facevlm.errors.LayoutError` where a required column is missing.
    """
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as handle:
        reader = csv.DictReader(handle, fieldnames=header, skipinitialspace=True)
        columns = [str(name).strip() for name in reader.fieldnames or []]
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
    with open(path, encoding="utf-8", errors="replace") as handle:
        for number, line in enumerate(handle, 1):
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


def size(path: str) -> tuple[int, int]:
    """Width and height in pixels, from the file's head.

    Raises :class:`BrokenRow` for a file that is no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return width, height
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        raise BrokenRow("picture cannot be read") from None


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
