"""Ask about faces."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends.cards import HUB, Card, find
from facevlm.backends.remote import services
from facevlm.detection import FIELD
from facevlm.errors import FacevlmError, InputError
from facevlm.language.phrases import words
from facevlm.store import targets
from facevlm.store.rows import detections_fields
from facevlm.tasks._options import Settings
from facevlm.tasks.ask import GROUNDING, AskResult, AskRun, NobodyLooks, NotRead, check_planner

from . import _forms, _operator, _options, _remote, _trust, keep
from ._marks import Marked, joined, marked, plain, say
from ._models import model_inputs, model_name
from .apply import applied_summary

NAME = "ask_about_faces"
LABEL = "Ask about faces"
OTHER_WORDS = "Who picks people by other words"
ITSELF, LOOKER = "model", "grounding_model"


class AskAboutFaces(_operator.Operator):
    """Reads a request in words, shows its plan, and asks only what is named of the faces that are meant."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Ask in words about some of the faces: age group and emotion of the child. Takes a request in English and a "
        "field of faces; picks the faces that are meant, asks a model only what is named about them, and shows them.",
        "question_answer",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        examples = "; ".join(words()["examples"])
        text = f"What to ask, and of whom, in English. Examples: {examples}"
        request = inputs.str("request", label="Request", description=plain(text), required=True)
        read = _plan(ctx, inputs, request)
        _planner_input(ctx, inputs)
        _faces_input(ctx, inputs)
        card = model_inputs(ctx, inputs)
        _looker_input(ctx, inputs, card)
        _service_inputs(ctx, inputs, card)
        inputs.str(
            "prefix", label="Field prefix", description="Fields are named PREFIX_ATTRIBUTE; empty: the model's name"
        )
        if read is not None and (steps := _forms.attempt(request, read.briefings)):
            inputs.view("cost", types.Header(label="Cost", description="At most, step by step", divider=True))
            _remote.costs(ctx, inputs, steps)
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Reading the request")
        request = _asking(ctx, _planner(ctx))
        with closing(request.works()) as works:
            for work in works:
                work.begin(lambda step: _remote.confirmed(ctx, step))
                yield from self.followed(ctx, work, "done")
        result = request.result()
        if result.faces and result.applied is not None and targets.patches_field(result.view) is None:
            yield from keep.showing(ctx, request.shown)
        else:
            yield from keep.reloaded(ctx)
        if result.faces:
            yield ctx.ops.set_view(result.view)
        yield _forms.output(ctx, "Faces are picked", _summary(result))


def _plan(ctx: foo.ExecutionContext, inputs: Any, request: Any) -> AskRun | None:
    """What the request would do, or what is wrong with it, as it is being written."""
    names = _forms.attempt(request, lambda: {model_name(ctx), _looker(ctx)})
    if names is None or names & {HUB, services.PREFIX} or not (ctx.params.get("request") or "").strip():
        return None
    read = _forms.attempt(request, lambda: _read(ctx, inputs))
    if read is not None:
        lines = [marked("- {}", line) for line in read.proposal.sentences]
        say(inputs, joined("\n", [marked("**Plan**\n"), *lines]), "plan")
    return read


def _read(ctx: foo.ExecutionContext, inputs: Any) -> AskRun | None:
    """None where only the planner can tell."""
    planner = _planner(ctx)
    known = planner if planner and _is_hosted(planner) else None
    # Not at every letter that is typed: a planner is asked when the user says so, or when the run begins.
    try:
        return _asking(ctx, known if ctx.params.get("plan_now") else None)
    except NobodyLooks as error:
        raise InputError(f"No label says whom '{error.who}' fits: choose a model under '{OTHER_WORDS}'.") from None
    except NotRead:
        if known is None:
            raise
    later = (
        f"Only the planner, {known}, can read this. It does when this is executed, or now if you tick the box below."
    )
    _forms.notice(inputs, "later", later)
    return None


def _faces_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    target = ctx.target_view()
    shown = targets.patches_field(target)
    known = [shown] if shown else detections_fields(target._root_dataset)
    options = {name: f"The boxes in '{name}'" for name in known}
    if options:
        _forms.dropdown(inputs, "faces", options, label="Faces", default=_field(ctx))
    else:
        _forms.notice(inputs, "no_faces", "No face is known: run 'Detect faces' first.", types.Warning)


def _looker_input(ctx: foo.ExecutionContext, inputs: Any, card: Card | None) -> None:
    """Who says whom words fit that no label decides."""
    own = "The model itself" if card is not None and card.hosted else "Nobody: labels and places only"
    options = {ITSELF: own} | {name: f"{name}: answers with boxes, on this machine" for name in GROUNDING}
    _forms.dropdown(
        inputs,
        "grounding",
        options | _remote.choices(),
        label=OTHER_WORDS,
        description="Such as 'wearing glasses', which no label decides: a model that sees the whole picture",
        default=ITSELF,
    )
    if ctx.params.get("grounding") == _remote.API:
        inputs.str(LOOKER, label="Model that picks", description="As the server names it", required=True)


def _planner_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    planner = inputs.str(
        "planner",
        label="Planner",
        description="A model behind an API, such as gpt-4o or openai:MODEL, that reads requests which are not "
        "understood here. It sees the words, no picture. Empty: none",
    )
    if name := _forms.attempt(planner, lambda: _planner(ctx)):
        _forms.attempt(planner, lambda: check_planner(name))
        inputs.bool("plan_now", label="Ask the planner now, to see its plan before the run", default=False)


def _service_inputs(ctx: foo.ExecutionContext, inputs: Any, card: Card | None) -> None:
    """Server and limits of planner and picking model, where the model itself has none."""
    names = [name for name in _others(ctx) if name and name != services.PREFIX and _is_hosted(name)]
    if names and not (card is not None and card.hosted):
        _remote.inputs(ctx, inputs, names[0], votes=False)


def _others(ctx: foo.ExecutionContext) -> list[str | None]:
    """Who picks and who plans; nobody where that may not be, which their fields say."""
    try:
        return [_looker(ctx), _planner(ctx)]
    except FacevlmError:
        return []


def _is_hosted(name: str) -> bool:
    try:
        return find(name).hosted
    except FacevlmError:
        return False


def _looker(ctx: foo.ExecutionContext) -> str | None:
    """The model that picks people by a phrase; None for the one that answers."""
    chosen = _trust.told(ctx, "grounding") or ITSELF
    if chosen == _remote.API:
        return f"{services.PREFIX}{_trust.told(ctx, LOOKER) or ''}"
    return None if chosen == ITSELF else str(chosen)


def _field(ctx: foo.ExecutionContext) -> str:
    target = ctx.target_view()
    if shown := targets.patches_field(target):
        return shown
    known = detections_fields(target._root_dataset)
    chosen = ctx.params.get("faces")
    usual = FIELD if FIELD in known or not known else known[0]
    return str(chosen or usual)


def _planner(ctx: foo.ExecutionContext) -> str | None:
    return _trust.told(ctx, "planner") or None


def _asking(ctx: foo.ExecutionContext, planner: str | None) -> AskRun:
    return AskRun(
        ctx.target_view(),
        ctx.params.get("request") or "",
        model_name(ctx),
        faces=_field(ctx),
        prefix=ctx.params.get("prefix") or None,
        grounding=_looker(ctx),
        planner=planner,
        settings=Settings(options=_options.options(ctx, model_name(ctx)), secrets=_trust.secrets(ctx)),
    )


def _summary(result: AskResult) -> Marked:
    asked = [applied_summary(result.applied)] if result.applied is not None else []
    return joined("\n\n", [*result.summary.split("\n\n"), *asked])
