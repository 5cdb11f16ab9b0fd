"""Apply VLM face attributes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends import Briefing, cards
from facevlm.backends.briefings import brief
from facevlm.backends.choice import prefix_of, resolve_attributes
from facevlm.errors import FacevlmError, check_sizes
from facevlm.store import asking, predictions, runs, targets
from facevlm.tasks import batch as batch_task
from facevlm.tasks._options import Settings
from facevlm.tasks.apply import ApplyResult, ApplyRun
from facevlm.tasks.outlook import Outlook, outlook

from . import _faces, _forms, _last, _operator, _options, _remote, _trust, choose_attributes
from ._marks import Marked, joined, plain
from ._models import card_of, model_inputs, model_name
from .evaluate import EvaluateFaceAttributes
from .try_one import URI as TRY

NAME = "apply_vlm_face_attributes"
LABEL = "Apply VLM face attributes"
NOW, BATCH = "now", "batch"


class ApplyVlmFaceAttributes(_operator.Operator):
    """Predicts perceived attributes of the face in every picture and stores them as label fields."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Ask a vision-language model about the perceived race, gender, age group or emotion of faces. Takes a model, "
        "attributes and what to ask about (whole pictures or a field of boxes); stores a label with outcome and "
        "confidence for each face in fields PREFIX_ATTRIBUTE.",
        "face_retouching_natural",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        with _last.begun(ctx, NAME, inputs):
            _outlook_notice(ctx, inputs)
            _forms.notice(inputs, "perceived", _forms.PERCEIVED)
            card = model_inputs(ctx, inputs)
            if card is not None:
                choose_attributes.inputs(ctx, inputs, card)
                choose_attributes.require(ctx, inputs, card)
                choose_attributes.word_inputs(ctx, inputs, card)
                _faces.inputs(ctx, inputs, card.crop())
                _try_input(ctx, inputs)
                _storage_inputs(ctx, inputs, card)
                if card.hosted and (choose_attributes.names(ctx) or ctx.params.get("own")):
                    _remote.cost(ctx, inputs, lambda: _brief(ctx, card.name))

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        search = _faces.search(ctx)
        if search is not None:
            yield ctx.ops.set_progress(progress=0.0, label="Finding faces")
            yield from self.followed(ctx, search, "pictures searched")
        yield ctx.ops.set_progress(progress=0.0, label="Loading the model")
        target = _faces.target(ctx)
        model, settings = model_name(ctx), _settings(ctx)
        run = ApplyRun(
            target,
            model,
            choose_attributes.asked(ctx),
            faces=_faces.selection(ctx, target),
            crop=_faces.crop(ctx, card_of(ctx).crop()),
            min_face_px=ctx.params.get("min_face_px"),
            prefix=ctx.params.get("prefix") or None,
            prompts=choose_attributes.prompts(ctx, card_of(ctx)),
            overwrite=_forms.overwrites(ctx),
            settings=settings,
        )
        _last.keep(ctx, NAME)
        if _is_batch(ctx):
            submission = batch_task.SubmitRun(run, model, settings.options.remote)
            submission.begin(lambda step: _remote.confirmed(ctx, step))
            yield from self.followed(ctx, submission, "faces")
            yield _forms.output(ctx, "Batches", _handed_in(submission.result()))
            return
        run.begin(lambda step: _remote.confirmed(ctx, step))
        yield from self.followed(ctx, run, "faces")
        text, then = applied_summary(run.result()), _operator.button(EvaluateFaceAttributes)
        yield from _forms.finished(ctx, run.shown, "Predictions are stored", text, then)


def _settings(ctx: foo.ExecutionContext) -> Settings:
    options = _options.options(ctx, model_name(ctx))
    # Of a model behind an API the form asks for none; one that was written before another model was chosen is left out.
    size = None if card_of(ctx).hosted else ctx.params.get("batch_size")
    return Settings(options=options, batch_size=size, secrets=_trust.secrets(ctx))


def _brief(ctx: foo.ExecutionContext, model: str) -> Briefing | None:
    attributes = resolve_attributes(choose_attributes.asked(ctx))
    expected = _outlook(ctx)
    faces = _faces.count(ctx) if expected is None else expected.lacking
    return brief(model, attributes, faces, _options.options(ctx, model), batch=_is_batch(ctx))


def _prefix(ctx: foo.ExecutionContext, card: cards.Card) -> str:
    return str(ctx.params.get("prefix") or prefix_of(card))


def _outlook(ctx: foo.ExecutionContext) -> Outlook | None:
    """What the run would meet; None while nothing is asked, and where faces are still to be found.

    Raises :class:`~facevlm.errors.FacevlmError` where something is wrong, which its own field says, too.
    """
    asked, card, target = choose_attributes.asked(ctx), card_of(ctx), _faces.target(ctx)
    if not asked or _faces.chosen_field(ctx, ctx.target_view()) == _faces.FIRST:
        return None
    return outlook(
        target,
        card,
        asked,
        faces=_faces.selection(ctx, target),
        crop=_faces.crop(ctx, card.crop()),
        prefix=_prefix(ctx, card),
        prompts=choose_attributes.prompts(ctx, card),
        overwrite=_forms.overwrites(ctx),
        settings=Settings(options=_options.options(ctx, card.name)),
    )


def _outlook_notice(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """What will happen, in a line on top."""
    try:
        expected, card = _outlook(ctx), card_of(ctx)
    except FacevlmError:
        return
    if expected is not None:
        where = "" if card.hosted or card.scheme else " Pictures stay on this machine."
        _forms.notice(inputs, "outlook", f"{_forms.ahead(expected, _forms.overwrites(ctx))}{where}")


def _is_batch(ctx: foo.ExecutionContext) -> bool:
    return ctx.params.get("when") == BATCH and card_of(ctx).hosted


def _handed_in(done: batch_task.Submitted) -> Marked:
    return Marked(
        f"Faces handed in: {done.faces:,}, batches: {len(done.batches):,}; {done.skipped:,} had their answers, "
        f"{done.answered:,} from the reply cache, {done.unread:,} cannot be read, {done.left:,} are left.\n\n"
        "Within a day, 'Collect face attribute batches' stores the answers."
    )


def _try_input(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """The way to ask about one face before all."""
    if choose_attributes.names(ctx) or ctx.params.get("own"):
        label, text = "Try on one face", "Asks about the selected or the first face, and shows all that the model says"
        button = types.Button(label=label, description=text, operator=TRY, prompt=True, params=dict(ctx.params))
        inputs.view("try_on_one", button)


def _storage_inputs(ctx: foo.ExecutionContext, inputs: Any, card: cards.Card) -> None:
    inputs.view("storage", types.Header(label="Storage", divider=True))
    default = prefix_of(card)
    prefix = inputs.str(
        "prefix", label="Field prefix", description="Fields are named PREFIX_ATTRIBUTE", default=default
    )
    _forms.attempt(prefix, lambda: _check_storage(ctx, _prefix(ctx, card)))
    if not card.hosted:
        _batch_size(ctx, inputs)
        _options.add_loading(ctx, inputs, card.name)
    _forms.existing(inputs, "face")
    if card.hosted:
        times = {NOW: "Now", BATCH: "As a batch: about half the price, answered within a day, collected by you"}
        inputs.enum("when", list(times), view=_forms.choices(types.RadioGroup(), times), label="When", default=NOW)


def _batch_size(ctx: foo.ExecutionContext, inputs: Any) -> None:
    text = "Pictures per forward pass; by default what fits"
    size = inputs.int("batch_size", label="Batch size", description=plain(text), min=1)
    _forms.attempt(size, lambda: check_sizes(batch_size=ctx.params.get("batch_size")))


def _check_storage(ctx: foo.ExecutionContext, prefix: str) -> None:
    target = _faces.target(ctx)
    targets.check(target, patches=True)
    names = [a if isinstance(a, str) else a.name for a in choose_attributes.asked(ctx)] or ["attribute"]
    kind = asking.PictureSubjects if _faces.selection(ctx, target) is None else asking.FaceSubjects
    kind.check_fields(target, prefix, [predictions.field_name(prefix, name) for name in names])
    expected = _outlook(ctx)
    if expected is not None:
        runs.refuse_changed(prefix, expected.changed)


def applied_summary(result: ApplyResult) -> Marked:
    """What a run did, as Markdown."""
    if not result.asked:
        return plain(f"Nothing to ask: all {result.skipped:,} faces have their answers.")
    lines = [
        f"{result.asked:,} faces asked, {result.skipped:,} had their answers, {result.tally.seconds:.1f} s."
        + _remote.spent(result),
        _forms.outcome_table(result),
        *_forms.remarks(result),
    ]
    return joined("\n\n", lines)
