"""The panel beside one face: all answers about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import ImageError
from facevlm.faces.images import BOX
from facevlm.reports import pictures, plots
from facevlm.reports.structure import share
from facevlm.store import history, inspection, results
from facevlm.store.history import Opened

from .. import _forms
from .._choice import attempt, inspected_of
from .._marks import Marked, code, joined, marked, plain, say
from . import marking
from .parts import PERCEIVED, dropdown, plot

UNASKED = "No model was asked about this picture as a whole: run 'Apply VLM face attributes'."
ON_FACES = (
    "Models were asked about {:,} {} in this picture, not about it as a whole: click a box, or open the faces by a "
    "click on a figure of the panel in the grid."
)
UNASKED_FACE = "No model was asked about this face: run 'Apply VLM face attributes'."
CROP_PX = 160


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """All answers about the picture or the face in the modal."""
    say(panel, plain(PERCEIVED), "perceived")
    about = history.opened(ctx.dataset, ctx.view, str(ctx.current_sample), _clicked(ctx))
    if about is not None and about.box is not None:
        _crop(panel, about.picture.filepath, about.box)
    answers = history.answers_about(ctx.dataset, about) if about is not None else []
    if not answers:
        _forms.notice(panel, "no_answers", _unasked(ctx, about))
        return
    keys = results.eval_keys(ctx.dataset)
    inspected = attempt(ctx, lambda: inspected_of(ctx)) if keys else None
    true = history.truths(ctx.dataset, inspected.results, about) if inspected is not None and about is not None else {}
    for attribute in dict.fromkeys(answer.attribute for answer in answers):
        say(panel, _title(attribute, true.get(attribute, ())), f"title_{attribute}")
        _attribute(panel, [a for a in answers if a.attribute == attribute], true)
    if inspected is not None:
        row = panel.h_stack("choose", gap=2)
        dropdown(self, row, "evaluation", keys, inspected.eval_key, "Evaluation")
        dropdown(self, row, "attribute", list(inspected.results["fields"]), inspected.attribute, "Attribute")
        marking.draw(self, ctx, panel, inspected)


def _clicked(ctx: foo.ExecutionContext) -> str | None:
    """The box of this picture that was clicked last."""
    ours = [c for c in ctx.selected_labels or () if c.get("sample_id") == ctx.current_sample]
    return str(ours[-1]["label_id"]) if ours else None


def _unasked(ctx: foo.ExecutionContext, about: Opened | None) -> str:
    if about is not None and about.box is not None:
        return UNASKED_FACE
    n = history.asked_faces(ctx.dataset, about) if about is not None else 0
    return ON_FACES.format(n, "face" if n == 1 else "faces") if n else UNASKED


def _crop(panel: Any, filepath: str, box: BOX) -> None:
    """The face beside its answers: of a patch the App shows the picture around it, too."""
    try:
        shown = pictures.face(filepath, box, CROP_PX)
    except ImageError as error:
        _forms.notice(panel, "no_crop", f"The face cannot be shown: {error}", types.Warning)
        return
    panel.str("crop", default=shown, view=types.ImageView(alt="The face that the answers below are about"))


def _title(attribute: str, true: tuple[str, ...]) -> Marked:
    """The attribute, and what is true of the face where that is known."""
    known = marked("ground truth: **{}**", " or ".join(true)) if true else ""
    return joined(" · ", [marked("**{}**", attribute), known])


def _attribute(panel: Any, answers: list[history.StoredAnswer], true: Mapping[str, tuple[str, ...]]) -> None:
    for answer in answers:
        name = f"{answer.prefix}_{answer.attribute}"
        say(panel, _answer(answer), f"said_{name}")
        if answer.shares:
            right = true.get(answer.attribute, ())
            plot(panel, f"shares_{name}", plots.probabilities(answer.labels, answer.shares, answer.label, right))


def _answer(answer: history.StoredAnswer) -> Marked:
    sure = f", {share(answer.confidence)} %" if answer.label is not None and answer.confidence is not None else ""
    # Without a label it is said what became of the question, such as that it was refused.
    label = answer.label or answer.outcome.replace("_", " ")
    lines = [marked("{}: **{}**{} · outcome {}", code(answer.prefix), label, sure, answer.outcome)]
    if answer.reason:
        lines.append(marked("Reason: {}", answer.reason))
    if answer.text:
        lines.append(marked("Said: {}", repr(answer.text)))
    if answer.coverage is not None and answer.coverage < inspection.LOW_COVERAGE:
        lines.append(plain(f"Only {share(answer.coverage)} % of the model's probability lay on the label set."))
    return joined("\n\n", lines)
