"""The groups that are served worst: over all attributes, and of one attribute by many fields together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
HEADER = ("groups by", "group", "n", "accuracy", "95 % Wilson", "below all faces by", "Holm p")
P_VALUES = "p: against the other groups of the same grouping, corrected by Holm's method."


@dataclass(frozen=True)
class _Group:
    """A group of enough faces, and how far its accuracy lies below that of all faces."""

    evaluation: Plain
    table: Plain
    row: Plain
    short: float

    def cells(self) -> tuple[TableCell, ...]:
        cell = self.row["cell"]
        return (
            word(" and ".join(self.table["by"])),
            word(group_name(self.row["values"])),
            count(cell["n"]),
            percent(cell.get("accuracy")),
            interval(cell.get("low"), cell.get("high")),
            percent(self.short),
            chance(_p_value(self.table, self.row)),
        )


def _below(evaluation: Plain, tables: Sequence[Plain]) -> list[_Group]:
    """Groups of enough faces whose accuracy lies below that of all faces."""
    whole = evaluation["overall"].get("accuracy") or 0.0
    groups = [
        _Group(evaluation, table, row, whole - (row["cell"].get("accuracy") or 0.0))
        for table in tables
        for row in table["rows"]
        if row["cell"]["n"] >= SMALL
    ]
    return [group for group in groups if group.short > 0]


def of_all(evaluations: Sequence[Plain], truths: Mapping[str, str]) -> Block:
    """Groups of all attributes that are served worst; ``truths`` are the ground-truth fields by attribute."""
    groups = [group for e in evaluations for group in _below(e, e["groups"])]
    groups.sort(key=lambda group: (-group.short, len(group.table["by"])))
    rows: list[TableRow] = []
    seen: list[tuple[Any, set[tuple[str, str]]]] = []
    for group in groups:
        name, cell = group.evaluation["predicted_attribute"], group.row["cell"]
        values = set(zip(group.table["by"], group.row["values"], strict=True))
        same = (group.evaluation["attribute"], cell["n"], cell.get("accuracy"))
        # The same faces under a longer name say nothing new.
        if any(same == other and (values >= names or values <= names) for other, names in seen):
            continue
        seen.append((same, values))
        own = "yes" if truths.get(name) in group.table["by"] else "no"
        rows.append(TableRow((word(name), *group.cells(), word(own))))
    if not rows:
        return Text(f"No group of {SMALL} faces or more lies below the accuracy of all faces.")
    note = (
        f"Of groups with {SMALL} faces or more, those whose accuracy lies farthest below that of all faces, at most "
        f"{MOST}. {P_VALUES} Groups by the true label itself show which labels are recognised badly."
    )
    return Table("Worst groups", ("attribute", *HEADER, "by the true label"), tuple(rows[:MOST]), note)


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
    groups = sorted(_below(evaluation, tables), key=lambda group: -group.short)
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
