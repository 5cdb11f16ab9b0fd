"""How many faces?"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import InputError
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.power import POWER
from facevlm.tasks.power import ALPHA, RANGES, Power, power

from . import _forms, _operator
from ._marks import Marked, joined, marked, plain

NAME = "plan_number_of_faces"
LABEL = "How many faces?"
FACES, GAP = "faces", "gap"
QUESTIONS = {FACES: "How many faces a gap takes to be found", GAP: "Which gap so many faces find"}
USUAL: dict[str, Any] = {
    "question": FACES,
    "gap": 0.05,
    "groups": 2,
    "base_rate": 0.85,
    "n": "200",
    "alpha": ALPHA,
    "power": POWER,
}
NOTE = (
    "One group, the smallest, is served worse by the gap than all others. A gap is found where its p, as it stands "
    f"beside a gap in an evaluation, is small enough. Groups of fewer than {SMALL} faces are not compared."
)


class PlanNumberOfFaces(_operator.Operator):
    """Says how many faces of each group a gap takes to be found, or which gap so many faces find."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Tell how many faces of each group a gap in accuracy takes to be found, or which gap so many faces find. Takes "
        "the gap or the faces, how many groups are compared and the accuracy of the others, as shares of 1; reads and "
        "stores nothing.",
        "calculate",
        False,
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        view = _forms.choices(types.RadioGroup(), QUESTIONS)
        inputs.enum("question", list(QUESTIONS), view=view, label="Question", default=FACES)
        _amount_input(ctx, inputs)
        inputs.int("groups", label="Groups", description="How many are compared", default=USUAL["groups"])
        told = "Accuracy of the other groups, as a share of 1: 0.85 is 85 %"
        inputs.float("base_rate", label="Base rate", description=plain(told), default=USUAL["base_rate"])
        inputs.bool("advanced", label="Advanced", default=False)
        if ctx.params.get("advanced"):
            _level_inputs(inputs)
        answer = inputs.view("answered", _forms.header("Answer"))
        found = _forms.attempt(answer, lambda: _answer(ctx))
        if found is not None:
            _forms.notice(inputs, "answer", f"{_sentence(found)} {NOTE}")

    def frame(self, ctx: foo.ExecutionContext) -> types.View:
        return types.PromptView(label=LABEL, submit_button_label="Answer", cancel_button_label="Close")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Simulating")
        yield _forms.output(ctx, LABEL, _summary(_answer(ctx)))


def _amount_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """What the question is asked of."""
    if _told(ctx, "question") == GAP:
        told = "One number, or one for every group, such as 60, 90, 400"
        inputs.str("n", label="Faces of each group", description=plain(told), default=USUAL["n"])
    else:
        told = "How much worse the one group is served, as a share of 1: 0.05 is 5 points of accuracy"
        inputs.float("gap", label="Gap", description=plain(told), default=USUAL["gap"])


def _level_inputs(inputs: Any) -> None:
    texts = {
        "alpha": ("Largest p", "At which a gap counts as found"),
        "power": ("Share of samples", "In which it has to be found"),
    }
    for name, (label, text) in texts.items():
        low, high = RANGES[name]
        inputs.float(name, label=plain(label), description=plain(f"{text}, {low:g} to {high:g}"), default=USUAL[name])


def _told(ctx: foo.ExecutionContext, name: str) -> Any:
    """What the form says, as usual where it says nothing."""
    value = ctx.params.get(name)
    return USUAL[name] if value is None or value == "" else value


def _answer(ctx: foo.ExecutionContext) -> Power:
    """Raises :class:`~facevlm.errors.FacevlmError` for what cannot be."""
    groups, base_rate, alpha, share = (_told(ctx, name) for name in ("groups", "base_rate", "alpha", "power"))
    if _told(ctx, "question") == GAP:
        return power(None, groups, base_rate, n=_sizes(_told(ctx, "n")), alpha=alpha, power=share)
    return power(_told(ctx, "gap"), groups, base_rate, alpha=alpha, power=share)


def _sizes(told: str) -> int | list[int]:
    """Faces of each group: one number, or a list with one for every group."""
    try:
        sizes = [int(size) for size in told.replace(",", " ").split()]
    except ValueError:
        sizes = []
    if not sizes:
        raise InputError(f"Got '{told}' faces of each group, expected whole numbers such as 200, or 60, 90, 400.")
    return sizes[0] if len(sizes) == 1 else sizes


def _sentence(found: Power) -> str:
    return found.told[:1].upper() + found.told[1:]


def _summary(found: Power) -> Marked:
    return joined("\n\n", [marked("**{}**", _sentence(found)), NOTE])
