"""Apply VLM face attributes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import api, batching
from facevlm import attributes as registry
from facevlm.backends import DECODES, Options, cards
from facevlm.store import predictions, subjects, targets
from facevlm.types import OUTCOMES, Attribute

from . import _faces, _forms, _remote

NAME = "apply_vlm_face_attributes"
LABEL = "Apply VLM face attributes"
OTHER = "other"
ASK = "ask_"
RESUME, OVERWRITE = "resume", "overwrite"
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
            _attribute_inputs(ctx, inputs, card)
            _faces.inputs(ctx, inputs, card.crop())
            _storage_inputs(ctx, inputs, card)
            if card.hosted and (_ticked(ctx) or ctx.params.get("own")):
                _remote.cost(ctx, inputs, card.name, lambda: api.resolve_attributes(_asked(ctx)), _faces.count(ctx))
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        search = _faces.search(ctx)
        if search is not None:
            yield ctx.ops.set_progress(progress=0.0, label="Finding faces")
            yield from _forms.followed(ctx, search, "pictures searched")
        yield ctx.ops.set_progress(progress=0.0, label="Loading the model")
        target = _faces.target(ctx)
        kind = batching.Submission if _is_batch(ctx) else api.Application
        application = kind(
            target,
            model_name(ctx),
            _asked(ctx),
            faces=_faces.selection(ctx, target),
            crop=_faces.crop(ctx, cards.find(model_name(ctx)).crop()),
            min_face_px=ctx.params.get("min_face_px"),
            prefix=ctx.params.get("prefix") or None,
            batch_size=ctx.params.get("batch_size"),
            overwrite=ctx.params.get("mode") == OVERWRITE,
            options=Options(
                device=ctx.params.get("device") or None,
                decode=ctx.params.get("decode") or DECODES[0],
                trust_remote_code=bool(ctx.params.get("trust_remote_code")),
                remote=_remote.options(ctx),
            ),
            secrets=ctx.secrets.get,
        )
        application.begin(lambda said: _remote.confirmed(ctx, said))
        yield from _forms.followed(ctx, application, "faces")
        if isinstance(application, batching.Submission):
            yield ctx.ops.show_output(_outputs("Batches").to_json(), {"summary": _handed_in(application.submitted())})
            return
        yield ctx.ops.reload_dataset()
        # Boxes that lie on one another hide each other's labels: those that were asked about make room for the answers.
        active = [*(name for name in ctx.active_fields if name != application.source), *application.shown]
        yield ctx.ops.set_active_fields(list(dict.fromkeys(active)))
        yield ctx.ops.show_output(_outputs().to_json(), {"summary": applied_summary(application.result())})


def _is_batch(ctx: foo.ExecutionContext) -> bool:
    return ctx.params.get("when") == BATCH and cards.find(model_name(ctx)).hosted


def _handed_in(done: batching.Submitted) -> str:
    return (
        f"{done.faces:,} faces are handed in, in {len(done.batches):,} batches; {done.skipped:,} had their answers, "
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
            description="Hugging Face id or folder on the App's machine",
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
        answered = [registry.get(name) for name in _ticked(ctx) if card.answers(name)]
        _forms.attempt(model, lambda: cards.questions_for(card, answered))
        _forms.notice(inputs, "licence", f"Licence: {card.licence}. {_weights(card)}")
    if card is not None and card.hosted:
        _remote.inputs(ctx, inputs, card.name)
    return card


def _weights(card: cards.Card) -> str:
    """Where a model's weights are and what they take, as far as is known."""
    if card.hosted:
        return "The model runs at a server, which sees the pictures."
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
    return f"{cards.HUB}{ctx.params.get('checkpoint') or ''}" if model == OTHER else str(model)


def _attribute_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    inputs.view(
        "attributes", types.Header(label="Attributes", description="What to ask about every face", divider=True)
    )
    for attribute in registry.shipped().attributes.values():
        # A tick stays when another model is chosen, so it stays in sight until it is taken away.
        strange = not card.answers(attribute.name)
        if not strange or attribute.name in _ticked(ctx):
            labels = ", ".join(attribute.labels)
            box = inputs.bool(ASK + attribute.name, label=attribute.title, description=labels, default=False)
            if strange:
                box.invalid = True
                box.error_message = f"Model '{card.name}' answers {', '.join(card.questions)}: untick this."
    if not card.questions:
        _own_inputs(ctx, inputs)
    if not _ticked(ctx) and not ctx.params.get("own"):
        _forms.notice(inputs, "none_ticked", "Tick at least one attribute.", types.Warning)


def _own_inputs(ctx: foo.ExecutionContext, inputs: Any) -> None:
    inputs.bool("own", label="An attribute of your own", default=False)
    if ctx.params.get("own"):
        inputs.str("own_name", label="Name", description="Becomes part of the field's name", required=True)
        labels = inputs.list("own_labels", types.String(), label="Labels", view=types.AutocompleteView(), required=True)
        inputs.str("own_question", label="Question", required=True)
        if all(ctx.params.get(k) for k in ("own_name", "own_labels", "own_question")):
            _forms.attempt(labels, lambda: _own(ctx))


def _own(ctx: foo.ExecutionContext) -> Attribute:
    labels = ctx.params.get("own_labels") or []
    return registry.define(ctx.params.get("own_name") or "", labels, ctx.params.get("own_question") or "")


def _ticked(ctx: foo.ExecutionContext) -> list[str]:
    return [name for name in registry.shipped().attributes if ctx.params.get(ASK + name)]


def _asked(ctx: foo.ExecutionContext) -> list[str | Attribute]:
    own: list[str | Attribute] = [_own(ctx)] if ctx.params.get("own") else []
    return [*_ticked(ctx), *own]


def _storage_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    inputs.view("storage", types.Header(label="Storage", divider=True))
    default = api.default_prefix(card.name)
    prefix = inputs.str(
        "prefix", label="Field prefix", description="Fields are named PREFIX_ATTRIBUTE", default=default
    )
    _forms.attempt(prefix, lambda: _check_storage(ctx, ctx.params.get("prefix") or default))
    size = inputs.int(
        "batch_size", label="Batch size", description="Pictures per forward pass; by default what fits", min=1
    )
    if isinstance(ctx.params.get("batch_size"), int) and ctx.params["batch_size"] < 1:
        size.invalid, size.error_message = True, "Expected a whole number from 1 on."
    modes = {RESUME: "Ask only what has no answer yet", OVERWRITE: "Ask every face again and overwrite"}
    view = _forms.choices(types.RadioGroup(), modes)
    inputs.enum("mode", list(modes), view=view, label="Existing predictions", default=RESUME)
    if card.hosted:
        times = {NOW: "Now", BATCH: "As a batch: about half the price, answered within a day, collected by you"}
        inputs.enum("when", list(times), view=_forms.choices(types.RadioGroup(), times), label="When", default=NOW)


def _check_storage(ctx: foo.ExecutionContext, prefix: str) -> None:
    target = _faces.target(ctx)
    targets.check(target, patches=True)
    names = _ticked(ctx) or ["attribute"]
    kind = subjects.Pictures if _faces.selection(ctx, target) is None else subjects.Boxes
    kind.check_fields(target, prefix, [predictions.field_name(prefix, name) for name in names])


def _outputs(label: str = "Predictions are stored") -> Any:
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    return types.Property(outputs, view=types.View(label=label))


def _cost(result: api.ApplyResult) -> str:
    dollars = result.usage.get("dollars")
    cost = f", ${dollars:,.4f}" if dollars else ""
    return f" {result.usage['requests']:,} requests{cost}." if result.usage else ""


def applied_summary(result: api.ApplyResult) -> str:
    """What a run did, as Markdown."""
    if not result.asked:
        return f"Nothing to ask: all {result.skipped:,} faces have their answers."
    rows = [
        [name, f"`{result.fields[name]}`", *(str(counts.get(o, 0)) for o in OUTCOMES)]
        for name, counts in result.outcomes.items()
    ]
    lines = [
        f"{result.asked:,} faces asked, {result.skipped:,} had their answers, {result.tally.seconds:.1f} s."
        + _cost(result),
        _forms.markdown_table(["attribute", "field", *OUTCOMES], rows),
        *(f"- {count} x {reason}" for reason, count in result.tally.reasons.most_common(5)),
        *(f"**Warning:** {warning}" for warning in result.warnings),
    ]
    return "\n\n".join(lines)
