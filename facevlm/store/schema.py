"""What the labels that facevlm writes are made of: the names of their parts and the types of these, once.

A type is that of a value in Python; :func:`facevlm.store.predictions.parts_of` makes fields of FiftyOne of them. Types
of vectors are ``Vector``. Parts that FiftyOne's own labels have, such as ``LABEL``, are not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

Vector = np.ndarray
Parts: TypeAlias = Mapping[str, type[Any]]
"""Name of a part -> type of its values."""

ID, LABEL, CONFIDENCE, LOGITS = "id", "label", "confidence", "logits"
BOUNDING_BOX, DETECTIONS = "bounding_box", "detections"
NATIVE = {"id", "tags", "label", "bounding_box", "mask", "mask_path", "confidence", "index", "instance", "rotation"}
"""Parts that a Detection has of FiftyOne's own."""

OUTCOME, REASON, RUN = "outcome", "reason", "run"
"""One of :data:`facevlm.types.OUTCOMES`, why it is not ``ok``, and the stamp of the run that wrote it."""
COVERAGE, TEXT = "coverage", "text"
"""Share of the model's probability that lay on the label set, and what it answered in words."""
FACE, SMALL = "face", "small"
"""Id of the Detection that was asked about, and whether its shorter side is below :data:`facevlm.types.SMALL_PX`."""
EXPECTED, GOT = "expected", "got"
"""How many people are known in a picture, and how many the model described."""
LANDMARKS = "landmarks"
"""Five points [x, y] in shares of the picture, the right and the left eye first."""
PREDICTED = "said"
"""The predicted label of a judged face, whose ``LABEL`` is the true one."""

STATE: Parts = {OUTCOME: str, REASON: str, RUN: str}
"""How something ended and in which run: what all labels carry that are gone on from."""
ANSWER: Parts = {OUTCOME: str, REASON: str, COVERAGE: float, TEXT: str, RUN: str}
"""On a Classification: an answer about a whole picture."""
FACE_ANSWER: Parts = {**ANSWER, FACE: str, LOGITS: Vector, SMALL: bool}
"""On a Detection: an answer about one face."""
PERSON: Parts = {**STATE, FACE: str}
"""On a Detection that stands for a person of a description; beside these the answers in words, by name."""
DESCRIBED_PICTURE: Parts = {OUTCOME: str, REASON: str, TEXT: str, EXPECTED: int, GOT: int, RUN: str}
"""On the Detections of a described picture as a whole."""
SEARCHED_PICTURE: Parts = STATE
"""On the Detections of a picture in which faces were looked for, as a whole."""
FOUND_FACE: Parts = {LANDMARKS: list}
"""On the Detection of a face that was found; beside these the numbers of its quality, by name."""
JUDGED_FACE: Parts = {PREDICTED: str, OUTCOME: str, COVERAGE: float, REASON: str, FACE: str, LOGITS: Vector}
"""On the Detection of a face in an evaluation, with the true label."""


def summary(attributes: Iterable[str]) -> Parts:
    """On the Detection that has all answers about a face: per attribute its label and its confidence."""
    parts: dict[str, type[Any]] = {FACE: str, OUTCOME: str, RUN: str}
    for attribute in attributes:
        parts |= {attribute: str, confidence_of(attribute): float}
    return parts


def confidence_of(attribute: str) -> str:
    """The part of a summary with the confidence of an attribute's answer."""
    return f"{attribute}_confidence"
