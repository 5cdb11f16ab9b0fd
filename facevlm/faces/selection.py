"""Which faces are asked about: those that a user selects, and of these those that have no answer yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facevlm import arguments
from facevlm.errors import InputError
from facevlm.types import Face

State = tuple[str | None, str | None]
"""Outcome and run stamp of what is stored about one face."""
NOTHING: State = (None, None)


@dataclass(frozen=True)
class Selection:
    """Faces to ask about: the Detections of a field, all or those with one of ``labels`` and at least this confidence.

    A Detection without a confidence passes: it was drawn by a person, or its detector gives none.
    """

    field: str
    labels: tuple[str, ...] = ()
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise InputError(f"Got face_labels='{self.labels}', expected a list such as ['{self.labels}'].")
        arguments.check_fields(self)
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise InputError(f"Got min_confidence={self.min_confidence}, expected a share between 0 and 1.")

    def takes(self, label: str | None, confidence: float | None) -> bool:
        if self.labels and label not in self.labels:
            return False
        return self.min_confidence is None or confidence is None or confidence >= self.min_confidence


def lacking(
    faces: Sequence[Face], states: Mapping[str, Sequence[State]], stamps: Mapping[str, str]
) -> dict[tuple[str, ...], list[Face]]:
    """What is still to ask: attributes -> the faces that lack an ``ok`` answer of this run to just these.

    ``states`` has what is stored of every attribute, a state per face.
    """
    groups: dict[tuple[str, ...], list[Face]] = defaultdict(list)
    for face, *row in zip(faces, *states.values(), strict=True):
        missing = tuple(a for a, state in zip(states, row, strict=True) if state != ("ok", stamps[a]))
        if missing:
            groups[missing].append(face)
    return dict(groups)
