"""CelebA: forty yes/no attributes of a picture, in ``list_attr_celeba`` as text or CSV."""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevlm import attributes, folders
from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record
from facevlm.errors import LayoutError, UnknownName

PREFIX = "celeba_"
ANSWERS = {"1": "yes", "-1": "no", "0": "no"}
GENDERS = {"yes": "Male", "no": "Female"}
SPLITS = {"0": "train", "1": "val", "2": "test"}
PICTURES = ("img_align_celeba", "img_celeba", "images")


def columns() -> list[str]:
    """The forty fields in the order of the official list."""
    return [name for name in attributes.load("celeba").attributes if name.startswith(PREFIX)]


@dataclass(frozen=True)
class CelebA(Reader):
    """``only`` names some of the forty, such as ``smiling,eyeglasses``; by default all are read."""

    only: str = ""

    card = DatasetCard(
        name="celeba",
        title="CelebA",
        url="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        licence="non-commercial research only",
        citation="Liu, Luo, Wang and Tang 2015, Deep learning face attributes in the wild, ICCV",
        layout="list_attr_celeba.txt or .csv, list_eval_partition.txt or .csv, and img_align_celeba/ or img_celeba/ "
        "(Anno/, Eval/ and Img/ are seen)",
        attributes={"gender": "gender"},
        splits=tuple(SPLITS.values()),
        also="the forty as celeba_smiling, celeba_eyeglasses, ... (yes or no)",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        return {name: name for name in self._chosen()} | {"gender": "gender"}

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        chosen = self._chosen()
        table = files.find(folder, ["list_attr_celeba.txt", "list_attr_celeba.csv"])
        root = _pictures(folder)
        if table is None or root is None:
            raise self.reject(folder)
        parts = _partition(files.find(folder, ["list_eval_partition.txt", "list_eval_partition.csv"]))
        for line, (name, *values) in lines(table, log):
            with log.skipping(f"{table}:{line}"):
                part = SPLITS.get(parts.get(name, ""))
                if split in (None, part):
                    labels = answers(values, chosen, log)
                    yield Record(files.picture(root, name), labels, split=part)

    def _chosen(self) -> Sequence[str]:
        known = columns()
        if not self.only:
            return known
        names = [
            name if name.startswith(PREFIX) else PREFIX + name for name in self.only.lower().replace(" ", "").split(",")
        ]
        for name in names:
            if name not in known:
                raise UnknownName("attribute of CelebA", name, known)
        return names


def answers(values: Sequence[str], chosen: Iterable[str], log: Log) -> dict[str, str]:
    """Field -> yes or no of the chosen among the forty, and perceived gender.

    A value that is none of 1, 0, -1 is reported. Raises :class:`BrokenRow` where none is left.
    """
    said = dict(zip(columns(), values, strict=True))
    asked = {name: functools.partial(_answer, said[name]) for name in chosen}
    return log.kept(asked | {"gender": lambda: GENDERS[_answer(said["celeba_male"])]})


def _answer(value: str) -> str:
    if value not in ANSWERS:
        raise BrokenRow("an attribute is neither 1 nor -1", f"got '{value}'")
    return ANSWERS[value]


def lines(table: Path, log: Log) -> Iterator[tuple[int, list[str]]]:
    """Line number, then the picture's name and its forty values, of the official text (two lines of head) or of a CSV.

    Raises :class:`~facevlm.errors.LayoutError` where the columns are not CelebA's forty.
    """
    names = [name.removeprefix(PREFIX) for name in columns()]
    with files.text(table) as handle:
        is_csv = table.suffix == ".csv"
        head = next(csv.reader(handle), [])[1:] if is_csv else [*itertools.islice(handle, 2), "", ""][1].split()
        if [name.lower() for name in head] != names:
            raise LayoutError(f"{table}: the columns are not CelebA's forty ({', '.join(names[:3])}, ...).")
        rows = csv.reader(handle) if is_csv else (line.split() for line in handle)
        for number, row in enumerate(rows, 2 if is_csv else 3):
            if len(row) == len(names) + 1:
                yield number, [value.strip() for value in row]
            elif row:
                log.skip("not 41 columns", f"{table}:{number}", f"got {len(row)}")


def _pictures(folder: Path) -> Path | None:
    root = files.find(folder, PICTURES)
    while root is not None and (root / root.name).is_dir():
        root = root / root.name
    return root


def _partition(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    text = folders.read_text(path, errors="replace").replace(",", " ")
    return {parts[0]: parts[1] for parts in map(str.split, text.splitlines()) if len(parts) == 2}
