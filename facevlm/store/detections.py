"""Faces that a detector found, as Detections: written by picture in chunks, gone on with by what is there.

Every Detection has the label ``face``, a box, a confidence, ``landmarks`` (five points [x, y] in shares of the picture)
and, if wanted, numbers of quality. The Detections of a picture as a whole carry its ``outcome`` (``ok``, ``no_face``,
``unparsed`` or ``failed``), ``reason`` and ``run``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import fiftyone as fo

from facevlm.detection import FoundFace
from facevlm.errors import FieldError
from facevlm.faces.quality import Quality
from facevlm.store import predictions
from facevlm.store.asking import LANDMARKS
from facevlm.store.targets import Collection
from facevlm.types import Face, Outcome

METHOD = "facevlm_detection"
LABEL = "face"
ON_PICTURE = {"outcome": fo.StringField, "reason": fo.StringField, "run": fo.StringField}
ON_QUALITY = {part.name: fo.FloatField for part in fields(Quality)}


@dataclass(frozen=True)
class Searched:
    """A picture with the faces that were found in it; ``quality`` has one entry per face where it was measured."""

    picture: Face
    faces: tuple[FoundFace, ...]
    outcome: Outcome
    reason: str | None = None
    quality: tuple[Quality, ...] = ()


def check_field(dataset: fo.Dataset, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a name that is none, or a field that no detector wrote."""
    if not name.isidentifier() or name.startswith("_"):
        raise FieldError(f"Got the field '{name}', expected letters, digits and underscores, such as 'faces'.")
    there = dataset.get_field_schema()
    if name in there and not all(dataset.get_field(f"{name}.{part}") is not None for part in ON_PICTURE):
        raise FieldError(
            f"Field '{name}' is already there and was not written by a detector. Choose another field; yours is left "
            "as it is."
        )


def pending(target: Collection, pictures: Sequence[Face], field: str, stamp: str) -> list[Face]:
    """The pictures that were not searched in this way, or could not be read."""
    if target._dataset.get_field(f"{field}.outcome") is None:
        return list(pictures)
    states = zip(pictures, *target.values([f"{field}.outcome", f"{field}.run"]), strict=True)
    return [picture for picture, outcome, run in states if run != stamp or outcome in (None, "failed")]


def outcome_counts(target: Collection, field: str) -> dict[str, int]:
    """Pictures per outcome, as the dataset holds them now."""
    if target._dataset.get_field(f"{field}.outcome") is None:
        return {}
    return {o: n for o, n in target.count_values(f"{field}.outcome").items() if o is not None}


class DetectionWriter:
    """Declares the field and writes chunks of searched pictures to it by id."""

    def __init__(self, dataset: fo.Dataset, field: str, stamp: str, *, quality: bool) -> None:
        self._dataset, self._field, self._stamp = dataset, field, stamp
        said = f"Faces that a detector found; run {stamp}"
        on_face: Mapping[str, type[fo.Field]] = {LANDMARKS: fo.ListField} | (ON_QUALITY if quality else {})
        predictions.add(
            dataset,
            {field: predictions.document(fo.Detections, said)}
            | predictions.parts_of(f"{field}.detections", on_face)
            | predictions.parts_of(field, ON_PICTURE),
        )

    def __call__(self, searched: Sequence[Searched]) -> None:
        values = {s.picture.sample_id: self._made(s) for s in searched}
        self._dataset.set_values(self._field, values, key_field="id", validate=False, progress=False)

    def _made(self, searched: Searched) -> fo.Detections:
        measured = [asdict(q) for q in searched.quality] or [{}] * len(searched.faces)
        made = [_detection(face, numbers) for face, numbers in zip(searched.faces, measured, strict=True)]
        return fo.Detections(detections=made, outcome=searched.outcome, reason=searched.reason, run=self._stamp)


def _detection(face: FoundFace, numbers: Mapping[str, float | None]) -> fo.Detection:
    points = None if face.landmarks_xy_rel is None else [list(point) for point in face.landmarks_xy_rel]
    return fo.Detection(
        label=LABEL, bounding_box=list(face.box_xywh_rel), confidence=face.confidence, landmarks=points, **numbers
    )
