"""The tab of errors: who was taken for whom, buttons for the faces behind it, tags and corrected labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fiftyone.operators as foo

from facevlm.evaluation import figures
from facevlm.reports import plots
from facevlm.store import correcting, inspection
from facevlm.store.inspection import Inspected

from .. import _grid
from .._marks import Marked, code, joined, marked, say
from . import marking
from .parts import Row, Shown, between, measured, plot, title_of

SUREST = "most confident first"


@dataclass(frozen=True)
class View:
    """Faces that a button shows: its title, the faces, and their order in words."""

    title: str
    faces: Callable[[Inspected], Any]
    order: str


VIEWS = {
    "errors": View("Confident errors", inspection.confident_errors, SUREST),
    "no_answer": View("Refused, unparsed, failed", inspection.not_answered, "by what became of them"),
    "low_coverage": View(
        "Low probability on the label set", inspection.low_coverage, "least probability on the label set first"
    ),
}


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any, shown: Shown) -> None:
    """Figures, the confusion matrix, and what can be done about its faces."""
    say(panel, _overall(shown.figures), "overall")
    if shown.inspected is not None:
        _corrected(panel, shown.inspected)
    confused = Marked("**Confusion:** ground truth in rows, answers in columns. Click a cell to see its faces.")
    say(panel, confused, "confused")
    plot(panel, "confusion", plots.confusion(shown.figures, _outlined(ctx, shown)), self.on_cell)
    if shown.inspected is not None:
        _actions(self, ctx, panel, shown.inspected)


def _outlined(ctx: foo.ExecutionContext, shown: Shown) -> tuple[str, str] | None:
    """The cell whose faces are in the grid, if it is one of this attribute of this evaluation."""
    now = _grid.shown(ctx)
    if now is None or shown.inspected is None or not now.get("cell"):
        return None
    here = [shown.inspected.eval_key, shown.inspected.attribute]
    truth, said = now["cell"]
    return (truth, said) if now.get("of") == here else None


def _actions(self: Any, ctx: foo.ExecutionContext, panel: Any, inspected: Inspected) -> None:
    say(panel, Marked("**Show in the grid**"), "show_title")
    row = Row(panel, "show")
    for which, view in VIEWS.items():
        row.button(which, view.title, self.on_show, which=which)
    row.button("label_errors", "Likely label errors", self.on_label_errors)
    marking.draw(self, ctx, panel, inspected)


def _corrected(panel: Any, inspected: Inspected) -> None:
    """Figures with corrected labels beside those above."""
    corrected = correcting.corrected_overall(inspected)
    if corrected is None:
        return
    shown = [f for f in figures.shown("panel") if f.name in corrected.figures]
    values = ", ".join(f"{title_of(f)} {measured(f, f.value(corrected.figures))}" for f in shown)
    field = code(correcting.corrected_field(inspected))
    labels = "label" if corrected.n == 1 else "labels"
    say(panel, marked("**With {:,} corrected {}** of {}: {}.", corrected.n, labels, field, values), "corrected")


def _overall(evaluation: Mapping[str, Any]) -> Marked:
    cell = evaluation["overall"]
    shown = figures.shown("panel", ordinal=None if figures.is_ordinal(cell) else False)
    line = joined(" · ", [marked("**n = {:,}**", cell["n"]), *(_figure(figure, cell) for figure in shown)])
    counts = {name: n for name, n in cell["outcomes"].items() if name != "ok"}
    counts |= {"not asked": evaluation["not_asked"], "without ground truth": evaluation["no_truth"]}
    counts |= {"predictions of no face": evaluation["extra"]}
    rest = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    parts = [line, f"Labels: {evaluation['alignment']}" if evaluation["alignment"] else "", rest]
    return joined("\n\n", parts)


def _figure(figure: figures.Figure, cell: Mapping[str, Any]) -> str:
    line = f"{title_of(figure)} {measured(figure, figure.value(cell))}"
    return f"{line} ({between(figure, figure.interval_in(cell))})" if figure.has_interval("panel") else line
