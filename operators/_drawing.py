"""How the panel of errors is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError
from facevlm.evaluation.calibration import SelectivePoint, threshold_for
from facevlm.evaluation.evaluate import SMALL
from facevlm.reports import plots
from facevlm.reports import text as report
from facevlm.store import correcting, history, inspection, results
from facevlm.store.inspection import Inspected

from . import _forms
from ._choice import (
    THRESHOLD,
    attempt,
    chosen_ids,
    crossed,
    is_modal,
    pick,
    table_of,
    tables_of,
    there_of,
    threshold_of,
)

TAGS = {"label_error": "Label error", "model_error": "Model error", "ambiguous": "Ambiguous"}
VIEWS: dict[str, tuple[str, Callable[[Inspected], Any]]] = {
    "errors": ("Confident errors", inspection.confident_errors),
    "no_answer": ("Refused, unparsed, failed", inspection.not_answered),
    "low_coverage": ("Low coverage", inspection.low_coverage),
}
PERCEIVED = "All labels are perceived or apparent: what a model or an annotator sees in a picture, not what someone is."
NOTHING = (
    "This dataset keeps no evaluation yet. Press ` and run 'Apply VLM face attributes', then 'Evaluate face attributes "
    "against ground truth'."
)
UNASKED = (
    "No model was asked about this picture as a whole: run 'Apply VLM face attributes'. What was said about a face "
    "in a picture stands on its box."
)
TARGETS = (0.9, 0.95, 0.99)
PLOT = {"displayModeBar": False, "scrollZoom": False}


class _Row:
    """Buttons beside each other, which go on below where the panel is narrow."""

    def __init__(self, panel: Any, name: str) -> None:
        self._row = panel.grid(name, gap=1)

    def button(self, name: str, label: str, on_click: Callable[..., None], **params: str) -> None:
        narrow = {"item": {"sx": {"width": "auto"}}}
        self._row.btn(name, label, on_click=on_click, params=params, variant="outlined", componentsProps=narrow)


def grid(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """Figures, and buttons for the faces behind them. ``self`` is the panel, whose methods are called on clicks."""
    panel.md(PERCEIVED, name="perceived")
    keys = results.eval_keys(ctx.dataset)
    if not keys:
        _forms.notice(panel, "nothing", NOTHING)
        return
    key = pick(ctx, "evaluation", keys) or keys[-1]
    row = panel.h_stack("choose", gap=2)
    _dropdown(self, row, "evaluation", keys, key, "Evaluation")
    try:
        stored = results.load(ctx.dataset, key)
    except FacevlmError as error:
        _forms.notice(panel, "broken", str(error), types.Error)
        return
    names = list(stored["fields"])
    attribute = pick(ctx, "attribute", names) or ""
    figures = inspection.figures_of(stored, attribute)
    _dropdown(self, row, "attribute", names, attribute, "Attribute")
    table = table_of(ctx, figures)
    if table is not None:
        _dropdown(self, row, "grouping", list(tables_of(figures)), crossed(table), "Groups by")
    there = _reachable(panel, ctx, stored, attribute)
    panel.md(_overall(figures), name="overall")
    if there is not None:
        _corrected(panel, there)
    panel.md("**Confusion:** ground truth in rows, answers in columns. Click a cell to see its faces.", name="confused")
    _plot(panel, "confusion", plots.confusion(figures), self.on_cell)
    if there is not None:
        _actions(self, ctx, panel, there)
    _figures(self, ctx, panel, figures, table, there)


def _dropdown(self: Any, row: Any, name: str, options: list[str], value: str, label: str) -> None:
    _forms.dropdown(row, name, {o: o for o in options}, label=label, default=value, on_change=self.on_choose)


def _reachable(panel: Any, ctx: foo.ExecutionContext, stored: Mapping[str, Any], attribute: str) -> Inspected | None:
    """Where the faces are; where they are not any more, that is said and the figures stay."""
    try:
        there = inspection.inspect(ctx.dataset, stored, attribute)
    except FacevlmError as error:
        _forms.notice(panel, "unreachable", f"{error} Until then a click cannot show faces.", types.Warning)
        return None
    if there.outdated:
        text = f"A model was applied under '{there.prefix}' after this evaluation: evaluate again."
        _forms.notice(panel, "outdated", text, types.Warning)
    return there


def _actions(self: Any, ctx: foo.ExecutionContext, panel: Any, there: Inspected) -> None:
    panel.md("**Show in the grid**", name="show_title")
    row = _Row(panel, "show")
    for which, (label, _) in VIEWS.items():
        row.button(which, label, self.on_show, which=which)
    row.button("label_errors", "Likely label errors", self.on_label_errors)
    for rival in inspection.rivals(there):
        row.button(f"disagree_{rival}", f"Disagreements with {rival}", self.on_disagree, rival=rival)
    row.button("all", "Show all", self.on_show_all)
    _marking(self, ctx, panel, there)


def _marking(self: Any, ctx: foo.ExecutionContext, panel: Any, there: Inspected) -> None:
    """Tags and corrected labels for the chosen faces."""
    ids, pending, alone = chosen_ids(ctx), ctx.panel.state.get("pending"), is_modal(ctx)
    who = "this face" if alone else f"{len(ids):,} selected" if ids else "the whole view"
    panel.md(f"**Tag {who}**", name="tag_title")
    if pending:
        _forms.notice(
            panel, "pending", f"Tag all {pending['n']:,} faces of this view '{pending['tag']}'?", types.Warning
        )
        sure = _Row(panel, "sure")
        sure.button("confirm", f"Tag {pending['n']:,}", self.on_confirm)
        sure.button("cancel", "Cancel", self.on_cancel)
    else:
        row = _Row(panel, "tags")
        for tag, label in TAGS.items():
            row.button(tag, label, self.on_tag, tag=tag)
    name = correcting.corrected_field(there)
    what = (
        f"**Correct the ground truth.** The label goes to `{name}`; `{there.truth}` stays as it is. Evaluate again "
        f"with ground truth `{name}` for the corrected figures."
    )
    panel.md(what, name="relabel_title")
    relabel = panel.h_stack("relabel", gap=2, align_y="center")
    options = {label: label for label in there.figures["labels"]}
    whose = "this face" if alone else "selected faces"
    _forms.dropdown(relabel, "label", options, label=f"{there.attribute} of {whose}", on_change=self.on_choose)
    relabel.btn("write", label="Relabel", on_click=self.on_relabel, variant="outlined")


def _figures(
    self: Any,
    ctx: foo.ExecutionContext,
    panel: Any,
    figures: Mapping[str, Any],
    table: Mapping[str, Any] | None,
    there: Inspected | None,
) -> None:
    if table is not None:
        few = f" Grey: fewer than {SMALL} faces." if any(r["cell"]["n"] < SMALL for r in table["rows"]) else ""
        text = f"**Accuracy by {crossed(table)}.** 95 % Wilson intervals; no answer counts as wrong.{few}"
        panel.md(text, name="groups_title")
        _plot(panel, "groups", plots.groups(table), self.on_group)
        panel.md(_gaps(table), name="gaps")
    confidence = figures["confidence"]
    if confidence is None:
        _forms.notice(panel, "no_scores", "These answers carry no scores: there is no reliability or coverage curve.")
        return
    title = f"**Reliability: ECE {_share(confidence['ece'])} %** over {confidence['n']:,} scored faces"
    panel.md(title, name="reliability_title")
    _plot(panel, "reliability", plots.reliability(confidence), self.on_bin)
    panel.md("**Accuracy against coverage, the surest answers first**", name="selective_title")
    threshold = threshold_of(ctx)
    _plot(panel, "selective", plots.selective(confidence, threshold))
    if there is not None:
        _keeping(self, panel, there, threshold)


def _keeping(self: Any, panel: Any, there: Inspected, threshold: float) -> None:
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
    kept, right = inspection.kept(there, threshold)
    share = f"{_share(right / kept)} % of them right" if kept else "none to be right"
    n = there.figures["overall"]["n"]
    panel.md(f"**{kept:,} of {n:,} faces kept** ({_share(kept / n if n else None)} %), {share}.", name="kept_said")
    panel.md(_targets(there.figures["confidence"]["selective"]), name="targets")
    row = _Row(panel, "kept")
    row.button("kept_faces", "Show kept", self.on_kept)
    row.button("aside", "Show set aside", self.on_set_aside)


def _targets(points: Sequence[Mapping[str, Any]]) -> str:
    """Which confidence reaches which accuracy, on these faces."""
    curve, parts = tuple(SelectivePoint(**point) for point in points), []
    for wanted in TARGETS:
        found = threshold_for(curve, wanted)
        text = f"from {found.threshold:.2f} on, {_share(found.coverage)} % kept" if found else "not reached"
        parts.append(f"{wanted:.0%} right: {text}")
    return "; ".join(parts) + "."


def _corrected(panel: Any, there: Inspected) -> None:
    """Figures with corrected labels beside those above."""
    found = correcting.corrected_overall(there)
    if found is None:
        return
    text = (
        f"**With {found['n']:,} corrected labels** of `{correcting.corrected_field(there)}`: accuracy "
        f"{_share(found['accuracy'])} %, macro F1 {_share(found['f1'])} %."
    )
    panel.md(text, name="corrected")


def _plot(panel: Any, name: str, figure: Mapping[str, Any], on_click: Callable[..., None] | None = None) -> None:
    click = {"on_click": on_click} if on_click else {}
    panel.plot(name, data=figure["data"], layout=figure["layout"], config=PLOT, **click)


def _share(value: float | None) -> str:
    return "-" if value is None else report.share(value)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return f"{_share(value)} % ({_share(low)} to {_share(high)})"


def _overall(figures: Mapping[str, Any]) -> str:
    cell = figures["overall"]
    line = (
        f"**n = {cell['n']:,}** · answered {_share(cell['coverage'])} % · accuracy "
        f"{_interval(cell['accuracy'], cell['low'], cell['high'])} · macro F1 "
        f"{_interval(cell['f1'], cell['f1_low'], cell['f1_high'])}"
    )
    counts = {name: n for name, n in cell["outcomes"].items() if name != "ok"}
    counts |= {"not asked": figures["not_asked"], "without ground truth": figures["no_truth"]}
    counts |= {"predictions of no face": figures["extra"]}
    rest = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    parts = [line, f"Labels: {figures['alignment']}" if figures["alignment"] else "", rest]
    return "\n\n".join(part for part in parts if part)


def _gaps(table: Mapping[str, Any]) -> str:
    if not table["gaps"]:
        return f"There are fewer than two groups of at least {SMALL} faces, so no gap is shown."
    rows = [
        [
            gap["figure"].replace("_", " "),
            f"{' / '.join(gap['worst'])}: {_share(gap['low_value'])}",
            f"{' / '.join(gap['best'])}: {_share(gap['high_value'])}",
            f"{_share(gap['difference'])} ({_share(gap['difference_low'])} to {_share(gap['difference_high'])})",
            "-" if gap["ratio"] is None else f"{gap['ratio']:.2f}",
        ]
        for gap in table["gaps"]
    ]
    header = ["gap, per cent", "worst", "best", "difference (95 %)", "ratio"]
    left = table["gaps"][0]["left_out"]
    note = f"\n\n{left} of {left + table['gaps'][0]['compared']} groups are too small to compare." if left else ""
    return f"{_forms.markdown_table(header, rows)}{note}"


def face(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """All answers about the face in the modal."""
    panel.md(PERCEIVED, name="perceived")
    found = history.answers(ctx.dataset, str(ctx.current_sample))
    if not found:
        _forms.notice(panel, "no_answers", UNASKED)
        return
    for attribute in dict.fromkeys(answer.attribute for answer in found):
        panel.md(f"**{attribute}**", name=f"title_{attribute}")
        for answer in (a for a in found if a.attribute == attribute):
            name = f"{answer.prefix}_{attribute}"
            panel.md(_said(answer), name=f"said_{name}")
            if answer.shares:
                _plot(panel, f"shares_{name}", plots.probabilities(answer.labels, answer.shares, answer.label))
    keys = results.eval_keys(ctx.dataset)
    there = attempt(ctx, lambda: there_of(ctx)) if keys else None
    if there is not None:
        row = panel.h_stack("choose", gap=2)
        _dropdown(self, row, "evaluation", keys, there.eval_key, "Evaluation")
        _dropdown(self, row, "attribute", list(there.results["fields"]), there.attribute, "Attribute")
        _marking(self, ctx, panel, there)


def _said(answer: history.StoredAnswer) -> str:
    sure = f", {_share(answer.confidence)} %" if answer.confidence is not None else ""
    lines = [f"`{answer.prefix}`: **{answer.label or plots.NO_ANSWER}**{sure} · outcome {answer.outcome}"]
    if answer.reason:
        lines.append(f"Reason: {answer.reason}")
    if answer.text:
        lines.append(f"Said: {answer.text!r}")
    if answer.coverage is not None and answer.coverage < inspection.LOW_COVERAGE:
        lines.append(f"Only {_share(answer.coverage)} % of the model's probability lay on the label set.")
    return "\n\n".join(lines)
