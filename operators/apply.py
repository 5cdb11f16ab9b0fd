"""Apply VLM face attributes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import attributes as registry
from facevlm.backends import Briefing, cards
from facevlm.backends.briefings import brief
from facevlm.backends.choice import default_prefix, resolve_attributes
from facevlm.store import asking, predictions, targets
from facevlm.tasks import batch as batch_task
from facevlm.tasks._options import Settings
from facevlm.tasks.apply import ApplyResult, ApplyRun

from . import _faces, _forms, _options, _remote, choose_attributes

NAME = "apply_vlm_face_attributes"
LABEL = "Apply VLM face attributes"
OTHER = "other"
NOW, BATCH = "now", "batch"


class ApplyVlmFaceAttributes(foo.Operator):
    """Predicts perceived attributes of the face in every picture and stores them as label fields."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(
            NAME, LABEL, "Predict perceived race, gender, age group, emotion of faces with a vision-language model"
        )

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        return _forms.placement(LABEL)

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        card = model_inputs(ctx, inputs)
        if card is not None:
            choose_attributes.inputs(ctx, inputs, card)
            choose_attributes.remind(ctx, inputs)
            _faces.inputs(ctx, inputs, card.crop())
            _storage_inputs(ctx, inputs, card)
            if card.hosted and (choose_attributes.ticked(ctx) or ctx.params.get("own")):
                _remote.cost(ctx, inputs, lambda: _brief(ctx, card.name))
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        search = _faces.search(ctx)
        if search is not None:
            yield ctx.ops.set_progress(progress=0.0, label="Finding faces")
            yield from _forms.followed(ctx, search, "pictures searched")
        yield ctx.ops.set_progress(progress=0.0, label="Loading the model")
        target = _faces.target(ctx)
        model, settings = model_name(ctx), _settings(ctx)
        run = ApplyRun(
            target,
            model,
            choose_attributes.asked(ctx),
            faces=_faces.selection(ctx, target),
            crop=_faces.crop(ctx, cards.find(model).crop()),
            min_face_px=ctx.params.get("min_face_px"),
            prefix=ctx.params.get("prefix") or None,
            overwrite=_forms.overwrites(ctx),
            settings=settings,
        )
        if _is_batch(ctx):
            submission = batch_task.SubmitRun(run, model, settings.options.remote)
            submission.begin(lambda step: _remote.confirmed(ctx, step))
            yield from _forms.followed(ctx, submission, "faces")
            yield _forms.output(ctx, "Batches", _handed_in(submission.result()))
            return
        run.begin(lambda step: _remote.confirmed(ctx, step))
        yield from _forms.followed(ctx, run, "faces")
        text = applied_summary(run.result())
        yield from _forms.finished(ctx, run.shown, run.faces_field, "Predictions are stored", text)


def _settings(ctx: foo.ExecutionContext) -> Settings:
    return Settings(options=_options.options(ctx), batch_size=ctx.params.get("batch_size"), secrets=ctx.secrets.get)


def _brief(ctx: foo.ExecutionContext, model: str) -> Briefing | None:
    attributes = resolve_attributes(choose_attributes.asked(ctx))
    return brief(model, attributes, _faces.count(ctx), _options.options(ctx), batch=_is_batch(ctx))


def _is_batch(ctx: foo.ExecutionContext) -> bool:
    return ctx.params.get("when") == BATCH and cards.find(model_name(ctx)).hosted


def _handed_in(done: batch_task.Submitted) -> str:
    return (
        f"Faces handed in: {done.faces:,}, batches: {len(done.batches):,}; {done.skipped:,} had their answers, "
        f"{done.answered:,} from the reply cache, {done.unread:,} cannot be read, {done.left:,} are left.\n\n"
        "Within a day, 'Collect face attribute batches' stores the answers."
    )


def model_inputs(ctx: foo.ExecutionContext, inputs: Any) -> cards.Card | None:
    """Which model; None while that is not said."""
    shipped = {name: f"{name}: {card.title}" for name, card in cards.shipped().items()}
    options = shipped | {OTHER: "Another checkpoint"} | _remote.choices()
    model = _forms.dropdown(inputs, "model", options, label="Model", default="demo")
    if ctx.params.get("model") == OTHER:
        model = inputs.str(
            "checkpoint",
            label="Checkpoint",
            description="Hugging Face id, folder on the App's machine, or SCHEME:MODEL of an installed package",
            required=True,
        )
        inputs.bool("trust_remote_code", label="Run code that comes with the checkpoint", default=False)
        if not ctx.params.get("checkpoint"):
            return None
    if ctx.params.get("model") == _remote.API:
        model = inputs.str("api_model", label="Model", description="As the server names it", required=True)
        if not ctx.params.get("api_model"):
            return None
    card = _forms.attempt(model, lambda: cards.find(model_name(ctx)))
    if card is not None:
        answered = [registry.get(name) for name in choose_attributes.ticked(ctx) if card.answers(name)]
        _forms.attempt(model, lambda: cards.questions_for(card, answered))
        _forms.notice(inputs, "licence", f"Licence: {card.licence}. {_weights(card)}")
    if card is not None and card.hosted and not card.scheme:
        _remote.inputs(ctx, inputs, card.name)
    return card


def _weights(card: cards.Card) -> str:
    """Where a model's weights are and what they take, as far as is known."""
    if card.hosted:
        return "The model runs at a server, which sees the pictures."
    if card.scheme:
        return f"It is opened by another package, as {card.scheme}:MODEL."
    needs = f" {card.memory():.3g} GB of memory in bfloat16." if card.memory() >= 0.1 else ""
    if card.is_here():
        return f"The weights are on this machine.{needs}"
    login = " Gated: accept the licence and log in first." if card.gated else ""
    fetched = f" about {card.download * len(set(card.checkpoints.values())):.3g} GB" if card.download else ""
    return f"The weights are not on this machine: the first run downloads{fetched or ' them'}.{needs}{login}"


def model_name(ctx: foo.ExecutionContext) -> str:
    """The model that the form chooses, as :func:`facevlm.apply` takes it."""
    model = ctx.params.get("model") or "demo"
    if model == _remote.API:
        return _remote.model_name(ctx)
    return cards.named(ctx.params.get("checkpoint") or "") if model == OTHER else str(model)


def _storage_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    inputs.view("storage", types.Header(label="Storage", divider=True))
    default = default_prefix(card.name)
    prefix = inputs.str(
        "prefix", label="Field prefix", description="Fields are named PREFIX_ATTRIBUTE", default=default
    )
    _forms.attempt(prefix, lambda: _check_storage(ctx, ctx.params.get("prefix") or default))
    if not card.hosted:
        _batch_size(ctx, inputs)
        _options.add_loading(ctx, inputs)
    _forms.existing(inputs, "face")
    if card.hosted:
        times = {NOW: "Now", BATCH: "As a batch: about half the price, answered within a day, collected by you"}
        inputs.enum("when", list(times), view=_forms.choices(types.RadioGroup(), times), label="When", default=NOW)


def _batch_size(ctx: foo.ExecutionContext, inputs: Any) -> None:
    size = inputs.int(
        "batch_size", label="Batch size", description="Pictures per forward pass; by default what fits", min=1
    )
    if isinstance(ctx.params.get("batch_size"), int) and ctx.params["batch_size"] < 1:
        size.invalid, size.error_message = True, "Expected a whole number from 1 on."


def _check_storage(ctx: foo.ExecutionContext, prefix: str) -> None:
    target = _faces.target(ctx)
    targets.check(target, patches=True)
    names = choose_attributes.ticked(ctx) or ["attribute"]
    kind = asking.PictureSubjects if _faces.selection(ctx, target) is None else asking.FaceSubjects
    kind.check_fields(target, prefix, [predictions.field_name(prefix, name) for name in names])


def applied_summary(result: ApplyResult) -> str:
    """What a run did, as Markdown."""
    if not result.asked:
        return f"Nothing to ask: all {result.skipped:,} faces have their answers."
    lines = [
        f"{result.asked:,} faces asked, {result.skipped:,} had their answers, {result.tally.seconds:.1f} s."
        + _remote.spent(result),
        _forms.outcome_table(result),
        *_forms.remarks(result),
    ]
    return "\n\n".join(lines)
