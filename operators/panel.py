"""The panel "Face attribute errors": figures of an evaluation in the grid, all answers about a face in the modal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError, FieldError
from facevlm.reports import plots
from facevlm.store import comparing, correcting, inspection, targets
from facevlm.store import unjudged as unjudged_of
from facevlm.store.correcting import Undo
from facevlm.store.inspection import Inspected
from facevlm.store.model_evaluation import PLUGIN
from facevlm.store.unjudged import Told
from facevlm.store.workspace import PANEL

from . import _forms, _grid, _latest, _undo, keep
from ._choice import (
    EVERY,
    FIELDS,
    THRESHOLD,
    attempt,
    chosen_ids,
    inspected_in,
    inspected_of,
    is_modal,
    open_tab,
    rival_of,
    table_of,
    threshold_of,
    told_of,
    visible_of,
)
from ._reviewing import Reviewing
from .drawing import compare, errors, face, grid, unjudged
from .drawing.errors import SUREST

About = TypeVar("About")
NAME = PANEL
LABEL = "Face attribute errors"
UNCOVERING = ("choose.evaluation", "choose.attribute", FIELDS)
"""Choices after which other labels are to be seen on the faces."""
HELP = (
    "Figures of an evaluation by facevlm. Click a cell, a bar or a point: the grid then shows just those faces, the "
    "most confident answers first. Open the panel beside a picture to see every answer about it."
)


class FaceAttributeErrors(Reviewing, foo.Panel):
    """Shows figures, and the faces behind them on a click; tags and relabels them."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name=NAME, label=LABEL, icon=_forms.ICON, surfaces="grid modal", help_markdown=HELP, allow_multiple=False
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        if ctx.panel_id is None:
            return super().execute(ctx)
        is_of_the_page = str(ctx.params.get("__method__")).startswith("on_change")
        if not is_of_the_page:
            # The browser changes its own state of the panel, too, before it tells of what was done.
            keep.watch(ctx)
        with _latest.turn(ctx) as changed:
            result = super().execute(ctx)
        if is_of_the_page and changed:
            keep.watch(ctx)
        return result

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        # A panel of the modal loads while a sample is open, one of the grid while none is.
        ctx.panel.state.modal = ctx.current_sample is not None
        _grid.look(ctx)

    def on_change_current_sample(self, ctx: foo.ExecutionContext) -> None:
        """The panel is drawn anew after every event."""

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """A question about all faces is gone once some are selected. The App tells of none whenever it draws a page."""
        if ctx.selected:
            ctx.panel.state.pending = None

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        _grid.look(ctx)

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None
        _grid.forget(ctx)
        ctx.panel.state.set(_undo.DONE, None)

    def on_choose(self, ctx: foo.ExecutionContext) -> None:
        path, value = ctx.params["path"], ctx.params["value"]
        if path not in UNCOVERING or is_modal(ctx):
            ctx.panel.state.set(path, value)
            return
        before = _worn(ctx)
        ctx.panel.state.set(path, value)
        chosen = attempt(ctx, lambda: _worn_of(ctx))
        # When the panel opens, the App tells what its dropdowns begin with, which nobody chose.
        if chosen is not None and chosen != before:
            every = targets.label_fields(ctx.dataset)
            ctx.ops.set_active_fields([*(name for name in ctx.active_fields if name not in every), *chosen])

    def on_tab(self, ctx: foo.ExecutionContext) -> None:
        open_tab(ctx, ctx.params["path"], ctx.params["value"], list(grid.TABS))

    def on_cell(self, ctx: foo.ExecutionContext) -> None:
        truth, said = ctx.params["y"], ctx.params["x"]
        predicted = None if said == plots.NO_ANSWER else said
        words = f"truth {truth}, {'no answer' if predicted is None else f'said {said}'}"
        self._show(ctx, lambda inspected: inspection.cell(inspected, truth, predicted), words, cell=[truth, said])

    def on_group(self, ctx: foo.ExecutionContext) -> None:
        found = attempt(ctx, lambda: self._group(ctx, int(ctx.params["idx"])))
        if found is not None:
            by, values = found
            words = f"{' x '.join(by)} {' / '.join(values)}"
            self._show(ctx, lambda inspected: inspection.group(inspected, by, values), words)

    def _group(self, ctx: foo.ExecutionContext, number: int) -> tuple[list[str], list[str]]:
        table = table_of(ctx, inspected_of(ctx).figures)
        rows = table["rows"] if table is not None else []
        if table is None or number >= len(rows):
            raise FieldError("These groups are not in the evaluation any more. Choose groups again.")
        return list(table["by"]), list(rows[number]["values"])

    def on_bin(self, ctx: foo.ExecutionContext) -> None:
        number = int(ctx.params["idx"])

        def faces(inspected: Inspected) -> Any:
            return inspection.reliability_bin(inspected, number)

        self._show(ctx, faces, f"confidence near {float(ctx.params.get('x') or 0):.2f}")

    def on_show(self, ctx: foo.ExecutionContext) -> None:
        view = errors.VIEWS[ctx.params["which"]]
        self._show(ctx, view.faces, view.title, view.order)

    def on_kept(self, ctx: foo.ExecutionContext) -> None:
        threshold = threshold_of(ctx)
        words = f"an answer with a confidence from {threshold:g} on"
        self._show(ctx, lambda inspected: inspection.surer_than(inspected, threshold), words)

    def on_set_aside(self, ctx: foo.ExecutionContext) -> None:
        threshold = threshold_of(ctx)
        words = f"an answer with a confidence below {threshold:g}"
        self._show(ctx, lambda inspected: inspection.less_sure_than(inspected, threshold), words, "least sure first")

    def on_take(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.set(THRESHOLD, float(ctx.params["value"]))

    def on_side(self, ctx: foo.ExecutionContext) -> None:
        found = attempt(ctx, lambda: self._side(ctx))
        if found is not None:
            side, rival, by, values, words = found
            self._show(ctx, lambda inspected: comparing.faces(inspected, rival, side, by, values), words)

    def _side(self, ctx: foo.ExecutionContext) -> tuple[str, str, list[str], list[str], str]:
        """Which count of a comparison was clicked: who is right, beside whom, and in which group."""
        inspected = inspected_of(ctx)
        rivals = inspection.rivals(inspected)
        if not rivals:
            raise FieldError("There is no other run any more that answered this attribute.")
        rival, side = rival_of(ctx, rivals), ctx.params.get("side")
        by: list[str] = []
        values: list[str] = []
        if side is None:
            side = comparing.SIDES[int(ctx.params["trace_idx"])]
            table = table_of(ctx, inspected.figures)
            clicked = compare.counted(ctx, inspected, rival, table)["sides"][int(ctx.params["idx"])]
            values = list(clicked["values"])
            by = list(table["by"]) if table is not None and values else []
        title = compare.titles(inspected.prefix, rival).get(side, f"{inspected.prefix} and {rival} differ")
        return side, rival, by, values, ", ".join([*([" / ".join(values)] if values else []), title])

    def on_label_said(self, ctx: foo.ExecutionContext) -> None:
        label = ctx.params["y"]
        self._show_told(ctx, lambda said: unjudged_of.labelled(said, label), f"said {label}", "least sure first")

    def on_told(self, ctx: foo.ExecutionContext) -> None:
        view = unjudged.VIEWS[ctx.params["which"]]
        self._show_told(ctx, view.faces, view.title, view.order)

    def on_differ(self, ctx: foo.ExecutionContext) -> None:
        rival = ctx.params["rival"]
        words = f"disagreements with {rival}"
        self._show_told(ctx, lambda said: unjudged_of.disagreements(said, rival), words, "least sure first")

    def on_next(self, ctx: foo.ExecutionContext) -> None:
        name = ctx.params["operator_name"]
        if name in unjudged.NEXT:
            ctx.prompt(f"{PLUGIN}/{name}")

    def on_disagree(self, ctx: foo.ExecutionContext) -> None:
        rival = ctx.params["rival"]
        self._show(ctx, lambda inspected: inspection.disagreements(inspected, rival), f"disagreements with {rival}")

    def on_label_errors(self, ctx: foo.ExecutionContext) -> None:
        def faces(inspected: Inspected) -> Any:
            return inspection.label_errors(inspected)[1]

        self._show(ctx, faces, "likely label errors", "least likely truth first")

    def on_show_all(self, ctx: foo.ExecutionContext) -> None:
        _grid.back(ctx)

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        ids, tag = chosen_ids(ctx), ctx.params["tag"]
        if ids:
            self._tag(ctx, tag, ids)
        else:
            ctx.panel.state.pending = {"tag": tag, "n": targets.size(ctx.view)}

    def on_confirm(self, ctx: foo.ExecutionContext) -> None:
        pending = ctx.panel.state.get("pending")
        ctx.panel.state.pending = None
        if not pending:
            return
        ids = ctx.view.values("id")
        if len(ids) == pending["n"]:
            self._tag(ctx, pending["tag"], ids)
        else:
            ctx.panel.state.pending = pending | {"n": len(ids)}
            ctx.ops.notify(
                f"The view holds {len(ids):,} faces now, not {pending['n']:,}: agree again.", variant="warning"
            )

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.pending = None

    def on_relabel(self, ctx: foo.ExecutionContext) -> None:
        ids, label = chosen_ids(ctx), ctx.panel.state.get("relabel.label")
        if not ids or not label:
            lacking = "Select at least one face in the grid" if not ids else "Choose a label"
            ctx.ops.notify(f"{lacking} first.", variant="warning")
            return
        found = attempt(ctx, lambda: self._correct(inspected_of(ctx), ids, label))
        if found:
            name, done, inspected = found
            self._done(ctx, f"{len(ids):,} labelled '{label}' in '{name}'", done, inspected)

    def _correct(self, inspected: Inspected, ids: list[str], label: str) -> tuple[str, Undo, Inspected]:
        done = correcting.before_correcting(inspected, ids)
        return correcting.correct(inspected, ids, label), done, inspected

    def _tag(self, ctx: foo.ExecutionContext, tag: str, ids: list[str]) -> None:
        def act() -> tuple[int, Undo, Inspected]:
            inspected = inspected_of(ctx)
            done = correcting.before_tagging(inspected, tag, ids)
            return correcting.tag(inspected, tag, ids), done, inspected

        found = attempt(ctx, act)
        if found is not None:
            n, done, inspected = found
            self._done(ctx, f"{n:,} tagged '{tag}'", done, inspected)

    def _done(self, ctx: foo.ExecutionContext, words: str, done: Undo, inspected: Inspected) -> None:
        _undo.keep(ctx, words, done, {"evaluation": inspected.eval_key, "attribute": inspected.attribute})
        ctx.ops.notify(f"{words}.", variant="success")
        keep.reload(ctx)

    def on_undo(self, ctx: foo.ExecutionContext) -> None:
        words, kept = (_undo.told(ctx) or {}).get("words", ""), _undo.kept(ctx)
        if kept is None:
            ctx.ops.notify("There is nothing to undo any more.", variant="warning")
            return
        done, choice = kept
        n = attempt(ctx, lambda: correcting.undo(inspected_in(ctx, **choice), done))
        if n is not None:
            _undo.forget(ctx)
            ctx.ops.notify(f"Undone: {words}.", variant="success")
            keep.reload(ctx)

    def _show(
        self,
        ctx: foo.ExecutionContext,
        faces: Callable[[Inspected], Any],
        what: str,
        order: str = SUREST,
        cell: list[str] | None = None,
    ) -> None:
        """Show faces in the grid, and what they are above the figures; where there is none, the grid stays as it is."""
        found = attempt(ctx, lambda: _counted(inspected_of(ctx), faces))
        if found is not None:
            inspected, view, n = found
            self._put(ctx, view, n, what, order, of=[inspected.eval_key, inspected.attribute], cell=cell)

    def _show_told(self, ctx: foo.ExecutionContext, faces: Callable[[Told], Any], what: str, order: str) -> None:
        """The same where nothing was evaluated."""

        def told() -> tuple[Told, Any, int]:
            said = told_of(ctx)
            if said is None:
                raise FieldError("No model has answered in this dataset any more. Apply one first.")
            return _counted(said, faces)

        found = attempt(ctx, told)
        if found is not None:
            said, view, n = found
            self._put(ctx, view, n, f"{said.field}, {what}", order)

    def _put(self, ctx: foo.ExecutionContext, view: Any, n: int, what: str, order: str, **more: Any) -> None:
        if not n:
            ctx.ops.notify(f"There is no such face: {what}. The grid stays as it is.")
            return
        ctx.panel.state.pending = None
        _grid.show(ctx, view, f"{what}: {n:,} {'face' if n == 1 else 'faces'}, {order}", **more)

    def render(self, ctx: foo.ExecutionContext) -> Any:
        _latest.catch_up(ctx)
        panel = types.Object()
        if ctx.dataset is None:
            _forms.notice(panel, "nothing", "Open a dataset first.")
        elif is_modal(ctx):
            face.draw(self, ctx, panel)
        else:
            grid.draw(self, ctx, panel)
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=2, pad=2))


def _worn_of(ctx: foo.ExecutionContext) -> list[str]:
    """The labels that the faces in the grid are to wear: of the chosen attribute alone, or all.

    Raises :class:`~facevlm.errors.FacevlmError` where what is chosen is no longer there.
    """
    if visible_of(ctx) == EVERY:
        return list(targets.label_fields(ctx.dataset))
    return list(inspection.label_fields(inspected_of(ctx)))


def _worn(ctx: foo.ExecutionContext) -> list[str] | None:
    """The same, or None where that cannot be told."""
    with contextlib.suppress(FacevlmError):
        return _worn_of(ctx)
    return None


def _counted(about: About, faces: Callable[[About], Any]) -> tuple[About, Any, int]:
    view = faces(about)
    return about, view, targets.size(view)
