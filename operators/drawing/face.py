"""The panel beside one face: all answers about it."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo

from facevlm.reports import plots
from facevlm.reports.structure import share
from facevlm.store import history, inspection, results

from .. import _forms
from .._choice import attempt, inspected_of
from . import marking
from .parts import PERCEIVED, dropdown, plot

UNASKED = (
    "No model was asked about this picture as a whole: run 'Apply VLM face attributes'. What was said about a face "
    "in a picture stands on its box."
)


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """All answers about the face in the modal."""
    panel.md(PERCEIVED, name="perceived")
    answers = history.answers(ctx.dataset, str(ctx.current_sample))
    if not answers:
        _forms.notice(panel, "no_answers", UNASKED)
        return
    for attribute in dict.fromkeys(answer.attribute for answer in answers):
        panel.md(f"**{attribute}**", name=f"title_{attribute}")
        for answer in (a for a in answers if a.attribute == attribute):
            name = f"{answer.prefix}_{attribute}"
            panel.md(_answer(answer), name=f"said_{name}")
            if answer.shares:
                plot(panel, f"shares_{name}", plots.probabilities(answer.labels, answer.shares, answer.label))
    keys = results.eval_keys(ctx.dataset)
    inspected = attempt(ctx, lambda: inspected_of(ctx)) if keys else None
    if inspected is not None:
        row = panel.h_stack("choose", gap=2)
        dropdown(self, row, "evaluation", keys, inspected.eval_key, "Evaluation")
        dropdown(self, row, "attribute", list(inspected.results["fields"]), inspected.attribute, "Attribute")
        marking.draw(self, ctx, panel, inspected)


def _answer(answer: history.StoredAnswer) -> str:
    sure = f", {share(answer.confidence)} %" if answer.confidence is not None else ""
    lines = [f"`{answer.prefix}`: **{answer.label or plots.NO_ANSWER}**{sure} · outcome {answer.outcome}"]
    if answer.reason:
        lines.append(f"Reason: {answer.reason}")
    if answer.text:
        lines.append(f"Said: {answer.text!r}")
    if answer.coverage is not None and answer.coverage < inspection.LOW_COVERAGE:
        lines.append(f"Only {share(answer.coverage)} % of the model's probability lay on the label set.")
    return "\n\n".join(lines)
