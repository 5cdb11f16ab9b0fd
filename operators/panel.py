"""The panel "Face attribute errors": figures of an evaluation in the grid, all answers about a face in the modal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import plots, report
from facevlm.errors import FacevlmError, FieldError
from facevlm.evaluation import SMALL
from facevlm.store import evaluations, inspection
from facevlm.store.inspection import Inspected

from . import _forms

NAME = "face_attribute_errors"
LABEL = "Face attribute errors"
TAGS = {"label_error": "Label error", "model_error": "Model error", "ambiguous": "Ambiguous"}
VIEWS: dict[str, tuple[str, Callable[[Inspected], Any]]] = {
    "errors": ("Confident errors", inspection.confident_errors),
    "no_answer": ("Refused, unparsed, failed", inspection.not_answered),
    "low_coverage": ("Low coverage", inspection.low_coverage),
}
PERCEIVED = "All labels are perceived or apparent: what a model or an annotator sees in a picture, not what someone is."
HELP = (
    "Figures of an evaluation by facevlm. Click a cell, a bar or a point: the grid then shows just those faces, the "
    "most confident answers first. Open the panel beside a picture to see every answer about it."
)
NOTHING = (
    "This dataset keeps no evaluation yet. Press ` and run 'Apply VLM face attributes', then 'Evaluate face attributes "
    "against ground truth'."
)
PLOT = {"displayModeBar": False, "scrollZoom": False}


class FaceAttributeErrors(foo.Panel):
    """Shows figures, and the faces behind them on a click; tags and relabels them."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name=NAME, label=LABEL, icon=_forms.ICON, surfaces="grid modal", help_markdown=HELP, allow_multiple=False
        )

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        # A panel of the modal loads while a sample is open, one of the grid while none is.
        ctx.panel.state.modal = ctx.current_sample is not None
        ctx.panel.state.pending = None

    def on_change_current_sample(self, ctx: foo.ExecutionContext) -> None:
        """The panel is drawn anew after every event."""

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None

    def on_choose(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.set(ctx.params["path"], ctx.params["value"])

    def on_cell(self, ctx: foo.ExecutionContext) -> None:
        said = ctx.params["x"]
        self._show(
            ctx, lambda there: inspection.cell(there, ctx.params["y"], None if said == plots.NO_ANSWER else said)
        )

    def on_group(self, ctx: foo.ExecutionContext) -> None:
        def faces(there: Inspected) -> Any:
            table = _table(ctx, there.figures)
            rows = table["rows"] if table is not None else []
            number = int(ctx.params["idx"])
            if table is None or number >= len(rows):
                raise FieldError("These groups are not in the evaluation any more. Choose groups again.")
            return inspection.group(there, table["by"], rows[number]["values"])

        self._show(ctx, faces)

    def on_bin(self, ctx: foo.ExecutionContext) -> None:
        self._show(ctx, lambda there: inspection.reliability_bin(there, int(ctx.params["idx"])))

    def on_show(self, ctx: foo.ExecutionContext) -> None:
        self._show(ctx, VIEWS[ctx.params["which"]][1], ctx.params["which"])

    def on_disagree(self, ctx: foo.ExecutionContext) -> None:
        rival = ctx.params["rival"]
        self._show(ctx, lambda there: inspection.disagreements(there, rival), f"disagreements with {rival}")

    def on_label_errors(self, ctx: foo.ExecutionContext) -> None:
        self._show(ctx, lambda there: inspection.label_errors(there)[1], "likely label errors")

    def on_show_all(self, ctx: foo.ExecutionContext) -> None:
        ctx.ops.clear_view()

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        ids, tag = _chosen(ctx), ctx.params["tag"]
        if ids:
            _tag(ctx, ctx.dataset.select(ids), tag)
        else:
            ctx.panel.state.pending = {"tag": tag, "n": len(ctx.view)}

    def on_confirm(self, ctx: foo.ExecutionContext) -> None:
        pending = ctx.panel.state.get("pending")
        ctx.panel.state.pending = None
        if pending:
            _tag(ctx, ctx.view, pending["tag"])

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None

    def on_relabel(self, ctx: foo.ExecutionContext) -> None:
        ids, label = _chosen(ctx), ctx.panel.state.get("relabel.label")
        if not ids or not label:
            lacking = "Select at least one face in the grid" if not ids else "Choose a label"
            ctx.ops.notify(f"{lacking} first.", variant="warning")
            return
        there = _attempt(ctx, lambda: _there(ctx))
        name = _attempt(ctx, lambda: inspection.correct(there, ids, label)) if there else None
        if name:
            ctx.ops.notify(f"{len(ids):,} labelled '{label}' in '{name}'.", variant="success")
            ctx.ops.reload_dataset()

    def _show(self, ctx: foo.ExecutionContext, faces: Callable[[Inspected], Any], what: str = "") -> None:
        """Filter the grid; a view that was asked for by name is counted first, so that an empty one is said."""
        there = _attempt(ctx, lambda: _there(ctx))
        view = _attempt(ctx, lambda: faces(there)) if there else None
        if view is None:
            return
        if what and not len(view):
            ctx.ops.notify(f"There is no such face: {VIEWS.get(what, (what,))[0].lower()}.")
            return
        ctx.panel.state.pending = None
        ctx.ops.clear_selected_samples()
        ctx.ops.set_view(view)

    def render(self, ctx: foo.ExecutionContext) -> Any:
        panel = types.Object()
        if ctx.dataset is None:
            _forms.notice(panel, "nothing", "Open a dataset first.")
        elif ctx.panel.state.get("modal") and ctx.current_sample is not None:
            _face(self, ctx, panel)
        else:
            _grid(self, ctx, panel)
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=2, pad=2))


class _Row:
    """Buttons beside each other, which go on below where the panel is narrow."""

    def __init__(self, panel: Any, name: str) -> None:
        self._row = panel.grid(name, gap=1)

    def button(self, name: str, label: str, on_click: Callable[..., None], **params: str) -> None:
        narrow = {"item": {"sx": {"width": "auto"}}}
        self._row.btn(name, label, on_click=on_click, params=params, variant="outlined", componentsProps=narrow)


def _attempt(ctx: foo.ExecutionContext, action: Callable[[], Any]) -> Any:
    """The result of an action, or None with its error said in the App."""
    try:
        return action()
    except FacevlmError as error:
        ctx.ops.notify(str(error), variant="error")
        return None


def _chosen(ctx: foo.ExecutionContext) -> list[str]:
    """Ids to act on: the face in the modal, else the selected ones."""
    if ctx.panel.state.get("modal") and ctx.current_sample is not None:
        return [str(ctx.current_sample)]
    return [str(i) for i in ctx.selected]


def _tag(ctx: foo.ExecutionContext, view: fo.core.collections.SampleCollection, tag: str) -> None:
    n = len(view)
    view.tag_samples(tag)
    ctx.ops.notify(f"{n:,} tagged '{tag}'.", variant="success")
    ctx.ops.reload_dataset()


def _there(ctx: foo.ExecutionContext) -> Inspected:
    """The attribute of the evaluation that is chosen.

    Raises :class:`~facevlm.errors.FieldError` where the dataset keeps no evaluation.
    """
    keys = evaluations.eval_keys(ctx.dataset)
    results = evaluations.load_results(ctx.dataset, _pick(ctx, "evaluation", keys) or "")
    names = [figures["predicted_attribute"] for figures in results["evaluations"]]
    return inspection.inspect(ctx.dataset, results, _pick(ctx, "attribute", names) or "")


def _pick(ctx: foo.ExecutionContext, name: str, options: list[str]) -> str | None:
    """What a dropdown holds, the newest evaluation or else the first option by default."""
    chosen = ctx.panel.state.get(f"choose.{name}")
    default = options[-1 if name == "evaluation" else 0] if options else None
    return chosen if chosen in options else default


def _table(ctx: foo.ExecutionContext, figures: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tables = {_crossed(table): table for table in figures["groups"] if table["rows"]}
    chosen = _pick(ctx, "grouping", list(tables))
    return None if chosen is None else tables[chosen]


def _crossed(table: Mapping[str, Any]) -> str:
    return " x ".join(table["by"])


def _grid(self: FaceAttributeErrors, ctx: foo.ExecutionContext, panel: Any) -> None:
    panel.md(PERCEIVED, name="perceived")
    keys = evaluations.eval_keys(ctx.dataset)
    if not keys:
        _forms.notice(panel, "nothing", NOTHING)
        return
    key = _pick(ctx, "evaluation", keys) or keys[-1]
    try:
        results = evaluations.load_results(ctx.dataset, key)
        names = [figures["predicted_attribute"] for figures in results["evaluations"]]
        attribute = _pick(ctx, "attribute", names) or ""
        figures = inspection.figures_of(results, attribute)
    except FacevlmError as error:
        _forms.notice(panel, "broken", str(error), types.Error)
        return
    row = panel.h_stack("choose", gap=2)
    _dropdown(self, row, "evaluation", keys, key, "Evaluation")
    _dropdown(self, row, "attribute", names, attribute, "Attribute")
    table = _table(ctx, figures)
    if table is not None:
        options = [_crossed(t) for t in figures["groups"] if t["rows"]]
        _dropdown(self, row, "grouping", options, _crossed(table), "Groups by")
    there = _reachable(ctx, panel, results, attribute)
    panel.md(_overall(figures), name="overall")
    panel.md("**Confusion:** ground truth in rows, answers in columns. Click a cell to see its faces.", name="confused")
    _plot(panel, "confusion", plots.confusion(figures), self.on_cell)
    if there is not None:
        _actions(self, ctx, panel, there)
    _figures(self, panel, figures, table)


def _dropdown(self: FaceAttributeErrors, row: Any, name: str, options: list[str], value: str, label: str) -> None:
    _forms.dropdown(row, name, {o: o for o in options}, label=label, default=value, on_change=self.on_choose)


def _reachable(ctx: foo.ExecutionContext, panel: Any, results: Mapping[str, Any], attribute: str) -> Inspected | None:
    """Where the faces are; where they are not any more, that is said and the figures stay."""
    try:
        there = inspection.inspect(ctx.dataset, results, attribute)
    except FacevlmError as error:
        _forms.notice(panel, "unreachable", f"{error} Until then a click cannot show faces.", types.Warning)
        return None
    if there.outdated:
        text = f"A model was applied under '{there.prefix}' after this evaluation: evaluate again."
        _forms.notice(panel, "outdated", text, types.Warning)
    return there


def _actions(self: FaceAttributeErrors, ctx: foo.ExecutionContext, panel: Any, there: Inspected) -> None:
    panel.md("**Show in the grid**", name="show_title")
    row = _Row(panel, "show")
    for which, (label, _) in VIEWS.items():
        row.button(which, label, self.on_show, which=which)
    row.button("label_errors", "Likely label errors", self.on_label_errors)
    for rival in inspection.rivals(there):
        row.button(f"disagree_{rival}", f"Disagreements with {rival}", self.on_disagree, rival=rival)
    row.button("all", "Show all", self.on_show_all)
    _marking(self, ctx, panel, there)


def _marking(self: FaceAttributeErrors, ctx: foo.ExecutionContext, panel: Any, there: Inspected) -> None:
    """Tags and corrected labels for the chosen faces."""
    ids, pending = _chosen(ctx), ctx.panel.state.get("pending")
    alone = bool(ctx.panel.state.get("modal")) and ctx.current_sample is not None
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
    name = inspection.corrected_field(there)
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
    self: FaceAttributeErrors, panel: Any, figures: Mapping[str, Any], table: Mapping[str, Any] | None
) -> None:
    if table is not None:
        few = f" Grey: fewer than {SMALL} faces." if any(r["cell"]["n"] < SMALL for r in table["rows"]) else ""
        text = f"**Accuracy by {_crossed(table)}.** 95 % Wilson intervals; no answer counts as wrong.{few}"
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
    _plot(panel, "selective", plots.selective(confidence))


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


def _face(self: FaceAttributeErrors, ctx: foo.ExecutionContext, panel: Any) -> None:
    """All answers about the face in the modal."""
    panel.md(PERCEIVED, name="perceived")
    found = inspection.answers(ctx.dataset, ctx.current_sample)
    if not found:
        _forms.notice(panel, "no_answers", "No model was asked about this face. Run 'Apply VLM face attributes'.")
        return
    for attribute in dict.fromkeys(answer.attribute for answer in found):
        panel.md(f"**{attribute}**", name=f"title_{attribute}")
        for answer in (a for a in found if a.attribute == attribute):
            name = f"{answer.prefix}_{attribute}"
            panel.md(_said(answer), name=f"said_{name}")
            if answer.shares:
                _plot(panel, f"shares_{name}", plots.probabilities(answer.labels, answer.shares, answer.label))
    keys = evaluations.eval_keys(ctx.dataset)
    there = _attempt(ctx, lambda: _there(ctx)) if keys else None
    if there is not None:
        row = panel.h_stack("choose", gap=2)
        _dropdown(self, row, "evaluation", keys, there.eval_key, "Evaluation")
        names = [figures["predicted_attribute"] for figures in there.results["evaluations"]]
        _dropdown(self, row, "attribute", names, there.attribute, "Attribute")
        _marking(self, ctx, panel, there)


def _said(answer: inspection.Answer) -> str:
    sure = f", {_share(answer.confidence)} %" if answer.confidence is not None else ""
    lines = [f"`{answer.prefix}`: **{answer.label or plots.NO_ANSWER}**{sure} · outcome {answer.outcome}"]
    if answer.reason:
        lines.append(f"Reason: {answer.reason}")
    if answer.text:
        lines.append(f"Said: {answer.text!r}")
    if answer.coverage is not None and answer.coverage < inspection.LOW_COVERAGE:
        lines.append(f"Only {_share(answer.coverage)} % of the model's probability lay on the label set.")
    return "\n\n".join(lines)
