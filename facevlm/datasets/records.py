"""What every reader yields and says: records, the card of a data set, and an account of what was left out."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from facevlm import attributes
from facevlm.attributes import canonical, translate
from facevlm.errors import InputError, LayoutError
from facevlm.types import Attribute

SHOWN = 100
"""So many rows that were left out are named; all are counted."""

Box = tuple[float, float, float, float]
"""x, y, width, height as shares of the picture."""

Value = bool | int | float | str
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One person or face of a picture. ``labels`` maps a field (``gender``, ``race``, ...) to a label, ``age`` is
    years."""

    box_xywh_rel: Box
    labels: Mapping[str, str] = field(default_factory=dict)
    age: float | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    kind: str = "face"


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and what is said about it.

    ``labels`` maps a field to a label of the field's attribute, ``age`` is years, ``split`` and ``tags`` become sample
    tags, ``values`` become plain fields, ``points_xy_rel`` are landmarks as shares of the picture.
    """

    filepath: str
    labels: Mapping[str, str] = field(default_factory=dict)
    age: float | None = None
    split: str | None = None
    tags: tuple[str, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    faces: tuple[FaceBox, ...] = ()
    points_xy_rel: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class DatasetCard:
    """What is to be known about a data set before one has it.

    ``layout`` says in a sentence what its folder holds; ``attributes`` maps the fields that come out to attributes;
    ``splits`` are its splits.
    """

    name: str
    title: str
    url: str
    licence: str
    citation: str
    layout: str
    attributes: Mapping[str, str]
    splits: tuple[str, ...] = ()
    also: str = ""


class BrokenRow(Exception):
    """A row that cannot be used: the kind of trouble, one of few, and a detail. Never leaves a reader."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.detail = kind, detail


@dataclass
class Log:
    """What a reader left out: every row, and every cell of the rows that it took, is counted by its kind, and the first
    ones are named with file and line. ``where`` is the row that is being read."""

    kinds: Counter[str] = field(default_factory=Counter)
    rows: list[str] = field(default_factory=list)
    cells: Counter[str] = field(default_factory=Counter)
    where: str = ""

    def skip(self, kind: str, where: str, detail: str = "") -> None:
        """A row that is broken: ``where`` is file and line."""
        self.kinds[kind] += 1
        self._name(f"{where}: {kind}{f' ({detail})' if detail else ''}")

    @contextmanager
    def skipping(self, where: str) -> Iterator[None]:
        """Report a row that turns out to be broken, and go on after it."""
        self.where = where
        try:
            yield
        except BrokenRow as error:
            self.skip(error.kind, where, error.detail)

    def kept(self, cells: Mapping[str, Callable[[], V | None]]) -> dict[str, V]:
        """What the cells of the row say, by name; without those that say nothing.

        One that cannot be used is reported and costs no more than itself. Raises :class:`BrokenRow` where none is left.
        """
        kept, broken = {}, []
        for name, read in cells.items():
            try:
                value = read()
            except BrokenRow as error:
                broken.append(error)
                continue
            if value is not None:
                kept[name] = value
        if broken and not kept:
            raise broken[0]
        for found in broken:
            self._blank(found)
        return kept

    def cell(self, read: Callable[[], V | None]) -> V | None:
        """What one cell of the row says; None, and reported, where it cannot be used."""
        try:
            return read()
        except BrokenRow as error:
            self._blank(error)
            return None

    def _blank(self, error: BrokenRow) -> None:
        self.cells[error.kind] += 1
        detail = f" ({error.detail})" if error.detail else ""
        self._name(f"{self.where}: {error.kind}{detail}; the rest of the row is kept")

    def _name(self, text: str) -> None:
        if len(self.rows) < SHOWN:
            self.rows.append(text)

    def leave(self, kind: str) -> None:
        """A row that is left out on purpose, such as a picture without a face."""
        self.kinds[kind] += 1

    @property
    def count(self) -> int:
        """All that was left out."""
        return sum(self.kinds.values())

    def to_dict(self) -> dict[str, Any]:
        """For a dataset's info."""
        cells = {"count": sum(self.cells.values()), "reasons": _reasons(self.cells)}
        return {"count": self.count, "reasons": _reasons(self.kinds), "cells": cells, "rows": list(self.rows)}


def _reasons(kinds: Counter[str]) -> list[dict[str, Any]]:
    return [{"reason": kind, "count": count} for kind, count in kinds.most_common()]


@dataclass(frozen=True)
class Reader(ABC):
    """A data set on disk. Subclasses are frozen dataclasses: their fields are the options, each with a default."""

    card: ClassVar[DatasetCard]

    @abstractmethod
    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        """Records in a fixed order, one at a time; of one split if it is named.

        Raises :class:`~facevlm.errors.LayoutError` where the folder does not hold the data set, when the first record
        is asked for.
        """

    def fields(self, folder: Path) -> Mapping[str, str]:
        """Field -> attribute of the labels that :meth:`read` yields."""
        return self.card.attributes

    def reject(self, folder: Path, contents: str = "") -> LayoutError:
        """The error for a folder that holds something else: ``contents``, else its first entries are listed."""
        return LayoutError(
            f"'{folder}' {contents or _contents(folder)}; expected {self.card.layout}. "
            f"{self.card.title}: {self.card.url} (licence: {self.card.licence})."
        )

    def check_split(self, split: str | None) -> None:
        """Raise :class:`~facevlm.errors.InputError` for a split that the data set does not have."""
        if split is not None and split not in self.card.splits:
            raise InputError(
                f"{self.card.title} has no split '{split}'; it has {', '.join(self.card.splits) or 'none'}."
            )


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "is a file" if folder.is_file() else "is not there"
    names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    if not names:
        return "is empty"
    return f"holds {', '.join(names[:6])}" + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def labeller(attribute: Attribute) -> Callable[[str], str]:
    """A function from a spelling to the label, which raises :class:`BrokenRow` for a value that spells none."""

    @functools.lru_cache(maxsize=4096)
    def find(value: str) -> str | None:
        return canonical(attribute, value)

    def label_of(value: str) -> str:
        label = find(value)
        if label is None:
            raise BrokenRow(f"no label of {attribute.name}", f"got '{value}'")
        return label

    return label_of


@functools.cache
def _shipped(attribute: str) -> Callable[[str], str]:
    return labeller(attributes.get(attribute))


def label(attribute: str, value: str) -> str:
    """The label of a shipped attribute that a value spells.

    Raises :class:`BrokenRow` for a value that is none of the attribute's.
    """
    return _shipped(attribute)(value)


@functools.lru_cache(maxsize=8192)
def age_group(attribute: str, age: float) -> str | None:
    """The age group of an age in years, or None where the attribute has none for it."""
    return translate([age], attributes.YEARS, attributes.get(attribute))[0]


def named(codes: Sequence[str], value: str, what: str) -> str:
    """The entry that a number such as "3" stands for.

    Raises :class:`BrokenRow` for what is no such number.
    """
    if not value.strip().isdecimal() or int(value) >= len(codes):
        raise BrokenRow(f"{what} is none of 0 to {len(codes) - 1}", f"got '{value}'")
    return codes[int(value)]


def labels_and_age(cells: Mapping[str, str | float]) -> tuple[dict[str, str], float | None]:
    """The labels among the cells of a row, and the number in ``age``."""
    labels = {name: value for name, value in cells.items() if isinstance(value, str)}
    age = cells.get("age")
    return labels, age if isinstance(age, float) else None
