"""A package of somebody else whose models can be held up, and die of pictures: ``fragile:FOLDER`` and more.

Every process that opens one writes a file into FOLDER, named by its number; while there is a file ``hold`` in it,
answers about pictures of more than a little blue wait. A red picture ends the process, a green one is an error.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from facevlm.backends import BackendInfo, Briefing
from facevlm.errors import ModelError
from facevlm.types import Question, Reply

RED, GREEN = (255, 0, 0), (0, 255, 0)
HOLD, FREE = "hold", 8


class Fragile:
    def __init__(self, folder: str, device: str) -> None:
        self._folder = Path(folder)
        self.info = BackendInfo(f"fragile:{folder}", {"fragile": "1"}, device, "none", "score")
        loaded = sorted({"fiftyone", "pymongo", "mongoengine", "torch"} & set(sys.modules))
        (self._folder / str(os.getpid())).write_text(" ".join(loaded))
        print("a word that is no message")

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        while (self._folder / HOLD).exists() and any(_pixel(image)[2] >= FREE for image in images):
            time.sleep(0.02)
        return [[_reply(_pixel(image), question) for question in questions] for image in images]


class Sending(Fragile):
    def briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        return Briefing("far away", False, None)

    def close(self) -> None:
        pass


def _pixel(image: Image) -> Any:
    return image.getpixel((1, 1))


def _reply(pixel: Any, question: Question) -> Reply:
    if pixel == RED:
        os.kill(os.getpid(), signal.SIGKILL)
    if pixel == GREEN:
        raise ModelError("Got a green picture, expected any other.")
    labels = question.attribute.labels
    shares = [0.1 / len(labels)] * len(labels)
    shares[pixel[2] % len(labels)] += 0.6
    return Reply(log_probs=tuple(map(_log, shares)))


def _log(share: float) -> float:
    return math.log(share)


def opened(model: str, options: Any, attributes: object, secrets: object) -> Fragile:
    folder, _, what = model.partition("?")
    if what == "dies" or options.device == "cpu:9":
        os._exit(7)
    if what == "refuses" or options.device == "cpu:8":
        raise ModelError("Got no licence, expected one.")
    if what == "sends":
        return Sending(folder, str(options.device))
    return Fragile(folder, str(options.device))
