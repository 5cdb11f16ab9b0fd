"""Pictures and the people in them, as they are known and as a model described them: plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from facevlm.types import Face, Outcome, Prediction

PEOPLE = "people"
"""Name of what is said about a picture and its people as a whole, beside the attributes."""


@dataclass(frozen=True)
class PeoplePicture:
    """A picture; ``faces`` are the known ones from left to right, None where they are to be found.

    ``hidden`` are the ids of known faces that are not asked about, since a view does not show them.
    """

    sample_id: str
    filepath: str
    faces: tuple[Face, ...] | None = None
    hidden: tuple[str, ...] = ()

    @property
    def is_out_of_sight(self) -> bool:
        """Whether a view shows none of its known faces."""
        return self.faces == () and bool(self.hidden)


def from_left(faces: Iterable[Face]) -> tuple[Face, ...]:
    """Faces with boxes by the middle of their boxes."""

    def middle(face: Face) -> float:
        x, _, w, _ = face.box_xywh_rel or (0.0,) * 4
        return x + w / 2

    return tuple(sorted(faces, key=middle))


@dataclass(frozen=True)
class DescribedPerson:
    """A known face, or somebody who is none of these: a prediction per attribute, and words."""

    face: Face
    predictions: tuple[Prediction, ...]
    free: Mapping[str, str | None]
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True)
class Described:
    """All that came of one picture. ``expected`` is None where nobody knows how many people there are."""

    picture: PeoplePicture
    people: tuple[DescribedPerson, ...]
    outcome: Outcome
    reason: str | None = None
    text: str | None = None
    expected: int | None = None
    got: int | None = None

    @property
    def wrong_count(self) -> bool:
        """Whether the model saw more or fewer people than are known."""
        return self.expected is not None and self.got is not None and self.got != self.expected
