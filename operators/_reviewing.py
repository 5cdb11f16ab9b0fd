"""What is chosen and decided in the tab of review."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import fiftyone.operators as foo

from facevlm.attributes import shipped
from facevlm.errors import FieldError
from facevlm.store import provenance, reviews, runs
from facevlm.store.predictions import field_name
from facevlm.store.reviews import Standing
from facevlm.tasks.evaluate import predicted_attributes
from facevlm.tasks.review import ORDERS, UNSURE, Decided, Review, review

from . import _grid, keep
from ._choice import attempt

STATE = "review"
"""Where the choices of the tab are in the panel's state."""
SURE = "sure.threshold"
USUAL = 0.9
EVERY = "any answer"
EVERYBODY = "no groups"
SHOWN = 200
"""Faces of the queue that are shown in the grid at once."""
MOST_ACTS = 50

_open: WeakKeyDictionary[foo.ExecutionContext, Review] = WeakKeyDictionary()
"""The review that an event opened, to be drawn after it without being read again."""


def chosen(ctx: foo.ExecutionContext, name: str, usual: Any = None) -> Any:
    """What is chosen in the tab, or as usual."""
    value = ctx.panel.state.get(f"{STATE}.{name}")
    return usual if value is None else value


def one_of(ctx: foo.ExecutionContext, name: str, options: list[str]) -> str | None:
    """What a dropdown holds, the first option by default; None where there is none."""
    value = chosen(ctx, name)
    return value if value in options else options[0] if options else None


def prefixes(ctx: foo.ExecutionContext) -> list[str]:
    """Prefixes with predictions, the newest first."""
    pictures = reviews.pictures_of(ctx.dataset)
    return [p for p in reversed(runs.prefixes(ctx.dataset)) if predicted_attributes(pictures, p, shipped())]


def attributes(ctx: foo.ExecutionContext, prefix: str) -> list[str]:
    """The attributes that have predictions under a prefix."""
    return predicted_attributes(reviews.pictures_of(ctx.dataset), prefix, shipped())


def answering(ctx: foo.ExecutionContext, prefix: str, attribute: str) -> dict[str, str]:
    """The runs whose answers are in the field: stamp -> in words."""
    found = provenance.runs_in(reviews.pictures_of(ctx.dataset), field_name(prefix, attribute))
    return {str(by.run): str(by) for by in found}


def threshold_of(ctx: foo.ExecutionContext) -> float:
    value = ctx.panel.state.get(SURE)
    return USUAL if value is None else float(value)


def opened(ctx: foo.ExecutionContext) -> Review:
    """The review of what is chosen, of the whole dataset whatever the grid shows.

    Raises :class:`~facevlm.errors.FacevlmError` where there is nothing to review.
    """
    if ctx not in _open:
        prefix = one_of(ctx, "run", prefixes(ctx))
        attribute = None if prefix is None else one_of(ctx, "attribute", attributes(ctx, prefix))
        if prefix is None or attribute is None:
            raise FieldError("There are no predictions to review. Run 'Apply VLM face attributes' first.")
        stamps = list(answering(ctx, prefix, attribute))
        of_run = [str(one_of(ctx, "whose", stamps))] if len(stamps) > 1 else []
        pictures = reviews.pictures_of(ctx.dataset)
        _open[ctx] = review(pictures, attribute, prefix=prefix, runs=of_run, by=reviewer(ctx))
    return _open[ctx]


def reviewer(ctx: foo.ExecutionContext) -> str | None:
    """Who decides: the App's user where it knows one, else the name that was given."""
    user = ctx.user
    known = [getattr(user, part, None) for part in ("name", "email", "id")] if user else []
    named = str(chosen(ctx, "by", "")).strip()
    return next((str(one) for one in known if one), None) or named or None


def queue_of(ctx: foo.ExecutionContext, opened_review: Review, limit: int | None = None) -> list[Standing]:
    """The faces that come next, as the dropdowns say."""
    groups, label = chosen(ctx, "groups", EVERYBODY), chosen(ctx, "label", EVERY)
    known = label in opened_review.attribute.labels
    return opened_review.queue(
        chosen(ctx, "order", UNSURE),
        label=label if known else None,
        groups=None if groups == EVERYBODY else groups,
        limit=limit,
    )


def seen_picture(opened_review: Review, face: Standing) -> str:
    """The face as an address of data, JPEG. Raises :class:`~facevlm.errors.FacevlmError` where it cannot be read."""
    file = io.BytesIO()
    opened_review.picture(face).save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


class Reviewing:
    """The events of the tab of review; a part of the panel."""

    def on_approve_many(self, ctx: foo.ExecutionContext) -> None:
        """Ask first: nobody looks at what is approved."""
        split = attempt(ctx, lambda: opened(ctx).split(threshold_of(ctx)))
        if split is not None:
            ctx.panel.state.approving = {"n": split.sure, "threshold": split.threshold}

    def on_approve_agreed(self, ctx: foo.ExecutionContext) -> None:
        asked = ctx.panel.state.get("approving")
        ctx.panel.state.approving = None
        if not asked:
            return
        now = attempt(ctx, lambda: opened(ctx).split(asked["threshold"]))
        if now is not None and now.sure != asked["n"]:
            # What was agreed to is not what would be done.
            ctx.panel.state.approving = {"n": now.sure, "threshold": now.threshold}
            ctx.ops.notify(f"It is {now.sure:,} faces by now.", variant="warning")
        elif now is not None:
            _said(ctx, attempt(ctx, lambda: opened(ctx).approve(asked["threshold"])))

    def on_approve_cancelled(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.state.approving = None

    def on_decide(self, ctx: foo.ExecutionContext) -> None:
        """A decision about the faces that are selected in the grid, else about the one that is shown."""
        word, face, token = ctx.params["decision"], ctx.params["face"], ctx.params["token"]
        shown: Mapping[str, str] = ctx.panel.state.get("in_grid") or {}
        selected = [str(i) for i in ctx.selected]
        seen = {i: shown[i] for i in selected if i in shown} if selected else {face: token}
        order = chosen(ctx, "order", UNSURE) if set(selected) <= set(seen) else "picked"
        decisions = dict.fromkeys(selected or [face], word)
        done = attempt(ctx, lambda: opened(ctx).decide(decisions, chosen=order, seen=seen))
        if done is not None:
            _said(ctx, done, quiet=not selected)
        if selected:
            ctx.ops.clear_selected_samples()

    def on_undo_decision(self, ctx: foo.ExecutionContext) -> None:
        """Bring back what stood there before the last act of this panel."""
        acts = list(ctx.panel.state.get("acts") or [])
        if not acts:
            ctx.ops.notify("Nothing was decided in this panel yet.", variant="warning")
            return
        last = acts.pop()
        ctx.panel.state.acts = acts
        done = attempt(ctx, lambda: opened(ctx).undo(last))
        if done is not None:
            ctx.ops.notify(f"{done.written:,} undone in '{done.field}'.{_left(done)}", variant="success")
            ctx.ops.reload_samples()

    def on_show_queue(self, ctx: foo.ExecutionContext) -> None:
        """The faces that come next in the grid, in their order."""
        queue = attempt(ctx, lambda: queue_of(ctx, opened(ctx), SHOWN))
        if not queue:
            ctx.ops.notify("No such face waits.")
            return
        ctx.panel.state.in_grid = {face.id: face.token for face in queue}
        words = f"{opened(ctx).predicted} to review: {len(queue):,} faces, {ORDERS[chosen(ctx, 'order', UNSURE)]}"
        _grid.show(ctx, opened(ctx).view(queue), words)

    def on_open_face(self, ctx: foo.ExecutionContext) -> None:
        ctx.ops.open_sample(id=ctx.params["sample"])


def _said(ctx: foo.ExecutionContext, done: Decided | None, *, quiet: bool = False) -> None:
    """Tell what was written and what was not, and remember the act for undo."""
    if done is None:
        return
    acts = list(ctx.panel.state.get("acts") or [])
    if done.written:
        ctx.panel.state.acts = [*acts, done.act][-MOST_ACTS:]
    if not quiet or done.kept or done.warnings:
        kind = "warning" if done.kept or done.warnings else "success"
        ctx.ops.notify(f"{done.written:,} written to '{done.field}'.{_left(done)}", variant=kind)
    if acts:
        ctx.ops.reload_samples()
    else:
        # The field may be new to the sidebar.
        keep.reload(ctx)


def _left(done: Decided) -> str:
    """Which faces were left as they are, and what else to know."""
    parts = [f"{len(done.kept):,} left as they are: {done.kept[0].reason}."] if done.kept else []
    return "".join(f" {part}" for part in (*parts, *done.warnings))
