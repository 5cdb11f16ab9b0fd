"""Ask about faces."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import asking
from facevlm.backends import Options
from facevlm.backends.cards import HUB, Card
from facevlm.backends.remote import services
from facevlm.detection import FIELD
from facevlm.phrases import words
from facevlm.store import targets
from facevlm.store.rows import detections_fields

from . import _forms, _remote
from .apply import applied_summary, model_inputs, model_name

NAME = "ask_about_faces"
LABEL = "Ask about faces"
ITSELF = "model"


class AskAboutFaces(foo.Operator):
    """Reads a request in words, shows its plan, and asks only what is named of the faces that are meant."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(NAME, LABEL, "Ask in words: age group and emotion of the child")

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        return _forms.placement(LABEL)

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
        examples = "; ".join(words()["examples"])
        request = inputs.str("request", label="Request", description=f"In English, such as: {examples}", required=True)
        _plan(ctx, inputs, request)
        inputs.str(
            "planner",
            label="Planner",
            description="A model behind an API that reads what is not understood, from the words alone; empty: none",
        )
        inputs.bool("plan_now", label="Let the planner read it now, to see the plan", default=False)
        _faces_input(ctx, inputs)
        _grounding_input(ctx, inputs, model_inputs(ctx, inputs))
        inputs.str("prefix", label="Field prefix", description="Empty: the model's short name")
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Reading the request")
        request = _asking(ctx, _planner(ctx))
        with closing(request.works()) as works:
            for work in works:
                work.begin(lambda said: _remote.confirmed(ctx, said))
                yield from _forms.followed(ctx, work, "done")
        result = request.result()
        yield ctx.ops.reload_dataset()
        if result.faces:
            yield ctx.ops.set_view(result.view)
            if result.applied is not None and targets.patches_field(result.view) is None:
                shown = [name for name in ctx.active_fields if name != _field(ctx)]
                yield ctx.ops.set_active_fields(list(dict.fromkeys([*shown, *request.shown])))
        yield _forms.output(ctx, "Faces are picked", _summary(result))


def _plan(ctx: foo.ExecutionContext, inputs: Any, request: Any) -> None:
    """What the request would do, or what is wrong with it, as it is being written."""
    unnamed = model_name(ctx) in (HUB, services.PREFIX)
    if unnamed or not (ctx.params.get("request") or "").strip():
        return
    # Not at every letter that is typed: a planner is asked when the user says so, or when the run begins.
    planner = _planner(ctx) if ctx.params.get("plan_now") else None
    proposal = _forms.attempt(request, lambda: _asking(ctx, planner).proposal)
    if proposal is None and _planner(ctx) and not planner:
        request.invalid, request.error_message = False, None
        inputs.md("The planner will be asked when this is executed.", name="later")
    if proposal is not None:
        inputs.md("**Plan**\n" + "".join(f"\n- {line}" for line in proposal.sentences), name="plan")


def _faces_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    target = ctx.target_view()
    shown = targets.patches_field(target)
    known = [shown] if shown else detections_fields(target._root_dataset)
    options = {name: f"The boxes in '{name}'" for name in known}
    if options:
        _forms.dropdown(inputs, "faces", options, label="Faces", default=_field(ctx))
    else:
        _forms.notice(inputs, "no_faces", "No face is known: run 'Detect faces' first.", types.Warning)


def _grounding_input(ctx: foo.ExecutionContext, inputs: Any, card: Card | None) -> None:
    """Who says whom words fit that no label decides."""
    own = {ITSELF: "The model itself"} if card is not None and card.hosted else {ITSELF: "Nobody: labels alone"}
    options = own | {name: f"{name}: answers with boxes" for name in asking.GROUNDING}
    _forms.dropdown(inputs, "grounding", options, label="Whom other words fit, says", default=ITSELF)


def _field(ctx: foo.ExecutionContext) -> str:
    target = ctx.target_view()
    if shown := targets.patches_field(target):
        return shown
    known = detections_fields(target._root_dataset)
    chosen = ctx.params.get("faces")
    usual = FIELD if FIELD in known or not known else known[0]
    return str(chosen or usual)


def _planner(ctx: foo.ExecutionContext) -> str | None:
    return (ctx.params.get("planner") or "").strip() or None


def _asking(ctx: foo.ExecutionContext, planner: str | None) -> asking.Asking:
    grounding = ctx.params.get("grounding") or ITSELF
    return asking.Asking(
        ctx.target_view(),
        ctx.params.get("request") or "",
        model_name(ctx),
        faces=_field(ctx),
        prefix=ctx.params.get("prefix") or None,
        grounding=None if grounding == ITSELF else grounding,
        planner=planner,
        options=Options(remote=_remote.options(ctx), trust_remote_code=bool(ctx.params.get("trust_remote_code"))),
        secrets=ctx.secrets.get,
    )


def _summary(result: asking.AskResult) -> str:
    asked = [applied_summary(result.applied)] if result.applied is not None else []
    return "\n\n".join([result.summary, *asked])
