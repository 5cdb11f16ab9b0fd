"""The panel in the grid: figures of an evaluation, and buttons for the faces behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError
from facevlm.evaluation import figures
from facevlm.evaluation.calibration import SelectivePoint, threshold_for
from facevlm.evaluation.evaluate import SMALL
from facevlm.reports import plots
from facevlm.reports.structure import number, share
from facevlm.store import correcting, inspection, results
from facevlm.store.inspection import Inspected

from .. import _forms
from .._choice import THRESHOLD, crossed, pick, table_of, tables_of, threshold_of
from . import marking
from .parts import PERCEIVED, Row, between, dropdown, measured, plot

VIEWS: dict[str, tuple[str, Callable[[Inspected], Any]]] = {
    "errors": ("Confident errors", inspection.confident_errors),
    "no_answer": ("Refused, unparsed, failed", inspection.not_answered),
    "low_coverage": ("Low coverage", inspection.low_coverage),
}
NOTHING = (
    "This dataset keeps no evaluation yet. Press ` and run 'Apply VLM face attributes', then 'Evaluate face attributes "
    "against ground truth'."
)
TARGETS = (0.9, 0.95, 0.99)


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """Figures, and buttons for the faces behind them. ``self`` is the panel, whose methods are called on clicks."""
    panel.md(PERCEIVED, name="perceived")
    keys = results.eval_keys(ctx.dataset)
    if not keys:
        _forms.notice(panel, "nothing", NOTHING)
        return
    key = pick(ctx, "evaluation", keys) or keys[-1]
    row = panel.h_stack("choose", gap=2)
    dropdown(self, row, "evaluation", keys, key, "Evaluation")
    try:
        stored = results.load(ctx.dataset, key)
    except FacevlmError as error:
        _forms.notice(panel, "broken", str(error), types.Error)
        return
    names = list(stored["fields"])
    attribute = pick(ctx, "attribute", names) or ""
    evaluation = inspection.figures_of(stored, attribute)
    dropdown(self, row, "attribute", names, attribute, "Attribute")
    table = table_of(ctx, evaluation)
    if table is not None:
        dropdown(self, row, "grouping", list(tables_of(evaluation)), crossed(table), "Groups by")
    inspected = _reachable(panel, ctx, stored, attribute)
    panel.md(_overall(evaluation), name="overall")
    if inspected is not None:
        _corrected(panel, inspected)
    panel.md("**Confusion:** ground truth in rows, answers in columns. Click a cell to see its faces.", name="confused")
    plot(panel, "confusion", plots.confusion(evaluation), self.on_cell)
    if inspected is not None:
        _actions(self, ctx, panel, inspected)
    _curves(self, ctx, panel, evaluation, table, inspected)


def _reachable(panel: Any, ctx: foo.ExecutionContext, stored: Mapping[str, Any], attribute: str) -> Inspected | None:
    """Where the faces are; where they are not any more, that is said and the figures stay."""
    try:
        inspected = inspection.inspect(ctx.dataset, stored, attribute)
    except FacevlmError as error:
        _forms.notice(panel, "unreachable", f"{error} Until then a click cannot show faces.", types.Warning)
        return None
    if inspected.outdated:
        text = f"A model was applied under '{inspected.prefix}' after this evaluation: evaluate again."
        _forms.notice(panel, "outdated", text, types.Warning)
    return inspected


def _actions(self: Any, ctx: foo.ExecutionContext, panel: Any, inspected: Inspected) -> None:
    panel.md("**Show in the grid**", name="show_title")
    row = Row(panel, "show")
    for which, (label, _) in VIEWS.items():
        row.button(which, label, self.on_show, which=which)
    row.button("label_errors", "Likely label errors", self.on_label_errors)
    for rival in inspection.rivals(inspected):
        row.button(f"disagree_{rival}", f"Disagreements with {rival}", self.on_disagree, rival=rival)
    row.button("all", "Show all", self.on_show_all)
    marking.draw(self, ctx, panel, inspected)


def _curves(
    self: Any,
    ctx: foo.ExecutionContext,
    panel: Any,
    evaluation: Mapping[str, Any],
    table: Mapping[str, Any] | None,
    inspected: Inspected | None,
) -> None:
    if table is not None:
        few = f" Grey: fewer than {SMALL} faces." if any(r["cell"]["n"] < SMALL for r in table["rows"]) else ""
        text = f"**Accuracy by {crossed(table)}.** 95 % Wilson intervals; no answer counts as wrong.{few}"
        panel.md(text, name="groups_title")
        plot(panel, "groups", plots.groups(table), self.on_group)
        panel.md(_gaps(table), name="gaps")
    confidence = evaluation["confidence"]
    if confidence is None:
        _forms.notice(panel, "no_scores", "These answers carry no scores: there is no reliability or coverage curve.")
        return
    title = f"**Reliability: ECE {share(confidence['ece'])} %** over {confidence['n']:,} scored faces"
    panel.md(title, name="reliability_title")
    plot(panel, "reliability", plots.reliability(confidence), self.on_bin)
    panel.md("**Accuracy against coverage, the surest answers first**", name="selective_title")
    threshold = threshold_of(ctx)
    plot(panel, "selective", plots.selective(confidence, threshold))
    if inspected is not None:
        _keeping(self, panel, inspected, threshold)


def _keeping(self: Any, panel: Any, inspected: Inspected, threshold: float) -> None:
    """A slider: which answers to keep, how many are right, and the faces on either side."""
    stack = panel.v_stack("keep", gap=1)
    stack.float(
        THRESHOLD.partition(".")[2],
        min=0.0,
        max=1.0,
        default=threshold,
        view=types.SliderView(
            label="Keep answers with at least this confidence", label_position="top", value_precision=2
        ),
        on_change=self.on_choose,
    )
    kept, right = inspection.kept(inspected, threshold)
    correct = f"{share(right / kept)} % of them right" if kept else "none to be right"
    n = inspected.figures["overall"]["n"]
    panel.md(f"**{kept:,} of {n:,} faces kept** ({share(kept / n if n else None)} %), {correct}.", name="kept_said")
    panel.md(_targets(inspected.figures["confidence"]["selective"]), name="targets")
    row = Row(panel, "kept")
    row.button("kept_faces", "Show kept", self.on_kept)
    row.button("aside", "Show set aside", self.on_set_aside)


def _targets(points: Sequence[Mapping[str, Any]]) -> str:
    """Which confidence reaches which accuracy, on these faces."""
    curve, parts = tuple(SelectivePoint(**point) for point in points), []
    for wanted in TARGETS:
        point = threshold_for(curve, wanted)
        text = f"from {point.threshold:.2f} on, {share(point.coverage)} % kept" if point else "not reached"
        parts.append(f"{wanted:.0%} right: {text}")
    return "; ".join(parts) + "."


def _corrected(panel: Any, inspected: Inspected) -> None:
    """Figures with corrected labels beside those above."""
    corrected = correcting.corrected_overall(inspected)
    if corrected is None:
        return
    shown = [f for f in figures.shown("panel") if f.name in corrected.figures]
    values = ", ".join(f"{f.title} {measured(f, f.value(corrected.figures))}" for f in shown)
    text = f"**With {corrected.n:,} corrected labels** of `{correcting.corrected_field(inspected)}`: {values}."
    panel.md(text, name="corrected")


def _overall(evaluation: Mapping[str, Any]) -> str:
    cell = evaluation["overall"]
    shown = figures.shown("panel", ordinal=None if figures.is_ordinal(cell) else False)
    line = " · ".join([f"**n = {cell['n']:,}**", *(_figure(figure, cell) for figure in shown)])
    counts = {name: n for name, n in cell["outcomes"].items() if name != "ok"}
    counts |= {"not asked": evaluation["not_asked"], "without ground truth": evaluation["no_truth"]}
    counts |= {"predictions of no face": evaluation["extra"]}
    rest = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    parts = [line, f"Labels: {evaluation['alignment']}" if evaluation["alignment"] else "", rest]
    return "\n\n".join(part for part in parts if part)


def _figure(figure: figures.Figure, cell: Mapping[str, Any]) -> str:
    line = f"{figure.title} {measured(figure, figure.value(cell))}"
    return f"{line} ({between(figure, figure.interval_in(cell))})" if figure.has_interval("panel") else line


def _gaps(table: Mapping[str, Any]) -> str:
    if not table["gaps"]:
        return f"There are fewer than two groups of at least {SMALL} faces, so no gap is shown."
    rows = [_gap(gap, figures.find(gap["figure"])) for gap in table["gaps"]]
    header = ["gap", "worst", "best", "difference (95 %)", "ratio"]
    left = table["gaps"][0]["left_out"]
    note = f"\n\n{left} of {left + table['gaps'][0]['compared']} groups are too small to compare." if left else ""
    return f"{_forms.markdown_table(header, rows)}{note}"


def _gap(gap: Mapping[str, Any], figure: figures.Figure) -> list[str]:
    difference = (gap["difference_low"], gap["difference_high"])
    return [
        figure.title,
        f"{' / '.join(gap['worst'])}: {measured(figure, gap['low_value'])}",
        f"{' / '.join(gap['best'])}: {measured(figure, gap['high_value'])}",
        f"{measured(figure, gap['difference'])} ({between(figure, difference)})",
        number(gap["ratio"]),
    ]
