"""Groups crude and adjusted, side by side, as tables and sentences that reports, the terminal and the App share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from facevlm.evaluation.groups import SMALL
from facevlm.reports.structure import (
    Block,
    Plain,
    Points,
    Table,
    TableCell,
    TableRow,
    chance,
    count,
    decimal,
    group_name,
    interval,
    percent,
    probability,
    ratio_interval,
    share,
    word,
)

HEADER = (
    *("n", "crude", "95 % Wilson", "adjusted", "95 %", "against others", "95 %"),
    *("odds ratio", "95 %", "p"),
)
MOST = 8
"""Strata without support that are named; of more, how many more there are."""
NOTE = (
    "Crude: accuracy as it is. Adjusted: with the mix of {over} of all compared faces for every group (direct "
    "standardisation). Against others, in points, and odds ratio of being right: each group held against all other "
    "compared ones within the same {over} (Mantel-Haenszel); p: their test, by Holm's method from three groups on. A "
    "gap that is crude and not adjusted is one of {over}, not of the groups."
)


def blocks(table: Plain) -> Iterator[Block]:
    """The table and its sentences; nothing where figures were not adjusted."""
    if table.get("adjusted"):
        yield table_of(table)
        yield Points(tuple(sentences(table)))


def table_of(table: Plain) -> Table:
    """A row per compared group; without a row where no stratum has faces of all of them."""
    held = table["adjusted"]
    over = _and(held["over"])
    rows = tuple(TableRow(tuple(_cells(row)), row["n"] < SMALL) for row in held["rows"])
    return Table(f"Accuracy by {_and(table['by'])}, adjusted by {over}", (*table["by"], *HEADER), rows, _note(over))


def _note(over: str) -> str:
    return NOTE.format(over=over)


def _cells(row: Plain) -> Iterator[TableCell]:
    yield from map(word, row["values"])
    yield count(row["n"], few=row["n"] < SMALL)
    yield percent(row["crude"])
    yield interval(row["crude_low"], row["crude_high"])
    yield percent(row["adjusted"])
    yield interval(row["low"], row["high"])
    yield percent(row["difference"])
    yield interval(row["difference_low"], row["difference_high"])
    yield decimal(row["odds_ratio"])
    yield ratio_interval(row["odds_low"], row["odds_high"])
    yield chance(row["p_value"])


def sentences(table: Plain) -> list[str]:
    """What the gap comes to, and which faces are in neither figure."""
    held = table["adjusted"]
    over = _and(held["over"])
    said = [_gap(held, over)] if held["rows"] else [f"Nothing can be adjusted: no {over} has faces of every group."]
    if held["without_support"]:
        said.append(_without_support(held["without_support"], over))
    if held["unknown"]:
        said.append(f"{held['unknown']:,} faces of these groups have no {over}: they are in neither figure.")
    if held["small"]:
        said.append(f"{held['small']:,} faces are in groups too small to compare.")
    return said


def _gap(held: Plain, over: str) -> str:
    crude = f"{share(held['crude_gap'])} crude ({share(held['crude_gap_low'])} - {share(held['crude_gap_high'])})"
    adjusted = f"{share(held['gap'])} adjusted by {over} ({share(held['gap_low'])} - {share(held['gap_high'])})"
    p_value = f", p {probability(held['p_value'])}" if held["p_value"] is not None else ""
    return f"Over the same {held['n']:,} faces the worst and the best group are {crude} and {adjusted} apart{p_value}."


def _without_support(strata: Sequence[Plain], over: str) -> str:
    named = [f"{group_name(s['values'])} ({s['n']:,}; none of {', '.join(s['missing'])})" for s in strata[:MOST]]
    more = f" and {len(strata) - MOST} more" if len(strata) > MOST else ""
    n, listed = sum(s["n"] for s in strata), f"{', '.join(named)}{more}"
    return f"{n:,} faces are in neither figure, since not every group has faces of their {over}: {listed}."


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
