"""The models of facevlm behind the interface of FiftyOne's model zoo: ``dataset.apply_model(model, ...)``.

:func:`facevlm.apply` is the better way. It resumes after a stop, accounts for every face, writes each chunk safely,
reads pictures by one rule, decodes them in threads, and records the run. FiftyOne's loop does none of that: it reads
pictures itself, one at a time unless ``batch_size`` is given, and where one cannot be read it logs a warning and leaves
the whole batch without labels. This facade is for pipelines that are built on ``apply_model``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import fiftyone as fo
import numpy as np
from fiftyone.operators import types
from PIL import Image
from typing_extensions import Unpack

from facevlm import attributes as registry
from facevlm import parsing
from facevlm.backends import Backend, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.options import ModelOptions, merged
from facevlm.errors import refuse_unknown
from facevlm.faces import images
from facevlm.store.predictions import to_label
from facevlm.types import Attribute, Face, Question, Reply

NOWHERE = Face(sample_id="", filepath="")
"""FiftyOne hands over pixels alone, and puts the labels where they belong itself."""

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Labels: TypeAlias = fo.Classification | dict[str, fo.Classification]


@dataclass(frozen=True)
class FaceAttributeModelConfig:
    """What a :class:`FaceAttributeModel` is made of."""

    backend: Backend
    questions: tuple[Question, ...]


class FaceAttributeModel(fo.Model):  # type: ignore[misc]
    """One attribute answers with a Classification, several with a dict of attribute -> Classification.

    FiftyOne stores a dict as ``<label_field>_<attribute>``. Labels are those of :func:`facevlm.apply`, with outcome and
    reason where there is no answer; ``run`` is empty, because no run is recorded. They always carry logits.

    Prefer :func:`facevlm.apply`: see this module.
    """

    media_type = "image"
    transforms = None
    preprocess = True
    ragged_batches = False
    """No transforms, and pictures of different sizes may come together: batches are welcome."""
    store_logits = True

    def __init__(self, config: FaceAttributeModelConfig) -> None:
        self.config = config

    @property
    def has_logits(self) -> bool:
        return self.config.backend.info.decode != "generate"

    def predict(self, arg: Pixels) -> Labels:
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[Pixels]) -> list[Labels]:
        """Labels of pictures: arrays of height x width x 3 bytes, of any sizes."""
        pictures = [images.to_rgb(Image.fromarray(pixels)) for pixels in args]
        rows = self.config.backend.answer(pictures, self.config.questions)
        return [self._labels(row) for _, row in zip(pictures, rows, strict=True)]

    def _labels(self, replies: Sequence[Reply]) -> Labels:
        labels = {
            question.attribute.name: to_label(parsing.predict(NOWHERE, question, reply))
            for question, reply in zip(self.config.questions, replies, strict=True)
        }
        return labels if len(labels) > 1 else next(iter(labels.values()))


def load(
    name: str,
    attributes: Sequence[Attribute],
    *,
    prompts: Mapping[str, str] | None = None,
    joint: bool = True,
    **options: Unpack[ModelOptions],
) -> FaceAttributeModel:
    """The model of a shipped name, asked about these attributes; arguments are those of :func:`facevlm.apply`.

    Raises :class:`~facevlm.errors.FacevlmError` as that does.
    """
    refuse_unknown("load_zoo_model", options, ModelOptions.__annotations__)
    chosen = merged(options)
    card, shares = find(name, chosen.adapter), joint and chosen.decode == "score"
    questions = questions_for(card, list(attributes), prompts, joint=shares)
    backend = open_backend(name, chosen, [a.name for a in attributes])
    return FaceAttributeModel(FaceAttributeModelConfig(backend, tuple(questions)))


def form(name: str) -> types.Property:
    """The App's form for what :func:`load` needs to know about a shipped name."""
    card = find(name)
    choices = types.DropdownView(multiple=True)
    for attribute in registry.shipped().attributes.values():
        if card.answers(attribute.name):
            choices.add_choice(attribute.name, label=attribute.title, description=", ".join(attribute.labels))
    inputs = types.Object()
    inputs.list("attributes", types.String(), label="Attributes", required=True, view=choices)
    return types.Property(inputs)
