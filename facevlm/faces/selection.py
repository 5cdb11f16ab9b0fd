"""Which of the faces that are known in a picture are asked about."""

from __future__ import annotations

from dataclasses import dataclass

from facevlm.errors import InputError


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
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise InputError(f"Got min_confidence={self.min_confidence}, expected a share between 0 and 1.")

    def takes(self, label: str | None, confidence: float | None) -> bool:
        if self.labels and label not in self.labels:
            return False
        return self.min_confidence is None or confidence is None or confidence >= self.min_confidence
