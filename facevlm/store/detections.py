"""Faces that a detector found, as Detections: written by picture in chunks, gone on with by what is there.

Every Detection has the label ``face``, a box, a confidence, landmarks and, if wanted, numbers of quality. The
Detections of a picture as a whole carry its outcome (``ok``, ``no_face``, ``unparsed`` or ``failed``), reason and run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import fiftyone as fo

from facevlm.detection import Searched
from facevlm.errors import FieldError
from facevlm.faces.quality import Quality
from facevlm.store import documents, predictions
from facevlm.store.schema import DETECTIONS, FOUND_FACE, OUTCOME, RUN, SEARCHED_PICTURE
from facevlm.store.targets import Collection
from facevlm.types import Face

METHOD = "facevlm_detection"


def check_field(dataset: fo.Dataset, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a name that is none, or a field that no detector wrote."""
    if not name.isidentifier() or name.startswith("_"):
        raise FieldError(f"Got the field '{name}', expected letters, digits and underscores, such as 'faces'.")
    ours = all(dataset.get_field(f"{name}.{part}") is not None for part in SEARCHED_PICTURE)
    if name in dataset.get_field_schema() and not ours:
        raise FieldError(
            f"Field '{name}' is already there and was not written by a detector. Choose another field; yours is left "
            "as it is."
        )


def pending(target: Collection, pictures: Sequence[Face], field: str, stamp: str) -> list[Face]:
    """The pictures that were not searched in this way, or could not be read."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return list(pictures)
    states = zip(pictures, *target.values([f"{field}.{OUTCOME}", f"{field}.{RUN}"]), strict=True)
    # A file that could not be read may be there by now; nobody in a picture is an answer.
    return [picture for picture, outcome, run in states if run != stamp or outcome in (None, "failed")]


def outcome_counts(target: Collection, field: str) -> dict[str, int]:
    """Pictures per outcome, as the dataset holds them now."""
    return predictions.counts(target, field)


class DetectionWriter:
    """Declares the field and writes chunks of searched pictures to it by id."""

    def __init__(self, dataset: fo.Dataset, field: str, stamp: str, *, quality: bool) -> None:
        self._dataset, self._field, self._stamp = dataset, field, stamp
        measured = {part.name: float for part in fields(Quality)} if quality else {}
        predictions.add(
            dataset,
            {field: predictions.document(fo.Detections, f"Faces that a detector found; run {stamp}")}
            | predictions.parts_of(f"{field}.{DETECTIONS}", {**FOUND_FACE, **measured})
            | predictions.parts_of(field, SEARCHED_PICTURE),
        )

    def __call__(self, searched: Sequence[Searched]) -> None:
        values = {s.picture.sample_id: self._made(s) for s in searched}
        self._dataset.set_values(self._field, values, key_field="id", validate=False, progress=False)

    def _made(self, searched: Searched) -> fo.Detections:
        faces = [fo.Detection(**face) for face in documents.found_faces(searched)]
        return fo.Detections(detections=faces, **documents.searched_picture(searched, self._stamp))
