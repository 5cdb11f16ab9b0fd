"""The tab of groups: accuracy by group, and the gap between the best and the worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators as foo

from facevlm.evaluation import figures
from facevlm.evaluation.evaluate import SMALL
from facevlm.reports import adjusting, plots
from facevlm.reports.structure import of_clusters, probability, ungrouped

from .. import _forms, _marks
from .._choice import GROUPING, crossed, table_of, tables_of
from .._marks import Marked, joined, marked, plain, say
from .parts import Shown, between, dropdown, measured, plot, title_of

FOUND = 0.05
"""Largest p of a gap within one true label that is shown."""
UNGROUPED = "This evaluation has no groups: evaluate again with grouping fields."


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any, shown: Shown) -> None:
    """Bars that are clicked, and a table of gaps."""
    table = table_of(ctx, shown.figures)
    if table is None:
        _forms.notice(panel, "no_groups", UNGROUPED)
        return
    where, _, name = GROUPING.partition(".")
    row = panel.h_stack(where, gap=2)
    dropdown(self, row, name, list(tables_of(shown.figures)), crossed(table), "Groups by")
    few = f" Grey: fewer than {SMALL} faces." if any(r["cell"]["n"] < SMALL for r in table["rows"]) else ""
    title = marked("**Accuracy by {}.** 95 % Wilson intervals; no answer counts as wrong.{}", crossed(table), few)
    say(panel, title, "groups_title")
    plot(panel, "groups", plots.groups(table), self.on_group)
    together = of_clusters(shown.figures)
    left_out = [together] if together else []
    left_out += ungrouped(table["by"], shown.figures["overall"]["n"], sum(r["cell"]["n"] for r in table["rows"]))
    say(panel, joined("\n\n", [*map(plain, left_out), _gaps(table)]), "gaps")


def _gaps(table: Mapping[str, Any]) -> Marked:
    if not table["gaps"]:
        return plain(f"There are fewer than two groups of at least {SMALL} faces, so no gap is shown.")
    found = [gap for gap in table.get("labels", ()) if (gap.get("p_value") or 1.0) <= FOUND]
    rows = [_gap(gap, figures.find(gap["figure"])) for gap in (*table["gaps"], *found)]
    header = ["figure", "worst", "best", "difference (95 %, any two groups)", "by chance", "p"]
    left = table["gaps"][0]["left_out"]
    note = f"{left} of {left + table['gaps'][0]['compared']} groups are too small to compare." if left else ""
    return joined("\n\n", [_marks.table(header, rows), note, *_adjusted(table)])


def _adjusted(table: Mapping[str, Any]) -> list[Marked]:
    """Crude and adjusted figures side by side; nothing where none were adjusted."""
    if not table.get("adjusted"):
        return []
    held, told = adjusting.table_of(table), joined(" ", [plain(s) for s in adjusting.sentences(table)])
    rows = [[cell.shown for cell in row.cells] for row in held.rows]
    return [marked("**{}**", held.title), *([_marks.table(list(held.header), rows)] if rows else []), told]


def _gap(gap: Mapping[str, Any], figure: figures.Figure) -> list[str]:
    difference = (gap["difference_low"], gap["difference_high"])
    label = f" of {gap['label']}" if gap.get("label") else ""
    return [
        f"{title_of(figure)}{label}",
        f"{' / '.join(gap['worst'])}: {measured(figure, gap['low_value'])}",
        f"{' / '.join(gap['best'])}: {measured(figure, gap['high_value'])}",
        f"{measured(figure, gap['difference'])} ({between(figure, difference)})",
        measured(figure, gap.get("chance")),
        probability(gap.get("p_value")),
    ]
