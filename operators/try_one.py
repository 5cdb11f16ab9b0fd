"""Try a model on one face."""

from __future__ import annotations

import base64
import io
from collections.abc import Generator, Sequence
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends import Briefing, cards
from facevlm.backends.briefings import brief
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import ImageError, InputError
from facevlm.faces import crops, images
from facevlm.store.targets import Collection
from facevlm.tasks._options import Settings
from facevlm.tasks.try_one import Trial, tried

from . import _faces, _forms, _operator, _options, _remote, _trust, choose_attributes
from ._marks import Marked, code, joined, marked, table
from ._models import card_of, model_inputs

NAME = "try_on_one_face"
LABEL = "Try a model on one face"
URI = f"@facevlm/face-attributes/{NAME}"
APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"
BARS, SIDE = 20, 224
"""Letters of a full bar, and pixels of the longer side at which the face is shown."""
SENT = "send"


class TryOnOneFace(_operator.Operator):
    """Asks a model about the selected or the first face and shows all that it says; nothing is stored."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Ask a vision-language model about the selected or first face: question, share of each label, its own words, "
        "time. Stores nothing.",
        "science",
        False,
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        which = "first selected" if _chosen(ctx) else "first"
        _forms.notice(inputs, "whom", f"The {which} face is asked about. Nothing is stored.")
        card = model_inputs(ctx, inputs)
        if card is None:
            return
        choose_attributes.inputs(ctx, inputs, card, whom="this face")
        choose_attributes.require(ctx, inputs, card)
        choose_attributes.words(ctx, inputs, card)
        _faces.inputs(ctx, inputs, card.crop(), finds=False)
        if not card.hosted:
            _options.add_loading(ctx, inputs, card.name)
        elif choose_attributes.names(ctx) or ctx.params.get("own"):
            _remote.cost(ctx, inputs, lambda: _brief(ctx, card))
            sent = inputs.bool(SENT, label="Send this one picture", default=False)
            if not ctx.params.get(SENT):
                _forms.lacks(sent, "Agree that the picture leaves this process.")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Loading the model, and asking it about one face")
        card = card_of(ctx)
        target = _target(ctx)
        crop = _faces.crop(ctx, card.crop())
        trials = tried(
            target,
            card.name,
            choose_attributes.asked(ctx),
            _faces.selection(ctx, target),
            crop,
            prompts=choose_attributes.reworded(ctx, card),
            confirm=lambda step: _agreed(ctx, step),
            settings=Settings(options=_options.options(ctx, card.name), secrets=_trust.secrets(ctx)),
        )
        yield _output(ctx, trials, crop, dict(ctx.params) | {choose_attributes.WORDED: True})


def _chosen(ctx: foo.ExecutionContext) -> bool:
    return bool(ctx.selected or ctx.selected_labels or ctx.current_sample)


def _target(ctx: foo.ExecutionContext) -> Collection:
    """The picture or face that is open or selected, else all that the form is about."""
    target = _faces.target(ctx)
    if ctx.selected_labels and _faces.chosen_field(ctx, target) not in (_faces.WHOLE, _faces.FIRST):
        return target.select_labels(labels=ctx.selected_labels, fields=_faces.chosen_field(ctx, target))
    ids = ctx.selected or ([ctx.current_sample] if ctx.current_sample else [])
    return target.select(ids[:1]) if ids else target


def _brief(ctx: foo.ExecutionContext, card: cards.Card) -> Briefing | None:
    return brief(card.name, resolve_attributes(choose_attributes.asked(ctx)), 1, _options.options(ctx, card.name))


def _agreed(ctx: foo.ExecutionContext, step: Briefing) -> bool:
    """Whether the picture may be sent. Raises :class:`~facevlm.errors.InputError` where nobody ticked that."""
    if not ctx.params.get(SENT):
        raise InputError(f"{step.text} Nothing was sent: tick 'Send this one picture' to agree.")
    return _remote.confirmed(ctx, step)


def _output(ctx: foo.ExecutionContext, trials: Sequence[Trial], crop: crops.Crop, params: dict[str, Any]) -> Any:
    """What the model said, and with these params the way back to the words and on to all faces."""
    outputs = types.Object()
    data: dict[str, Any] = {"summary": joined("\n\n", [*map(_said, trials), f"Answered in {trials[0].seconds:.2f} s."])}
    if picture := _shown(trials[0], crop):
        data["picture"] = picture
        outputs.str("picture", view=types.ImageView(height=f"{SIDE}px", alt="The face"))
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    ways = {"again": ("Change the words and ask again", URI), "all": ("Ask about all faces", APPLY)}
    for name, (label, uri) in ways.items():
        outputs.view(name, types.Button(label=label, operator=uri, prompt=True, params=params))
    view = types.View(label="What the model says about one face")
    return ctx.ops.show_output(types.Property(outputs, view=view).to_json(), data)


def _said(trial: Trial) -> Marked:
    """One question and its answer, as Markdown."""
    prediction = trial.prediction
    sure = "" if prediction.confidence is None else f", {prediction.confidence:.0%}"
    answer = f"{prediction.label}{sure}" if prediction.label else f"{prediction.outcome}: {prediction.reason or ''}"
    rows = [
        [label, f"{share:.1%}", "█" * round(share * BARS)]
        for label, share in sorted(trial.shares.items(), key=_falling)
    ]
    return joined(
        "\n\n",
        [
            marked("**{}: {}**", trial.attribute.title, answer),
            marked("Asked: {}", trial.prompt),
            table(["label", "share", ""], rows) if rows else "",
            marked("In its own words: {}", code(trial.text)) if trial.text is not None else "",
            f"{prediction.coverage:.1%} of its probability lies on these labels." if prediction.coverage else "",
        ],
    )


def _falling(item: tuple[str, float]) -> float:
    return -item[1]


def _shown(trial: Trial, crop: crops.Crop) -> str | None:
    """The face as it was cut out, small, as an address that holds it; None where it cannot be read."""
    face = trial.face
    try:
        picture = images.load(face.filepath)
        if face.box_xywh_rel is not None:
            picture = crops.cut(picture, face.box_xywh_rel, crop, face.eyes_xy_rel)
    except ImageError:
        return None
    picture.thumbnail((SIDE, SIDE))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
