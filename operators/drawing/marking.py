"""Tags and corrected labels for the faces that are chosen."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.store import correcting
from facevlm.store.inspection import Inspected

from .. import _forms, _undo
from .._choice import chosen_ids, is_modal
from .._marks import code, marked, plain, say
from .parts import Row

TAGS = {"label_error": "Label error", "model_error": "Model error", "ambiguous": "Ambiguous"}


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any, inspected: Inspected) -> None:
    """Tags and corrected labels for the chosen faces."""
    _done(self, ctx, panel)
    ids, pending, alone = chosen_ids(ctx), ctx.panel.state.get("pending"), is_modal(ctx)
    who = "this face" if alone else f"{len(ids):,} selected" if ids else "the whole view"
    say(panel, marked("**Tag {}**", who), "tag_title")
    if pending:
        _forms.notice(
            panel, "pending", f"Tag all {pending['n']:,} faces of this view '{pending['tag']}'?", types.Warning
        )
        sure = Row(panel, "sure")
        sure.button("confirm", f"Tag {pending['n']:,}", self.on_confirm)
        sure.button("cancel", "Cancel", self.on_cancel)
    else:
        row = Row(panel, "tags")
        for tag, label in TAGS.items():
            row.button(tag, label, self.on_tag, tag=tag)
    name = correcting.corrected_field(inspected)
    what = (
        "**Correct the ground truth.** The label goes to {0}; {1} stays as it is. Evaluate again with ground truth {0} "
        "for the corrected figures."
    )
    say(panel, marked(what, code(name), code(inspected.truth)), "relabel_title")
    relabel = panel.h_stack("relabel", gap=2, align_y="center")
    options = {label: label for label in inspected.figures["labels"]}
    whose = "this face" if alone else "selected faces"
    _forms.dropdown(
        relabel, "label", options, label=plain(f"{inspected.attribute} of {whose}"), on_change=self.on_choose
    )
    relabel.btn("write", label="Relabel", on_click=self.on_relabel, variant="outlined")


def _done(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """What was done last stays to be read, as a notice that has vanished cannot, and can be taken back."""
    done = _undo.told(ctx)
    if done is None:
        return
    row = panel.h_stack("done", gap=2, align_y="center")
    say(row, marked("Done: **{}**", done["words"]), "done_words")
    if done["key"]:
        row.btn("undo", label="Undo", on_click=self.on_undo, variant="outlined")
