"""Boxes that a search found, brought together with those that are stored: pure work on raw documents.

A box that a detector left carries a mark of its label, place and confidence. One without the mark was drawn by
somebody, and one that it does not fit, or that has tags or more parts, was changed by somebody: no search removes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from facevlm.detection import POINT
from facevlm.faces.images import BOX
from facevlm.faces.matching import match_faces
from facevlm.faces.quality import Quality
from facevlm.store import documents
from facevlm.store.documents import Document
from facevlm.store.schema import BOUNDING_BOX, CONFIDENCE, FOUND, LABEL, LANDMARKS
from facevlm.types import digest

KEPT, REPLACED, REMOVED, ADDED = "kept", "replaced", "removed", "added"
QUALITY = tuple(part.name for part in fields(Quality))
OURS = {"_id", "_cls", "attributes", "tags", LABEL, BOUNDING_BOX, CONFIDENCE, LANDMARKS, FOUND, *QUALITY}
"""Parts of a box that a search leaves; whatever else it has, somebody gave it."""
NOWHERE = (0.0, 0.0, 0.0, 0.0)
"""In place of a box that is none: it meets no other."""


def mark(box: Document) -> str:
    """Eight hex digits of what a detector said about a face."""
    sure = box.get(CONFIDENCE)
    return digest([box.get(LABEL), place(box), None if sure is None else float(sure)])


def is_as_found(box: Document) -> bool:
    """Whether a stored box is as a detector left it, so that nobody's work is in it."""
    added = (value for part, value in box.items() if part not in OURS)
    return box.get(FOUND) == mark(box) and not box.get("tags") and all(value in (None, {}, []) for value in added)


@dataclass(frozen=True)
class Merged:
    """The boxes of a picture after a search, and how many were kept, replaced, removed and added."""

    boxes: list[Document]
    counts: Counter[str]


def merge(stored: Sequence[Document], found: Sequence[Document], *, replace: bool) -> Merged:
    """Boxes that were found beside those that are stored, raw documents all.

    A found box that overlaps a stored one is the same face and gets no box of its own. Where ``replace`` is set, boxes
    that are as a detector left them are replaced by what was found, under their ids, on which answers hang, or
    removed; those that somebody drew or changed stay.
    """
    met = match_faces(
        [str(box["_id"]) for box in stored], [place(box) for box in stored], (), [place(box) for box in found]
    )
    boxes: list[Document] = []
    counts = Counter[str]()
    for box, k in zip(stored, met, strict=True):
        kept = not (replace and is_as_found(box))
        counts[KEPT if kept else REMOVED if k < 0 else REPLACED] += 1
        if kept:
            boxes.append(box)
        elif k >= 0:
            boxes.append({**found[k], "_id": box["_id"]})
    new = [box for k, box in enumerate(found) if k not in met]
    counts[ADDED] += len(new)
    return Merged(boxes + new, counts)


def place(box: Document) -> BOX:
    """The four numbers of a stored box, zeros where it has none."""
    try:
        x, y, w, h = map(float, box.get(BOUNDING_BOX) or ())
    except (ValueError, TypeError):
        return NOWHERE
    return (x, y, w, h) if np.isfinite([x, y, w, h]).all() else NOWHERE


def landmarks(box: Document) -> list[POINT] | None:
    """Five points of a stored box, None where it has none that can be used."""
    found = documents.points(box.get(LANDMARKS))
    return found if len(found) == 5 else None
