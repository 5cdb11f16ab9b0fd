"""What a report is made of. HTML, Markdown and JSON are all written from it, so that their figures cannot differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from facevlm.evaluation import figures
from facevlm.evaluation.figures import INTERVALS, Figure, Number, Surface
from facevlm.evaluation.groups import SMALL

Value: TypeAlias = "str | int | float | tuple[Number, Number] | None"
Plain: TypeAlias = "Mapping[str, Any]"
"""A part of a stored evaluation."""
DASH = "-"


@dataclass(frozen=True)
class TableCell:
    """A figure or a word as it is shown, and the value behind it; an interval is a pair."""

    shown: str
    value: Value

    @property
    def numeric(self) -> bool:
        return not isinstance(self.value, str)


@dataclass(frozen=True)
class TableRow:
    """A line of a table; ``muted`` for groups too small to compare."""

    cells: tuple[TableCell, ...]
    muted: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its heading and a note below."""

    title: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph; a ``warning`` stands out."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Points:
    """A list of short sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A share with its interval."""

    label: str
    value: Number
    low: Number
    high: Number
    n: int
    muted: bool = False


@dataclass(frozen=True)
class Bars:
    """Shares with intervals beside one another, and the overall share as a line."""

    title: str
    bars: tuple[Bar, ...]
    reference: Number = None


@dataclass(frozen=True)
class Heatmap:
    """Counts; colours show shares of a row."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Spot:
    """A point of a curve, perhaps with an interval and with the faces behind it."""

    x: float
    y: float
    low: Number = None
    high: Number = None
    n: int = 0


@dataclass(frozen=True)
class Curve:
    """Points over shares, joined by a line or against the diagonal; the vertical axis begins at ``bottom``."""

    title: str
    x_label: str
    y_label: str
    spots: tuple[Spot, ...]
    joined: bool = False
    bottom: float = 0.0


@dataclass(frozen=True)
class EmbeddedPicture:
    """A small picture as a data URL; kept out of Markdown and JSON."""

    url: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Sample errors with pictures."""

    title: str
    pictures: tuple[EmbeddedPicture, ...]


Block: TypeAlias = "Table | Text | Points | Bars | Heatmap | Curve | Gallery"


@dataclass(frozen=True)
class Section:
    """Blocks under a heading, then sections below it. ``folded`` sections open on demand."""

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """A whole report, and the stored evaluation that it was made of."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data without pictures."""
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "sections": [_section(s) for s in self.sections],
            "evaluation": dict(self.evaluation),
        }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "blocks": [
            {"kind": type(b).__name__.lower(), **asdict(b)} for b in section.blocks if not isinstance(b, Gallery)
        ],
        "sections": [_section(s) for s in section.sections],
    }


def share(value: Number) -> str:
    """A share as per cent with one decimal, or a dash where it is undefined."""
    return f"{100 * value:.1f}" if value is not None and math.isfinite(value) else DASH


def number(value: Number) -> str:
    """A number with two decimals, or a dash where it is undefined."""
    return f"{value:.2f}" if value is not None and math.isfinite(value) else DASH


def probability(value: Number) -> str:
    """A p-value with three decimals, or a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def numbers_alone(table: Table) -> list[bool]:
    """For every column whether it holds no word: those are aligned to the right."""
    return [all(row.cells[k].numeric for row in table.rows) for k in range(len(table.header))]


def word(text: object) -> TableCell:
    """Something that is no figure."""
    return TableCell(str(text), str(text))


def count(n: int, *, few: bool = False) -> TableCell:
    """A whole number; a star where it is too few to compare."""
    return TableCell(f"{n}{'*' if few else ''}", n)


def percent(value: Number) -> TableCell:
    return TableCell(share(value), value)


def decimal(value: Number) -> TableCell:
    return TableCell(number(value), value)


def chance(value: Number) -> TableCell:
    """A p-value."""
    return TableCell(probability(value), value)


def interval(low: Number, high: Number) -> TableCell:
    """Two shares."""
    return TableCell(f"{share(low)} - {share(high)}" if low is not None and high is not None else DASH, (low, high))


def ratio_interval(low: Number, high: Number) -> TableCell:
    """Two numbers."""
    return TableCell(f"{number(low)} - {number(high)}" if low is not None and high is not None else DASH, (low, high))


def amount(figure: Figure, value: Number) -> TableCell:
    """The value of a figure in its unit: shares in per cent, all else as it is."""
    return percent(value) if figure.unit == "share" else decimal(value)


def ends(figure: Figure, bounds: tuple[Number, Number]) -> TableCell:
    """The interval of a figure in its unit."""
    return interval(*bounds) if figure.unit == "share" else ratio_interval(*bounds)


def headings(surface: Surface, shown: Sequence[Figure]) -> list[str]:
    """What stands above the columns of figures, and of their intervals where there is room for them."""
    columns = [[f.heading(surface), *([INTERVALS[f.interval]] if f.has_interval(surface) else [])] for f in shown]
    return [heading for column in columns for heading in column]


def figure_cells(surface: Surface, shown: Sequence[Figure], held: Plain) -> list[TableCell]:
    """A cell's figures, fresh or stored, under these headings; a dash for one that it lacks."""
    cells = []
    for figure in shown:
        cells.append(amount(figure, figure.value(held)))
        if figure.has_interval(surface):
            cells.append(ends(figure, figure.interval_in(held)))
    return cells


def telling(held: Plain, n_labels: int) -> Plain:
    """A group's figures without those that say nothing where one label alone is true."""
    if n_labels > 1:
        return held
    silent = {name for f in figures.table() if f.several_labels for name in (f.name, *f.ends)}
    return {name: value for name, value in held.items() if name not in silent}


def share_bar(label: str, cell: Plain) -> Bar:
    """Accuracy of a stored cell with its interval."""
    n, (low, high) = cell["n"], (cell.get("low"), cell.get("high"))
    return Bar(label, cell.get("accuracy"), low, high, n, n < SMALL)


def facts(title: str, pairs: Sequence[tuple[str, TableCell]], note: str = "") -> Table:
    """A table of names and what they are."""
    return Table(title, ("what", "value"), tuple(TableRow((word(name), cell)) for name, cell in pairs), note)


def group_name(values: Sequence[str]) -> str:
    """A group by several fields in one line."""
    return " / ".join(values)
