"""What a report is made of. HTML, Markdown and JSON are all written from it, so that their figures cannot differ."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from facevlm.errors import visible
from facevlm.evaluation import clusters, figures
from facevlm.evaluation.figures import INTERVALS, Figure, Number, Surface
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.metrics import FEWEST, score, wilson

Value: TypeAlias = "str | int | float | tuple[Number, Number] | None"
Plain: TypeAlias = "Mapping[str, Any]"
"""A part of a stored evaluation."""
DASH = "-"


def escape(text: str) -> str:
    """Text of anybody for HTML, attributes included: neither markup nor control characters are left in it."""
    return html.escape(visible(text))


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
    return TableCell(f"{share(low)} - {share(high)}" if _is_known(low, high) else DASH, (low, high))


def ratio_interval(low: Number, high: Number) -> TableCell:
    """Two numbers."""
    return TableCell(f"{number(low)} - {number(high)}" if _is_known(low, high) else DASH, (low, high))


def _is_known(low: Number, high: Number) -> bool:
    return low is not None and high is not None and math.isfinite(low) and math.isfinite(high)


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


def explained(figure: Figure) -> str:
    """What a figure means, after its name."""
    return f"{figure.title.capitalize()}: {figure.meaning[:1].lower()}{figure.meaning[1:]}"


def without_interval(evaluation: Plain) -> str:
    """Why macro figures over several labels have no interval; empty where they have one."""
    few = [
        f"{row['n']:,} {'face is' if row['n'] == 1 else 'faces are'} truly '{row['label']}'"
        for row in evaluation["classes"]
        if row["n"] < FEWEST
    ]
    named = [f.title for f in figures.table() if f.interval == "bootstrap" and f.several_labels]
    if not few or not named:
        return ""
    return f"{' and '.join(named)}: no interval, since {_and(few)}; it takes {FEWEST}."


def _and(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def of_clusters(evaluation: Plain) -> str:
    """A sentence: so many faces of so many clusters, and how many are one each; empty where faces are independent."""
    held = evaluation.get("clusters")
    return clusters.of_clusters(evaluation["overall"]["n"], held["by"], held["n"], held["unknown"]) if held else ""


def worth(cell: Plain, of: str, n: int) -> float:
    """As how many independent faces a share of a stored cell counts, such as ``accuracy``; ``n`` without clusters."""
    held = cell.get("clusters")
    return float(held[of]) if held else n


def share_ends(hits: float, n: int, independent: float) -> tuple[float, float]:
    """Ends of the Wilson interval of so many of ``n``, of whom as many count as are ``independent``."""
    return wilson(round(hits), n) if independent == n else score(hits / n * independent if n else 0, independent)


def ungrouped(by: Sequence[str], judged: int, grouped: int) -> list[str]:
    """A sentence about faces that are in the overall figures and in no group; none where there is no such face."""
    if judged == grouped:
        return []
    return [f"{judged - grouped:,} of {judged:,} faces have no {' or no '.join(by)}: they are in no group."]
