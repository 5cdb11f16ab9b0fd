"""The panel in the grid where nothing was evaluated: what models said, and what can be done next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fiftyone.operators as foo

from facevlm.reports import plots
from facevlm.store import runs, unjudged
from facevlm.store.model_evaluation import PLUGIN
from facevlm.store.targets import Collection
from facevlm.store.unjudged import Told

from .. import _forms
from .._choice import ATTRIBUTE_TOLD, RUN_TOLD, remembered, told_of
from .._marks import Marked, joined, marked, plain, say
from .parts import Row, dropdown, plot

NOTHING = (
    "This dataset keeps no evaluation yet. Start with one of these, or press ` and run 'Apply VLM face attributes', "
    "then 'Evaluate face attributes against ground truth'."
)
UNJUDGED = "There is no evaluation yet, so nobody is judged right or wrong: this is what models said."
NEXT = {
    "detect_faces": "Find faces",
    "load_labels": "Load labels",
    "apply_vlm_face_attributes": "Apply a model",
    "evaluate_face_attributes": "Evaluate against ground truth",
}
"""What can be done next, by the names of operators; one that is not there is not offered."""


@dataclass(frozen=True)
class ToldView:
    """Faces that a button shows: its title, the faces, and their order in words."""

    title: str
    faces: Callable[[Told], Collection]
    order: str


VIEWS = {
    "unsure": ToldView(f"Unsure: confidence below {unjudged.UNSURE:.0%}", unjudged.unsure, "least sure first"),
    "no_answer": ToldView("Refused, unparsed, failed", unjudged.not_answered, "by what became of them"),
    "low_coverage": ToldView(
        "Low probability on the label set", unjudged.low_coverage, "least probability on the label set first"
    ),
}


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """What a run said about an attribute; buttons for the next step."""
    said = told_of(ctx)
    if said is None:
        _forms.notice(panel, "nothing", NOTHING)
        steps(self, panel)
        return
    _forms.notice(panel, "nothing", UNJUDGED)
    steps(self, panel)
    known = unjudged.answered(ctx.dataset)
    where, _, name = RUN_TOLD.partition(".")
    row = panel.h_stack(where, gap=2)
    dropdown(self, row, name, list(known), said.prefix, "Run")
    dropdown(self, row, ATTRIBUTE_TOLD.partition(".")[2], known[said.prefix], said.attribute, "Attribute")
    found = _counted(ctx, said)
    say(panel, _words(said, found), "told")
    if found["labels"]:
        say(panel, Marked("**What was said.** Click a bar to see its faces, the least sure first."), "labels_title")
        plot(panel, "labels", plots.counts(found["labels"]), self.on_label_said)
    _buttons(self, panel, said)


def steps(self: Any, panel: Any) -> None:
    """Buttons that open the forms of what can be done next."""
    row = Row(panel, "next")
    for name, title in NEXT.items():
        if foo.operator_exists(f"{PLUGIN}/{name}"):
            row.button(name, title, self.on_next, operator_name=name)


def _counted(ctx: foo.ExecutionContext, said: Told) -> Mapping[str, Mapping[str, int]]:
    applied = runs.read(ctx.dataset, runs.run_key(said.prefix)).get("time")
    return remembered(ctx, "told_counts", [said.prefix, said.attribute, str(applied)], lambda: unjudged.counts(said))


def _words(said: Told, found: Mapping[str, Mapping[str, int]]) -> Marked:
    total, others = sum(found["outcomes"].values()), {k: n for k, n in found["outcomes"].items() if k != "ok"}
    line = marked(
        "**{:,} {} asked** about {} by {}", total, "faces" if said.on_faces else "pictures", said.attribute, said.prefix
    )
    return joined(", ", [line, *(plain(f"{n:,} {name.replace('_', ' ')}") for name, n in others.items())])


def _buttons(self: Any, panel: Any, said: Told) -> None:
    say(panel, Marked("**Show in the grid**"), "show_title")
    row = Row(panel, "show")
    for which, view in VIEWS.items():
        row.button(which, view.title, self.on_told, which=which)
    for rival in unjudged.rivals(said):
        row.button(f"differ_{rival}", f"Disagreements with {rival}", self.on_differ, rival=rival)
