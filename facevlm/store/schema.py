"""What the labels that facevlm writes are made of: the names of their parts and the types of these, once.

A type is that of a value in Python; :func:`facevlm.store.predictions.parts_of` makes fields of FiftyOne of them. Types
of vectors are ``Vector``. Parts that FiftyOne's own labels have, such as ``LABEL``, are not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
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
ANSWERED = "answered"
"""Ids of the known faces of a picture about which its run has given a whole answer."""
LANDMARKS = "landmarks"
"""Five points as x, y, x, y, ... in shares of the picture, the right and the left eye first."""
FOUND = "found"
"""Mark of a box as a detector left it; none on one that somebody drew, another on one that somebody moved."""
PREDICTED = "said"
"""The predicted label of a judged face, whose ``LABEL`` is the true one."""

DECISION, REVIEWED_BY, REVIEWED_AT = "decision", "reviewed_by", "reviewed_at"
"""What was decided about a face in a review, by whom where that is known, and when, in UTC."""
DECIDED, PREVIOUS, ACT = "decided", "previous", "act"
"""The label that was decided on, what stood there before as JSON texts, the oldest first, and the mark of all that was
decided at once."""
SHOWN, SHOWN_CONFIDENCE, SHOWN_RUN = "shown", "shown_confidence", "shown_run"
"""The predicted label that was shown, how sure it was, and the stamp of its run."""
CHOSEN, THRESHOLD = "chosen", "threshold"
"""How the face came to be decided about, and of one approved in bulk from which confidence on."""
REVIEWS = "facevlm_reviews"
"""In the info of a field that holds labels of a review: the attribute that they are of."""

WRITTEN, ANSWERS, BOXES = "facevlm", "answers", "boxes"
"""In the info of a field that facevlm declared, and what stands there where the field holds what a model answered, or
the faces that a detector found."""

STATE: Parts = {OUTCOME: str, REASON: str, RUN: str}
"""How something ended and in which run: what all labels carry that are gone on from."""
ANSWER: Parts = {OUTCOME: str, REASON: str, COVERAGE: float, TEXT: str, RUN: str}
"""On a Classification: an answer about a whole picture."""
FACE_ANSWER: Parts = {**ANSWER, FACE: str, LOGITS: Vector, SMALL: bool}
"""On a Detection: an answer about one face."""
PERSON: Parts = {**STATE, FACE: str}
"""On a Detection that stands for a person of a description; beside these the answers in words, by name."""
DESCRIBED_PICTURE: Parts = {OUTCOME: str, REASON: str, TEXT: str, EXPECTED: int, GOT: int, RUN: str, ANSWERED: list}
"""On the Detections of a described picture as a whole."""
SEARCHED_PICTURE: Parts = STATE
"""On the Detections of a picture in which faces were looked for, as a whole."""
FOUND_FACE: Parts = {LANDMARKS: list, FOUND: str}
"""On the Detection of a face that was found; beside these the numbers of its quality, by name."""
JUDGED_FACE: Parts = {PREDICTED: str, OUTCOME: str, COVERAGE: float, REASON: str, FACE: str, LOGITS: Vector}
"""On the Detection of a face in an evaluation, with the true label."""
TRUTH, JUDGEMENT = "truth", "judgement"
"""The true label of a face whose ``LABEL`` tells truth and answer in one, and whether the answer is right, wrong, or
none."""
TOLD: Parts = {TRUTH: str, JUDGEMENT: str}
"""On a Classification that tells truth and answer in one."""
TOLD_FACE: Parts = {**JUDGED_FACE, **TOLD}
"""On the Detection of a face that tells truth and answer in one."""


REVIEWED: Parts = {
    DECISION: str,
    REVIEWED_BY: str,
    REVIEWED_AT: datetime,
    DECIDED: str,
    SHOWN: str,
    SHOWN_CONFIDENCE: float,
    SHOWN_RUN: str,
    CHOSEN: str,
    THRESHOLD: float,
    ACT: str,
    PREVIOUS: list,
}
"""On a reviewed Classification, or in the document beside the reviewed label of a Detection."""


def summary(attributes: Iterable[str]) -> Parts:
    """On the Detection that has all answers about a face: per attribute its label and its confidence."""
    parts: dict[str, type[Any]] = {FACE: str, OUTCOME: str, RUN: str}
    for attribute in attributes:
        parts |= {attribute: str, confidence_of(attribute): float}
    return parts


def confidence_of(attribute: str) -> str:
    """The part of a summary with the confidence of an attribute's answer."""
    return f"{attribute}_confidence"
