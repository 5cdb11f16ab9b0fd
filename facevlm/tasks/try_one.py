"""Ask a model about one face, and see all that it says: the question, each label's share, its own words, the time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from typing_extensions import Unpack

from facevlm.backends import Backend, Hosted, Speaker
from facevlm.backends.briefings import Confirm
from facevlm.backends.cards import questions_for
from facevlm.backends.choice import backend_of, card_of, resolve_attributes
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import asking, targets
from facevlm.tasks._options import Settings, TaskOptions, settings, takes_options
from facevlm.tasks._run import announce
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import selected
from facevlm.tasks.probe import Spoken, ask_all
from facevlm.types import Attribute, Face, Prediction, Question


@dataclass(frozen=True)
class Trial:
    """What a model said about one face to one question.

    ``prompt`` is what it was asked, ``shares`` maps labels to their shares of the probability, empty where the model
    gives none. ``text`` is what it says in its own words, None where it says none; ``seconds`` is how long the answer
    to all questions took, the model being open.
    """

    face: Face
    attribute: Attribute
    prompt: str
    prediction: Prediction
    shares: Mapping[str, float]
    text: str | None
    seconds: float


@verb
@takes_options(TaskOptions)
def try_one(
    target: targets.Collection,
    model: str | Backend,
    attributes: Sequence[str | Attribute],
    *,
    faces: str | None = None,
    crop: Crop | None = None,
    prompts: Mapping[str, str] | None = None,
    confirm: Confirm | None = None,
    **options: Unpack[TaskOptions],
) -> list[Trial]:
    """Ask about the first face of a target and store nothing; one result per attribute.

    Args:
        target, model, attributes, crop, prompts: those of :func:`facevlm.apply`.
        faces: a field of Detections, whose first face is meant; by default the first picture as a whole.
        confirm: as of :func:`facevlm.apply`; where it says no there is no result.
        {options}

    Raises:
        FacevlmError: before anything is asked, as :func:`facevlm.apply` does.
    """
    told = settings(options)
    return tried(target, model, attributes, selected(faces), crop, prompts=prompts, confirm=confirm, settings=told)


def tried(
    target: targets.Collection,
    model: str | Backend,
    attributes: Sequence[str | Attribute],
    faces: Selection | None = None,
    crop: Crop | None = None,
    *,
    prompts: Mapping[str, str] | None = None,
    confirm: Confirm | None = None,
    settings: Settings,
) -> list[Trial]:
    """As :func:`try_one`, with the keywords of a verb read already."""
    face = asking.first(target, faces)
    chosen = resolve_attributes(attributes, card_of(model, settings.options), settings.registry)
    backend = backend_of(model, settings.options, chosen, settings.secrets)
    card = card_of(model, settings.options)
    questions = questions_for(card, chosen, prompts, joint=settings.shares_prompts)
    with ExitStack() as after:
        if isinstance(backend, Hosted):
            if isinstance(model, str):
                after.callback(backend.close)
            if not (confirm or announce)(backend.briefing(1, questions)):
                return []
        return _asked(face, backend, questions, crop or card.crop())


def _asked(face: Face, backend: Backend, questions: Sequence[Question], crop: Crop) -> list[Trial]:
    began = time.perf_counter()
    scored = ask_all([face], backend, questions, 1, crop)
    seconds = time.perf_counter() - began
    # A model that gives scores alone is asked for its own words, too; another one has said them.
    spoken = ask_all([face], Spoken(backend), questions, 1, crop) if isinstance(backend, Speaker) else scored
    trials = []
    for question in questions:
        [prediction], [said] = scored[question.attribute.name], spoken[question.attribute.name]
        shares = [math.exp(value) for value in prediction.log_probs or ()]
        by_label = dict(zip(question.attribute.labels, shares, strict=True)) if shares else {}
        prompt = question.context or question.text
        trials.append(Trial(face, question.attribute, prompt, prediction, by_label, said.text, seconds))
    return trials
