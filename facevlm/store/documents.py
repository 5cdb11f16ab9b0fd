"""What is stored about pictures and faces, as plain dicts of parts that a label takes. Knows nothing of FiftyOne.

The order of the parts is that in which the database holds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

from facevlm.detection import POINT, FoundFace, Searched
from facevlm.faces.images import BOX
from facevlm.faces.people import Described, DescribedPerson
from facevlm.store.schema import (
    ANSWERED,
    BOUNDING_BOX,
    CONFIDENCE,
    COVERAGE,
    DESCRIBED_PICTURE,
    FACE,
    LABEL,
    LANDMARKS,
    LOGITS,
    OUTCOME,
    REASON,
    RUN,
    SMALL,
    TEXT,
)
from facevlm.types import Face, Prediction

Document: TypeAlias = dict[str, Any]
PERSON_LABEL, FACE_LABEL = "person", "face"
UNKNOWN = "?"
"""Shown in the place of an answer that is not ``ok``; the outcome says why."""
NO_BOX = (math.nan,) * 4
"""In place of a box that is none: the face fails with that as the reason, and is not taken for the whole picture."""


def answer(prediction: Prediction, stamp: str | None) -> Document:
    """An answer about a whole picture; ``stamp`` ties it to the record of a run."""
    return {
        LABEL: prediction.label,
        CONFIDENCE: prediction.confidence,
        LOGITS: prediction.log_probs,
        OUTCOME: prediction.outcome,
        REASON: prediction.reason,
        COVERAGE: prediction.coverage,
        TEXT: prediction.text,
        RUN: stamp,
    }


def face_answer(prediction: Prediction, stamp: str | None) -> Document:
    """An answer about one face, tied by ``FACE`` to the Detection that was asked about, if any."""
    face = prediction.face
    parts = {BOUNDING_BOX: _box(face), FACE: face.label_id, SMALL: face.small, **answer(prediction, stamp)}
    # Detections have no logits of FiftyOne's own: an array is stored as those of Classifications are.
    parts[LOGITS] = None if prediction.log_probs is None else np.array(prediction.log_probs)
    return parts


def person(described: DescribedPerson, stamp: str) -> Document:
    """A person of a description with the answers in words."""
    return {
        LABEL: ", ".join(p.label or UNKNOWN for p in described.predictions) or PERSON_LABEL,
        BOUNDING_BOX: _box(described.face),
        FACE: described.face.label_id,
        OUTCOME: described.outcome,
        REASON: described.reason,
        RUN: stamp,
        **described.free,
    }


def described_picture(described: Described, stamp: str, answered: Sequence[str] | None = None) -> Document:
    """A described picture as a whole; ``answered`` are the ids of the known faces with a whole answer of the run."""
    said = {part: getattr(described, part) for part in DESCRIBED_PICTURE if part not in (RUN, ANSWERED)}
    return {RUN: stamp, **said, ANSWERED: None if answered is None else list(answered)}


def searched_picture(searched: Searched, stamp: str) -> Document:
    """A picture in which faces were looked for, as a whole."""
    return {OUTCOME: searched.outcome, REASON: searched.reason, RUN: stamp}


def found_faces(searched: Searched) -> list[Document]:
    """The faces that were found in a picture, with the numbers of their quality where it was measured."""
    measured = [asdict(quality) for quality in searched.quality] or [{}] * len(searched.faces)
    return [_found_face(face, numbers) for face, numbers in zip(searched.faces, measured, strict=True)]


def _found_face(face: FoundFace, numbers: Mapping[str, float | None]) -> Document:
    # One after the other: FiftyOne's schema knows lists of numbers, and takes lists in a list for them.
    points = None if face.landmarks_xy_rel is None else [v for point in face.landmarks_xy_rel for v in point]
    return {
        LABEL: FACE_LABEL,
        BOUNDING_BOX: list(face.box_xywh_rel),
        CONFIDENCE: face.confidence,
        LANDMARKS: points,
        **numbers,
    }


def face(
    sample_id: str,
    filepath: str,
    label_id: str,
    box: Sequence[float] | None,
    landmarks: Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> Face:
    """The face of a stored Detection; one whose box is none gets ``NO_BOX``, and eyes that are none are left out.

    ``landmarks`` are x and y in turn, or points as they were stored once.
    """
    return Face(sample_id, filepath, _four(box) or NO_BOX, label_id, _eyes(landmarks))


def _four(stored: Sequence[float] | None) -> BOX | None:
    if stored is None or len(stored) != 4:
        return None
    x, y, w, h = map(float, stored)
    return x, y, w, h


def _eyes(stored: Any) -> tuple[POINT, POINT] | None:
    found = points(stored)
    return None if len(found) < 2 else (found[0], found[1])


def points(stored: Any) -> list[POINT]:
    """Points of a stored list of x and y in turn, or of points as they were stored once; none where it is neither."""
    try:
        table = np.array(stored or [], dtype=float).reshape(-1, 2)
    except (ValueError, TypeError):
        return []
    return [(x, y) for x, y in table.tolist()]


def _box(face: Face) -> list[float]:
    """An empty one for a whole picture: FiftyOne wants a list."""
    return list(face.box_xywh_rel or ())
