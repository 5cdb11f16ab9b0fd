"""How many pictures of a batch fit on a device beside the weights: tried with plain ones and the questions of a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL.Image import Image
from PIL.Image import new as new_image

from facevlm.attributes import shipped
from facevlm.backends.cards import ANY, Card, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.memory import USUAL, Room, fit_batch, free_bytes, measured, peak_bytes
from facevlm.errors import FacevlmError
from facevlm.types import Attribute, Question

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
"""What a model without questions of its own is tried out with, before it is known what it will be asked."""
SIDE = 448
"""Pixels of a picture's sides where a model takes any."""


class Trials:
    """Batch sizes of the checkpoints of one model on one device, each tried once for so many positions with logits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[tuple[str, int], int] = {}

    def batch_size(self, checkpoint: Checkpoint, questions: Sequence[Question], room: Room) -> int:
        """The usual, where memory cannot be measured and pictures of a batch take little beside the weights.

        Raises :class:`~facevlm.backends.memory.NoRoom` where a single picture does not fit.
        """
        if not measured(self._device):
            return USUAL
        key = checkpoint.name, checkpoint.positions(questions)
        if key not in self._known:
            self._known[key] = room.within(
                lambda: self._tried(checkpoint, questions), "with a single picture when it was tried out"
            )
        return self._known[key]

    def _tried(self, checkpoint: Checkpoint, questions: Sequence[Question]) -> int:
        def peak(pictures: int) -> int:
            return peak_bytes(self._device, lambda: checkpoint.ask([_plain(checkpoint)] * pictures, questions))

        return fit_batch(peak, free_bytes(self._device))


def _plain(checkpoint: Checkpoint) -> Image:
    side = checkpoint.picture
    return new_image("RGB", (side.width, side.height) if side else (SIDE, SIDE))


def likely(card: Card, checkpoint: str) -> list[Question]:
    """What a checkpoint of a card may be asked together, as far as its card says."""
    known = shipped().attributes
    names = [n for n in card.questions or ATTRIBUTES if n in known and _is_of(card, n, checkpoint)]
    try:
        return questions_for(card, [known[n] for n in names]) or [_any()]
    except FacevlmError:
        return [_any()]


def _is_of(card: Card, attribute: str, checkpoint: str) -> bool:
    return card.checkpoints.get(attribute, card.checkpoints.get(ANY)) == checkpoint and card.answers(attribute)


def _any() -> Question:
    attribute = Attribute("size", ("small", "large"), "what is the size of the person in the image?")
    return Question(attribute, attribute.question, (("small",), ("large",)))
