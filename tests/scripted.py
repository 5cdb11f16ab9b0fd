"""A backend that says what a test tells it to: stands in for a model where the model is not what is tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL.Image import Image

from facevlm.backends import BackendInfo, PictureSpec
from facevlm.types import Question, Reply

T = TypeVar("T")
Answer = Callable[[Image, Question], Reply]


def keeping(shown: list[T], answer: bool) -> Callable[[T], bool]:
    """A ``confirm`` that keeps what it is shown in ``shown`` and always says ``answer``."""

    def confirm(what: T) -> bool:
        shown.append(what)
        return answer

    return confirm


def certain(label: str, question: Question, share: float = 0.9) -> Reply:
    """A scored reply with ``share`` of the probability on one label and the rest spread evenly."""
    labels = question.attribute.labels
    rest = (1 - share) / (len(labels) - 1)
    return Reply(log_probs=tuple(math.log(share if name == label else rest) for name in labels))


class ScriptedBackend:
    """Answers by a function of picture and question; counts what it was asked."""

    def __init__(self, answer: Answer, name: str = "scripted", picture: PictureSpec | None = None) -> None:
        self._answer, self._name, self._picture = answer, name, picture
        self.batches: list[int] = []
        self.asked = 0

    @property
    def info(self) -> BackendInfo:
        return BackendInfo(self._name, {self._name: "1"}, "cpu", "none", "score", self._picture)

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        self.batches.append(len(images))
        self.asked += len(images)
        return [[self._answer(image, question) for question in questions] for image in images]
