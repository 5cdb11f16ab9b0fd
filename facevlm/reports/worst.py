"""The groups that are served worst: over all attributes, small ones, and of one attribute by many fields together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from facevlm.evaluation.groups import SMALL
from facevlm.reports.structure import (
    Block,
    Plain,
    Table,
    TableCell,
    TableRow,
    Text,
    chance,
    count,
    group_name,
    interval,
    percent,
    word,
)

MOST = 12
MOST_CROSSED = 10
SEVERAL = 3
TRUE = "true label"
"""What faces are grouped by where no field holds the labels that they are judged by."""
HEADER = ("groups by", "group", "n", "accuracy", "95 % Wilson", "below all faces by", "Holm p")
HEADER_OF_ALL = ("attribute", *HEADER, "by the true label")
FEWEST = 5
"""Of fewer faces nothing is said: one face that is wrong would be a group that is clearly worse."""
P_VALUES = "p: against the other groups of the same grouping, corrected by Holm's method."


def is_clearly_worse(part: Plain, whole: Plain) -> bool:
    """Whether the figures show that a part of the faces is served worse than all of them, however few it has.

    This alone decides it for every table and sentence: the part's Wilson interval ends below where that of all begins.
    """
    high, low = part.get("high"), whole.get("low")
    return high is not None and low is not None and bool(high < low)


@dataclass(frozen=True)
class Group:
    """Faces of one value, or of several together, and how far their accuracy lies below that of all faces."""

    evaluation: Plain
    table: Plain
    row: Plain

    @property
    def cell(self) -> Plain:
        cell: Plain = self.row["cell"]
        return cell

    @property
    def short(self) -> float:
        return (self.evaluation["overall"].get("accuracy") or 0.0) - (self.cell.get("accuracy") or 0.0)

    @property
    def is_small(self) -> bool:
        return bool(self.cell["n"] < SMALL)

    @property
    def is_clear(self) -> bool:
        return is_clearly_worse(self.cell, self.evaluation["overall"])

    @property
    def attribute(self) -> str:
        return str(self.evaluation["predicted_attribute"])

    @property
    def where(self) -> set[tuple[str, str]]:
        """Fields and their values."""
        return set(zip(self.table["by"], self.row["values"], strict=True))

    def cells(self) -> tuple[TableCell, ...]:
        cell = self.cell
        return (
            word(" and ".join(self.table["by"])),
            word(group_name(self.row["values"])),
            count(cell["n"], few=self.is_small),
            percent(cell.get("accuracy")),
            interval(cell.get("low"), cell.get("high")),
            percent(self.short),
            chance(_p_value(self.table, self.row)),
        )


def below(evaluation: Plain, tables: Iterable[Plain]) -> list[Group]:
    """Groups, small ones too, whose accuracy lies below that of all faces."""
    groups = [Group(evaluation, table, row) for table in tables for row in table["rows"] if row["cell"]["n"]]
    return [group for group in groups if group.short > 0]


def by_all(evaluation: Plain) -> list[Plain]:
    """The group tables of an evaluation, and one by the true label, of those labels that no field groups by."""
    tables: list[Plain] = list(evaluation["groups"])
    known = {(row["values"][0], row["cell"]["n"]) for t in tables if len(t["by"]) == 1 for row in t["rows"]}
    rows = [
        {"values": [c["label"]], "cell": {"n": c["n"], "accuracy": c["recall"], "low": c["low"], "high": c["high"]}}
        for c in evaluation["classes"]
        if (c["label"], c["n"]) not in known
    ]
    return [*tables, {"by": [TRUE], "rows": rows, "gaps": []}]


def large(evaluations: Sequence[Plain]) -> list[Group]:
    """Groups of faces enough below all faces, over all attributes, the farthest first; the same faces once."""
    groups = [group for e in evaluations for group in below(e, by_all(e)) if not group.is_small]
    return list(_once(sorted(groups, key=lambda group: (-group.short, len(group.table["by"])))))


def small(evaluations: Sequence[Plain]) -> list[Group]:
    """Groups by one field, and labels, that have few faces and are clearly worse all the same, the farthest first.

    Crossings are left out: of hundreds of small groups some are far below by chance.
    """
    groups = [
        group
        for e in evaluations
        for group in below(e, (table for table in by_all(e) if len(table["by"]) == 1))
        if group.is_small and group.cell["n"] >= FEWEST and group.is_clear
    ]
    return list(_once(sorted(groups, key=lambda group: -group.short)))


def _once(groups: Iterable[Group]) -> Iterator[Group]:
    seen: list[tuple[object, set[tuple[str, str]]]] = []
    for group in groups:
        same, values = (group.evaluation["attribute"], group.cell["n"], group.cell.get("accuracy")), group.where
        # The same faces under a longer name say nothing new.
        if any(same == other and (values >= names or values <= names) for other, names in seen):
            continue
        seen.append((same, values))
        yield group


def of_all(evaluations: Sequence[Plain], truths: Mapping[str, str]) -> Block:
    """The groups of :func:`large`; ``truths`` are the ground-truth fields by attribute."""
    groups = large(evaluations)
    if not groups:
        return Text(f"No group of {SMALL} faces or more lies below the accuracy of all faces.")
    note = (
        f"Of groups with {SMALL} faces or more, those whose accuracy lies farthest below that of all faces, at most "
        f"{MOST}. {P_VALUES} Groups by the true label itself show which labels are recognised badly."
    )
    return Table("Worst groups", HEADER_OF_ALL, _rows(groups, truths), note)


def of_few(evaluations: Sequence[Plain], truths: Mapping[str, str]) -> list[Block]:
    """The groups of :func:`small`; nothing where there are none."""
    groups = small(evaluations)
    if not groups:
        return []
    note = (
        f"Groups by one field, and labels, of {FEWEST} to {SMALL - 1} faces whose intervals end below that of all "
        f"faces, at most {MOST}. That they are worse, so few faces show; not how much."
    )
    return [Table("Small groups that are clearly worse", HEADER_OF_ALL, _rows(groups, truths), note)]


def _rows(groups: Sequence[Group], truths: Mapping[str, str]) -> tuple[TableRow, ...]:
    rows = []
    for group in groups[:MOST]:
        own = "yes" if {TRUE, truths.get(group.attribute)} & set(group.table["by"]) else "no"
        rows.append(TableRow((word(group.attribute), *group.cells(), word(own)), group.is_small))
    return tuple(rows)


def crossed(evaluation: Plain) -> list[Block]:
    """The worst groups by as many fields together as leave groups of enough faces, three at least; else a sentence."""
    tables = [table for table in evaluation["groups"] if len(table["by"]) >= SEVERAL and table["rows"]]
    for fields in sorted({len(table["by"]) for table in tables}, reverse=True):
        chosen = [table for table in tables if len(table["by"]) == fields]
        sizes = [row["cell"]["n"] for table in chosen for row in table["rows"]]
        large = sum(n >= SMALL for n in sizes)
        if large:
            return [_worst_crossed(evaluation, chosen, f"Of {len(sizes)} groups by {fields} fields together", large)]
    text = f"No group by {SEVERAL} fields or more together has {SMALL} faces."
    return [Text(text)] if tables else []


def _worst_crossed(evaluation: Plain, tables: Sequence[Plain], which: str, large: int) -> Block:
    large_below = [group for group in below(evaluation, tables) if not group.is_small]
    groups = sorted(large_below, key=lambda group: -group.short)
    kept = f"{which}, {large} {'has' if large == 1 else 'have'} {SMALL} faces or more"
    if not groups:
        return Text(f"{kept}; none of them lies below the accuracy of all faces.")
    fields = len(tables[0]["by"])
    note = f"{kept}; shown are those farthest below the accuracy of all faces, at most {MOST_CROSSED}. {P_VALUES}"
    rows = tuple(TableRow(group.cells()) for group in groups[:MOST_CROSSED])
    return Table(f"Worst groups by {fields} fields together", HEADER, rows, note)


def _p_value(table: Plain, row: Plain) -> float | None:
    for gap in table["gaps"]:
        if gap["figure"] == "accuracy":
            p_value: float | None = gap["p_values"].get(group_name(row["values"]))
            return p_value
    return None
