"""Backends by scheme: ``grey:128`` answers here by the mean grey level; ``pigeon:NAME`` sends pictures away."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from facevlm.backends import Backend, BackendInfo, Briefing, Options, Secrets
from facevlm.errors import InputError
from facevlm.types import Question, Reply


class Grey:
    """The first label for pictures darker than the level in the model's name, the last for the others."""

    def __init__(self, model: str, options: Options, attributes: Sequence[str] | None, secrets: Secrets | None) -> None:
        if not model.isdecimal():
            raise InputError(f"Got the model 'grey:{model}', expected a level such as grey:128.")
        self.level = int(model)
        self.info = BackendInfo(f"grey:{model}", {f"grey:{model}": "1"}, options.device or "cpu", "int", options.decode)

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        return [[self._reply(image, question) for question in questions] for image in images]

    def _reply(self, image: Image, question: Question) -> Reply:
        mean = image.convert("L").resize((1, 1)).getpixel((0, 0))
        assert isinstance(mean, int)
        return Reply(text=question.attribute.labels[0 if mean < self.level else -1])


class Pigeon(Grey):
    """As Grey at level 128, and pictures are carried away for it; it lives until it is closed."""

    closed = 0

    def __init__(self, model: str, options: Options, attributes: Sequence[str] | None, secrets: Secrets | None) -> None:
        super().__init__("128", options, attributes, secrets)
        self.info = BackendInfo(f"pigeon:{model}", {f"pigeon:{model}": "1"}, "a loft", "as served", "chat")

    def briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        return Briefing(f"{faces} pictures are carried to the loft.", is_local=False, dollars=None)

    def close(self) -> None:
        type(self).closed += 1


def crash(model: str, options: Options, attributes: Sequence[str] | None, secrets: Secrets | None) -> Backend:
    """Fails in a way of its own, or gives what is no backend."""
    if model == "hard":
        raise ZeroDivisionError("no wings")
    return "a feather"  # type: ignore[return-value]
