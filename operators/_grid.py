"""What the grid shows, in words, and the way back to the view that the user had before.

A view that the panel sets is known again by its stages, so that one which somebody changes in the view bar is no longer
called by the words of the panel, and one which the browser goes back to is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.operators as foo

from facevlm.store.targets import Collection
from facevlm.types import digest

from . import keep

WORDS, NOW, BEFORE = "in_grid.words", "in_grid.now", "in_grid.before"
"""Paths in the panel's state: the words of views by their marks, the mark of what is shown, the user's own view.

Nothing that is drawn may have the name of a path: the App would draw what is kept there.
"""
MOST_WORDS = 8
Stages = Sequence[Mapping[str, Any]]


def forget(ctx: foo.ExecutionContext) -> None:
    """Nothing in the grid is of the panel's doing, as in another dataset."""
    for path in (WORDS, NOW, BEFORE):
        ctx.panel.state.set(path, None)


def look(ctx: foo.ExecutionContext) -> None:
    """Take notice of what the grid shows since somebody changed it."""
    here = mark(_stages(ctx))
    known = here in (ctx.panel.state.get(WORDS) or {})
    ctx.panel.state.set(NOW, here if known else None)
    if not known:
        ctx.panel.state.set(BEFORE, None)


def show(ctx: foo.ExecutionContext, view: Collection, words: str, **more: Any) -> None:
    """Show a view of the panel's, with the words for it and what else is to be known of it.

    Filters of the sidebar would hide some of the faces that the words count: they come back with the user's own view.
    """
    keep.leave(ctx)
    if shown(ctx) is None:
        name = ctx.request_params.get("view_name")
        ctx.panel.state.set(BEFORE, {"view": _stages(ctx), "name": name, "filters": keep.filters(ctx)})
    here = mark(view._serialize())
    told = {k: v for k, v in (ctx.panel.state.get(WORDS) or {}).items() if k != here}
    kept = list(told.items())[1 - MOST_WORDS :]
    ctx.panel.state.set(WORDS, dict(kept) | {here: {"words": words, **more}})
    ctx.panel.state.set(NOW, here)
    ctx.ops.clear_selected_samples()
    ctx.ops.set_view(view)


def shown(ctx: foo.ExecutionContext) -> Mapping[str, Any] | None:
    """What :func:`show` was told of the view in the grid; None where that is the user's own."""
    told: Mapping[str, Mapping[str, Any]] = ctx.panel.state.get(WORDS) or {}
    return told.get(ctx.panel.state.get(NOW) or "")


def back(ctx: foo.ExecutionContext) -> None:
    """Show what the user's view was before the panel changed it, and its filters, or the whole dataset."""
    before = (ctx.panel.state.get(BEFORE) or {}) if shown(ctx) is not None else {}
    if before.get("name"):
        ctx.ops.set_view(name=before["name"])
    elif before.get("view"):
        ctx.trigger("set_view", {"view": before["view"]})
    else:
        ctx.ops.clear_view()
    keep.watch(ctx, before.get("filters"))
    ctx.panel.state.set(NOW, None)
    ctx.panel.state.set(BEFORE, None)


def mark(stages: Stages) -> str:
    """The same for stages before and after the browser had them, which writes 1.0 as 1 and adds parts of its own."""
    return digest([[s["_cls"], [[k, _even(v)] for k, v in s["kwargs"] if not k.startswith("_")]] for s in stages])


def _even(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _even(part) for name, part in value.items()}
    return [_even(part) for part in value] if isinstance(value, (list, tuple)) else value


def _stages(ctx: foo.ExecutionContext) -> list[Mapping[str, Any]]:
    """As the view bar has them: of the context's view those of the sidebar's filters are a part."""
    return list(ctx.request_params.get("view") or ())
