"""The tab of comparison: this evaluation's answers beside those of another run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators as foo

from facevlm.reports import plots
from facevlm.reports.structure import number, share
from facevlm.store import comparing, inspection, results, runs
from facevlm.store.inspection import Inspected

from .. import _forms
from .._choice import GROUPING, RIVAL, attempt, crossed, remembered, rival_of, table_of, tables_of
from .._marks import Marked, code, marked, plain, say
from .parts import Row, Shown, dropdown, plot

ALONE = "No other run has answered this attribute: apply another model or wording under another prefix."
ALL = "all faces"


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any, shown: Shown) -> None:
    """Who is right where, overall and by group, each count to be clicked."""
    inspected = shown.inspected
    rivals = inspection.rivals(inspected) if inspected is not None else []
    if inspected is None or not rivals:
        _forms.notice(panel, "alone", ALONE)
        return
    rival, table = rival_of(ctx, rivals), table_of(ctx, shown.figures)
    where, _, name = RIVAL.partition(".")
    dropdown(self, panel.h_stack(where, gap=2), name, rivals, rival, f"{inspected.prefix} beside")
    if table is not None:
        where, _, name = GROUPING.partition(".")
        tables = list(tables_of(shown.figures))
        dropdown(self, panel.h_stack(where, gap=2), name, tables, crossed(table), "Groups by")
    found = attempt(ctx, lambda: counted(ctx, inspected, rival, table))
    if found is None:
        _forms.notice(panel, "no_comparison", f"The answers of '{rival}' cannot be set beside these.")
        return
    say(panel, _words(inspected.prefix, found), "compared")
    _buttons(self, panel, inspected.prefix, found)
    say(panel, Marked("**Who is right, by group.** Click a part of a bar to see its faces."), "sides_title")
    rows = [(" / ".join(side["values"]) or ALL, side) for side in found["sides"]]
    plot(panel, "sides", plots.sides(rows, titles(inspected.prefix, rival)), self.on_side)


def counted(
    ctx: foo.ExecutionContext, inspected: Inspected, rival: str, table: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The counts of two runs, read once for as long as both are as they are."""
    by = list(table["by"]) if table is not None else []
    evaluated = results.evaluated_at(inspected.dataset, inspected.eval_key).isoformat()
    applied = runs.read(inspected.dataset, runs.run_key(rival)).get("time")
    of = [inspected.eval_key, inspected.attribute, rival, by, evaluated, str(applied)]
    return remembered(ctx, "sides", of, lambda: comparing.beside(inspected, rival, by))


def titles(first: str, second: str) -> dict[str, str]:
    """What is counted, in words."""
    return {
        comparing.BOTH: "both right",
        comparing.FIRST: f"only {first} right",
        comparing.SECOND: f"only {second} right",
        comparing.NEITHER: "both wrong",
    }


def _words(first: str, found: Mapping[str, Any]) -> Marked:
    everything, pair = found["sides"][0], found["pair"]
    n = everything["n"]
    if not n:
        return plain("There is no face with ground truth that both runs were asked about.")
    own, its = (share((everything["both"] + everything[one]) / n) for one in ("first", "second"))
    return marked(
        "**{:,} faces** that both were asked about: {} right {} %, {} right {} %; difference {} points "
        "(95 % bootstrap {} to {}), McNemar p = {}. Answers differ on {:,} ({} %).",
        n,
        code(first),
        own,
        code(found["rival"]),
        its,
        *(share(pair[part]) for part in ("difference", "low", "high")),
        number(pair["p_value"]),
        everything["flips"],
        share(everything["flips"] / n),
    )


def _buttons(self: Any, panel: Any, first: str, found: Mapping[str, Any]) -> None:
    row, everything, rival = Row(panel, "disagree"), found["sides"][0], found["rival"]
    for side, title in titles(first, rival).items():
        row.button(side, f"{title.capitalize()}: {everything[side]:,}", self.on_side, side=side)
    row.button("flips", f"Answers differ: {everything['flips']:,}", self.on_side, side=comparing.FLIPS)
    row.button(f"disagree_{rival}", f"Disagreements with {rival}", self.on_disagree, rival=rival)
