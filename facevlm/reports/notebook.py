"""Evaluations and comparisons for notebooks: short tables in HTML, and plain rows for data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tabulate import tabulate

from facevlm.evaluation import figures
from facevlm.evaluation.comparison import Comparison, Flips
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, Cell, to_plain
from facevlm.reports.structure import escape, figure_cells, group_name, headings
from facevlm.reports.text import INTERVAL, counted, flip_cells, pair_table

OVERALL = "overall"
"""What stands for the field to group by in rows about all faces."""
IN_PER_CENT = f"Figures in per cent. * fewer than {SMALL} faces."


def evaluation_rows(evaluations: Sequence[AttributeEvaluation]) -> Iterator[dict[str, Any]]:
    """One row for each attribute and group: ``attribute``, ``by``, ``group``, ``n``, every figure as a share of 1 and
    the ends of its interval. ``by`` is ``overall`` for all faces."""
    for evaluation in evaluations:
        yield _row(evaluation, OVERALL, "all", evaluation.overall)
        for table in evaluation.groups:
            for row in table.rows:
                yield _row(evaluation, " x ".join(table.by), group_name(row.values), row.cell)


def _row(evaluation: AttributeEvaluation, by: str, group: str, cell: Cell) -> dict[str, Any]:
    answered = cell.outcomes.get("ok")
    return {
        "attribute": evaluation.attribute,
        "by": by,
        "group": group,
        "n": cell.n,
        "answered": answered,
        **dict(cell.figures),
    }


def evaluation_html(title: str, evaluations: Sequence[AttributeEvaluation], warnings: Sequence[str]) -> str:
    """Figures of all attributes, then accuracy by group, with n and intervals; texts of others are escaped."""
    shown = figures.shown("glance", ordinal=False)
    whole = [[e.attribute, counted(e.overall), *_figures("glance", shown, e.overall)] for e in evaluations]
    parts = [f"<p><b>{escape(title)}</b></p>", _table(["attribute", "n", *headings("glance", shown)], whole)]
    by_group = figures.shown("text groups", ordinal=False)[:1]
    rows = [
        [
            e.attribute,
            " x ".join(table.by),
            group_name(row.values),
            counted(row.cell),
            *_figures("text groups", by_group, row.cell),
        ]
        for e in evaluations
        for table in e.groups
        if len(table.by) == 1
        for row in table.rows
    ]
    if rows:
        parts.append(_table(["attribute", "by", "group", "n", *headings("text groups", by_group)], rows))
    parts += [f"<p>Warning: {escape(warning)}</p>" for warning in warnings]
    return "\n".join([*parts, f"<p>{escape(IN_PER_CENT)}</p>"])


def _figures(surface: figures.Surface, shown: Sequence[figures.Figure], cell: Cell) -> list[str]:
    return [each.shown for each in figure_cells(surface, shown, cell.figures)]


def comparison_rows(comparisons: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """One row for each attribute and pair of runs, with everything that is known of the pair but its table."""
    for comparison in comparisons:
        for pair in comparison.pairs:
            plain: dict[str, Any] = to_plain(pair)
            yield {"attribute": comparison.attribute} | {k: v for k, v in plain.items() if k != "table"}


def comparison_html(comparisons: Sequence[Comparison]) -> str:
    """The pairs of runs of each attribute, and flips over all of them."""
    parts = []
    for comparison in comparisons:
        header, rows = pair_table(comparison)
        parts += [f"<p><b>{escape(comparison.attribute)}</b></p>", _table(header, rows)]
        for name, flips in {"all runs": [comparison.flips], **comparison.flips_by}.items():
            parts.append(_flips(name, flips))
        parts += [f"<p>{escape(note)}</p>" for note in comparison.notes]
    return "\n".join([*parts, f"<p>{escape(IN_PER_CENT)} difference: accuracy of a minus that of b.</p>"])


def _flips(name: str, flips: Sequence[Flips]) -> str:
    return _table([name, "n", "flips", INTERVAL], [flip_cells(each, each.group) for each in flips])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[escape(cell) for cell in row] for row in rows]
    return str(tabulate(cells, [escape(name) for name in header], tablefmt="unsafehtml", disable_numparse=True))
