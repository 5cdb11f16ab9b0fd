"""The panel "Face attribute errors": figures of an evaluation in the grid, all answers about a face in the modal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FieldError
from facevlm.reports import plots
from facevlm.store import correcting, inspection
from facevlm.store.inspection import Inspected
from facevlm.store.workspace import PANEL

from . import _forms
from ._choice import attempt, chosen_ids, inspected_of, is_modal, table_of, threshold_of
from .drawing import face, grid

NAME = PANEL
LABEL = "Face attribute errors"
HELP = (
    "Figures of an evaluation by facevlm. Click a cell, a bar or a point: the grid then shows just those faces, the "
    "most confident answers first. Open the panel beside a picture to see every answer about it."
)


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
        truth, shown = ctx.params["y"], ctx.params["x"]
        predicted = None if shown == plots.NO_ANSWER else shown
        self._show(ctx, lambda inspected: inspection.cell(inspected, truth, predicted))

    def on_group(self, ctx: foo.ExecutionContext) -> None:
        def faces(inspected: Inspected) -> Any:
            table = table_of(ctx, inspected.figures)
            rows = table["rows"] if table is not None else []
            number = int(ctx.params["idx"])
            if table is None or number >= len(rows):
                raise FieldError("These groups are not in the evaluation any more. Choose groups again.")
            return inspection.group(inspected, table["by"], rows[number]["values"])

        self._show(ctx, faces)

    def on_bin(self, ctx: foo.ExecutionContext) -> None:
        self._show(ctx, lambda inspected: inspection.reliability_bin(inspected, int(ctx.params["idx"])))

    def on_show(self, ctx: foo.ExecutionContext) -> None:
        label, faces = grid.VIEWS[ctx.params["which"]]
        self._show(ctx, faces, label)

    def on_kept(self, ctx: foo.ExecutionContext) -> None:
        threshold = threshold_of(ctx)
        self._show(ctx, lambda inspected: inspection.surer_than(inspected, threshold), "an answer this sure")

    def on_set_aside(self, ctx: foo.ExecutionContext) -> None:
        self._show(
            ctx, lambda inspected: inspection.less_sure_than(inspected, threshold_of(ctx)), "an answer less sure"
        )

    def on_disagree(self, ctx: foo.ExecutionContext) -> None:
        rival = ctx.params["rival"]
        self._show(ctx, lambda inspected: inspection.disagreements(inspected, rival), f"disagreements with {rival}")

    def on_label_errors(self, ctx: foo.ExecutionContext) -> None:
        self._show(ctx, lambda inspected: inspection.label_errors(inspected)[1], "likely label errors")

    def on_show_all(self, ctx: foo.ExecutionContext) -> None:
        ctx.ops.clear_view()

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        ids, tag = chosen_ids(ctx), ctx.params["tag"]
        if ids:
            self._tag(ctx, tag, ids)
        else:
            ctx.panel.state.pending = {"tag": tag, "n": len(ctx.view)}

    def on_confirm(self, ctx: foo.ExecutionContext) -> None:
        pending = ctx.panel.state.get("pending")
        ctx.panel.state.pending = None
        if pending:
            self._tag(ctx, pending["tag"], ctx.view.values("id"))

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None

    def on_relabel(self, ctx: foo.ExecutionContext) -> None:
        ids, label = chosen_ids(ctx), ctx.panel.state.get("relabel.label")
        if not ids or not label:
            lacking = "Select at least one face in the grid" if not ids else "Choose a label"
            ctx.ops.notify(f"{lacking} first.", variant="warning")
            return
        name = attempt(ctx, lambda: correcting.correct(inspected_of(ctx), ids, label))
        if name:
            ctx.ops.notify(f"{len(ids):,} labelled '{label}' in '{name}'.", variant="success")
            ctx.ops.reload_dataset()

    def _tag(self, ctx: foo.ExecutionContext, tag: str, ids: list[str]) -> None:
        n = attempt(ctx, lambda: correcting.tag(inspected_of(ctx), tag, ids))
        if n is not None:
            ctx.ops.notify(f"{n:,} tagged '{tag}'.", variant="success")
            ctx.ops.reload_dataset()

    def _show(self, ctx: foo.ExecutionContext, faces: Callable[[Inspected], Any], what: str = "") -> None:
        """Filter the grid; a view that was asked for by name is counted first, so that an empty one is said."""
        view = attempt(ctx, lambda: faces(inspected_of(ctx)))
        if view is None:
            return
        if what and not len(view):
            ctx.ops.notify(f"There is no such face: {what.lower()}.")
            return
        ctx.panel.state.pending = None
        ctx.ops.clear_selected_samples()
        ctx.ops.set_view(view)

    def render(self, ctx: foo.ExecutionContext) -> Any:
        panel = types.Object()
        if ctx.dataset is None:
            _forms.notice(panel, "nothing", "Open a dataset first.")
        elif is_modal(ctx):
            face.draw(self, ctx, panel)
        else:
            grid.draw(self, ctx, panel)
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=2, pad=2))
