"""The tab of review: answers are approved, changed or discarded, one by one or many at once."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError
from facevlm.reports.structure import share
from facevlm.store import database
from facevlm.store.reviews import Standing
from facevlm.tasks.review import ORDERS, UNSURE, Review, ReviewProgress

from .. import _forms, _marks
from .._marks import Marked, code, marked, plain, say
from .._reviewing import (
    EVERY,
    EVERYBODY,
    STATE,
    SURE,
    answering,
    attributes,
    chosen,
    one_of,
    opened,
    prefixes,
    queue_of,
    reviewer,
    seen_picture,
    threshold_of,
)
from .parts import Row, slider

KEYS = "Tab goes from button to button, Space presses one."
OTHERS = {"unclear": "Cannot tell", "discard": "Discard", "skip": "Skip"}
NARROW = {"item": {"sx": {"width": "auto"}}}
"""Choices go on below where the panel is narrow."""
LARGE = {"image": {"style": {"height": "200px"}}}
"""The picture alone: a height of the view would be that of its place in the panel, too."""
TITLES = {"unsure": "Least sure first", "groups": "Small groups first", "random": "Drawn at random"}


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """What is to be reviewed: a threshold for many, the next face, and how far it is."""
    runs_of = prefixes(ctx)
    row = panel.grid(STATE, gap=2)
    try:
        with database.translated():
            _choices(self, ctx, row, runs_of)
            review = opened(ctx)
            _labels(self, ctx, row, review)
            _next(self, ctx, panel, review)
            _many(self, ctx, panel, review)
            _progress(ctx, panel, review)
    except FacevlmError as error:
        _forms.notice(panel, "no_review", str(error), types.Warning)


def _choices(self: Any, ctx: foo.ExecutionContext, row: Any, runs_of: list[str]) -> None:
    """Which run, which attribute, and whose answers where there are those of several runs."""
    prefix = one_of(ctx, "run", runs_of)
    if prefix is None:
        return
    _choose(self, row, "run", {p: p for p in runs_of}, prefix, "Run")
    names = attributes(ctx, prefix)
    attribute = one_of(ctx, "attribute", names) or ""
    _choose(self, row, "attribute", {n: n for n in names}, attribute, "Attribute")
    stamps = answering(ctx, prefix, attribute)
    if len(stamps) > 1:
        _choose(self, row, "whose", stamps, one_of(ctx, "whose", list(stamps)) or "", "Whose answers")


def _choose(self: Any, row: Any, name: str, options: dict[str, str], value: str, label: str) -> None:
    view = types.DropdownView(componentsProps=NARROW)
    row.enum(
        name,
        list(options),
        view=_forms.choices(view, options),
        label=plain(label),
        default=value,
        on_change=self.on_choose,
    )


def _labels(self: Any, ctx: foo.ExecutionContext, row: Any, review: Review) -> None:
    """In which order, of which label, by which groups, and who decides."""
    _choose(self, row, "order", TITLES, chosen(ctx, "order", UNSURE), "Order")
    options = [EVERY, *review.attribute.labels]
    _choose(self, row, "label", {o: o for o in options}, one_of(ctx, "label", options) or EVERY, "Said")
    fields = [EVERYBODY, *review.group_fields()]
    _choose(self, row, "groups", {f: f for f in fields}, one_of(ctx, "groups", fields) or EVERYBODY, "Groups by")
    if not ctx.user:
        view = types.TextFieldView(componentsProps=NARROW)
        row.str("by", label="Your name", default=reviewer(ctx) or "", view=view, on_change=self.on_choose)


def _many(self: Any, ctx: foo.ExecutionContext, panel: Any, review: Review) -> None:
    """A threshold, what it would take, and the approval, which is asked about first."""
    threshold = threshold_of(ctx)
    say(panel, Marked("**Many at once**"), "many_title")
    slider(self, panel, SURE, threshold, "Approve from this confidence on")
    split = review.split(threshold)
    rest = f" {split.without:,} have no answer or no confidence." if split.without else ""
    words = marked("**{:,} of {:,}** waiting faces at or above {:.2f}.{}", split.sure, split.waiting, threshold, rest)
    say(panel, words, "sure_said")
    pending = ctx.panel.state.get("approving")
    if pending:
        text = (
            f"Approve {pending['n']:,} answers of at least {pending['threshold']:.2f} into '{review.field}'? Nobody "
            "looks at them, and each says so."
        )
        _forms.notice(panel, "approving_said", text, types.Warning)
        row = Row(panel, "approve_sure")
        row.button("agreed", f"Approve {pending['n']:,} into {review.field}", self.on_approve_agreed)
        row.button("not_agreed", "Cancel", self.on_approve_cancelled)
    elif split.sure:
        Row(panel, "approve_many").button("many", f"Approve {split.sure:,} ...", self.on_approve_many)


def _next(self: Any, ctx: foo.ExecutionContext, panel: Any, review: Review) -> None:
    """The face that comes next, large, with what was said about it, and the decisions."""
    order = chosen(ctx, "order", UNSURE)
    if order == "groups" and chosen(ctx, "groups", EVERYBODY) == EVERYBODY:
        _forms.notice(panel, "no_groups", "Choose a field under 'Groups by' first.")
        return
    queue = queue_of(ctx, review)
    if not queue:
        _forms.notice(panel, "done", "No face waits: all of these are decided.", types.Success)
        Row(panel, "after").button("undo", "Undo", self.on_undo_decision)
        return
    face = queue[0]
    say(panel, _asked(face, len(queue), order), "asked")
    _picture(panel, review, face)
    _buttons(self, ctx, panel, review, face)


def _asked(face: Standing, waiting: int, order: str) -> Marked:
    sure = "" if face.confidence is None else f" {share(face.confidence)} %"
    said = f"{face.said}{sure}" if face.said else f"no answer ({face.outcome})"
    again = " Skipped before." if face.decision == "skipped" else ""
    return marked("**{}**, {:,} to go. Perceived by the model: **{}**.{}", ORDERS[order], waiting, said, again)


def _picture(panel: Any, review: Review, face: Standing) -> None:
    try:
        address = seen_picture(review, face)
    except FacevlmError as error:
        _forms.notice(panel, "no_picture", str(error), types.Warning)
        return
    # By the name of the face: the App keeps the picture that it first drew under a name.
    panel.str(
        f"picture_{face.id}",
        default=address,
        view=types.ImageView(alt="the face to decide about", componentsProps=LARGE),
    )


def _buttons(self: Any, ctx: foo.ExecutionContext, panel: Any, review: Review, face: Standing) -> None:
    """Decisions about the selected faces, else the one that is shown."""
    about = {"face": face.id, "token": face.token}
    selected = len(ctx.selected)
    row = Row(panel, "decide")
    whose = f" {selected:,} selected" if selected else ""
    if selected or face.said:
        row.button("approve", f"Approve{whose}", self.on_decide, decision="approve", **about)
    for k, label in enumerate(review.attribute.labels, 1):
        row.button(f"label_{k}", label, self.on_decide, decision=label, **about)
    for word, title in OTHERS.items():
        row.button(word, title, self.on_decide, decision=word, **about)
    row.button("undo", "Undo", self.on_undo_decision)
    beside = Row(panel, "beside")
    beside.button("open", "Open the picture", self.on_open_face, sample=face.sample_id)
    beside.button("queue", "Show these in the grid", self.on_show_queue)
    say(panel, plain(KEYS), "keys")


def _progress(ctx: foo.ExecutionContext, panel: Any, review: Review) -> None:
    groups = chosen(ctx, "groups", EVERYBODY)
    table = review.progress(None if groups == EVERYBODY else groups)
    header = ["group", "faces", "seen", "by threshold", "other", "cannot tell", "discarded", "left", "to see"]
    say(panel, marked("**Progress** of {}. To see: for a 95 % interval of 5 points.", code(review.field)), "progress")
    say(panel, _marks.table(header, [_row(row) for row in table]), "progress_table")


def _row(row: ReviewProgress) -> list[str]:
    numbers = (row.n, row.seen, row.bulk, row.labelled, row.unclear, row.discarded, row.left + row.skipped, row.lacking)
    return [row.group, *(f"{n:,}" for n in numbers)]
