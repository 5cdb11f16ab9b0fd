"""People of pictures as Detections: read with the faces that are known, written one field per attribute.

``<prefix>_<attribute>`` holds a Detection per person, as :mod:`facevlm.store.rows` reads them; ``<prefix>_people`` what
was said in words. There the Detections as a whole carry the outcome of the picture and how many people it has.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import fiftyone as fo

from facevlm.errors import FieldError, InputError
from facevlm.faces.people import PEOPLE, Described, PeoplePicture, from_left
from facevlm.store import columns, documents, predictions
from facevlm.store.database import patiently
from facevlm.store.documents import Document
from facevlm.store.rows import detections_fields
from facevlm.store.schema import (
    ANSWERED,
    BOUNDING_BOX,
    DESCRIBED_PICTURE,
    DETECTIONS,
    FACE,
    FACE_ANSWER,
    ID,
    NATIVE,
    OUTCOME,
    PERSON,
    RUN,
    Parts,
)
from facevlm.store.targets import Collection, check, size, with_ids
from facevlm.store.updates import Updates
from facevlm.types import Face

OWN = {PEOPLE, "box", "number"}
"""Names that an answer about people has for itself."""


def read(target: Collection, faces: str | None) -> list[PeoplePicture]:
    """The pictures of a checked target, with the faces of a field of Detections from left to right.

    Raises :class:`~facevlm.errors.FieldError` where there is no such field.
    """
    ids, paths = target.values(["id", "filepath"])
    if faces is None:
        return [PeoplePicture(*pair) for pair in zip(ids, paths, strict=True)]
    _require(target, faces)
    boxes, face_ids = target.values([f"{faces}.{DETECTIONS}.{part}" for part in (BOUNDING_BOX, ID)])
    rows = zip(ids, paths, boxes, face_ids, _hidden(target, faces, ids, face_ids), strict=True)
    return [PeoplePicture(i, path, _faces(i, path, held or (), known or ()), out) for i, path, held, known, out in rows]


def _hidden(
    target: Collection, faces: str, ids: Sequence[str], shown: Sequence[Sequence[str] | None]
) -> list[tuple[str, ...]]:
    """Ids of the faces of every picture that the dataset knows and the target does not show."""
    if target is target._dataset:
        return [()] * len(ids)
    every = with_ids(target._dataset, ids).values(["id", f"{faces}.{DETECTIONS}.{ID}"])
    known = dict(zip(*every, strict=True))
    pairs = zip(ids, shown, strict=True)
    return [tuple(face for face in known.get(one) or () if face not in (seen or ())) for one, seen in pairs]


def counts(target: Collection, faces: str | None) -> list[int]:
    """Known faces of every picture that would be asked about: those with none are not; 0 where nobody is known.

    Raises :class:`~facevlm.errors.FieldError` where there is no such field.
    """
    target = check(target)
    if faces is None:
        return [0] * size(target)
    _require(target, faces)
    return [n for n in target.values(fo.ViewField(f"{faces}.{DETECTIONS}").length()) if n]


def _require(target: Collection, faces: str) -> None:
    if faces not in (known := detections_fields(target)):
        there = f"expected a field of Detections: {', '.join(known) or 'none is there'}."
        raise FieldError(f"Got faces='{faces}', {there}", app=f"'{faces}' holds no faces, {there} Choose another.")


def _faces(sample_id: str, path: str, boxes: Sequence[Sequence[float]], ids: Sequence[str]) -> tuple[Face, ...]:
    known = []
    for box, face_id in zip(boxes, ids, strict=True):
        if box is None or len(box) != 4:
            raise FieldError(f"Face {face_id} of sample {sample_id} has the box {box}, expected [x, y, width, height].")
        known.append(documents.face(sample_id, path, face_id, box))
    return from_left(known)


def check_free(free: Mapping[str, str], attributes: Sequence[str]) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a question whose name is taken or cannot be a field."""
    if own := sorted(OWN & set(attributes)):
        raise InputError(f"Got the attribute {', '.join(own)}, expected other names than {', '.join(sorted(OWN))}.")
    taken = {*NATIVE, *PERSON, *DESCRIBED_PICTURE, *attributes, *OWN}
    bad = [name for name in free if not name.isidentifier() or name.startswith("_") or name in taken]
    if bad:
        raise InputError(
            f"Got the free questions {', '.join(bad)}, expected names of letters, digits and underscores other than "
            f"those of attributes and of {', '.join(sorted(taken - set(attributes)))}."
        )


def check_fields(target: Collection, fields: Sequence[str]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field is there that is none of ours on people."""
    predictions.check_fields(target, fields, fo.Detections)


def outcome_counts(target: Collection, fields: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """People per outcome and attribute, as the dataset holds them now."""
    return predictions.outcome_counts(target, fields, fo.Detections)


def picture_outcomes(target: Collection, field: str) -> dict[str, int]:
    """Pictures per outcome."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return {}
    return predictions.counts(target, field)


def pending(target: Collection, pictures: Sequence[PeoplePicture], field: str, stamp: str) -> list[PeoplePicture]:
    """The pictures that have no ``ok`` answer of this run, or a known face about which it has none."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return list(pictures)
    states = zip(pictures, columns.known(target, [f"{field}.{part}" for part in (OUTCOME, RUN, ANSWERED)]), strict=True)
    return [one for one, (outcome, run, some) in states if _is_lacking(one, outcome, run, some, stamp)]


def _is_lacking(
    picture: PeoplePicture, outcome: str | None, run: str | None, answered: Sequence[str] | None, stamp: str
) -> bool:
    if run != stamp or answered is None or not picture.faces:
        return run != stamp or outcome != "ok"
    # The outcome is that of the last request, which may have been about other faces.
    return not {face.label_id for face in picture.faces} <= set(answered)


class DescriptionWriter:
    """Declares the fields, and writes chunks of described pictures to them by id; ``gone`` are those that were
    deleted."""

    def __init__(
        self,
        dataset: fo.Dataset,
        fields: Mapping[str, str],
        people: str,
        stamps: Mapping[str, str],
        free: Sequence[str],
    ) -> None:
        self._dataset, self._fields, self._people, self._stamps = dataset, fields, people, stamps
        in_words: Parts = {**PERSON, **dict.fromkeys(free, str)}
        predictions.add(
            dataset,
            predictions.wanted(fields, stamps, fo.Detections, FACE_ANSWER)
            | predictions.wanted({PEOPLE: people}, stamps, fo.Detections, in_words)
            | predictions.parts_of(people, DESCRIBED_PICTURE),
        )
        self._updates = Updates(dataset, [*fields.values(), people])
        self.gone = self._updates.gone

    def __call__(self, described: Sequence[Described]) -> None:
        stored = self._stored([d.picture.sample_id for d in described])
        made = {}
        for one in described:
            held = stored.get(one.picture.sample_id) or {}
            answers = self._answers(one) | {self._people: self._picture(one, held)}
            for field, new in answers.items():
                new.detections += _kept(held.get(field) or {}, one.picture)
            made[one.picture.sample_id] = answers
        # In one update: the state of a picture, by which a run goes on, never stands before its answers.
        self._updates.set(made)

    def _stored(self, ids: Sequence[str]) -> dict[str, dict[str, Document]]:
        """What the fields of the pictures hold now, by sample id; nothing of those that were deleted."""
        fields = [*self._fields.values(), self._people]
        stored = patiently(functools.partial(columns.read, with_ids(self._dataset, ids), ["id", *fields]), seconds=None)
        return {one: dict(zip(fields, row, strict=True)) for one, *row in zip(*stored.values(), strict=True)}

    def _answers(self, described: Described) -> dict[str, fo.Detections]:
        answers = {}
        for number, (name, field) in enumerate(self._fields.items()):
            made = [predictions.to_detection(f.predictions[number], self._stamps[name]) for f in described.people]
            answers[field] = fo.Detections(detections=made)
        return answers

    def _picture(self, described: Described, stored: Mapping[str, Document]) -> fo.Detections:
        stamp = self._stamps[PEOPLE]
        people = [fo.Detection(**documents.person(person, stamp)) for person in described.people]
        answered = _answered(described, stored.get(self._people) or {}, stamp)
        return fo.Detections(detections=people, **documents.described_picture(described, stamp, answered))


def _kept(stored: Document, picture: PeoplePicture) -> list[fo.Detection]:
    """Boxes that somebody drew among the answers, which are of no run, and answers about faces that are hidden."""
    boxes = stored.get(DETECTIONS) or ()
    return [fo.Detection.from_dict(box) for box in boxes if box.get(RUN) is None or box.get(FACE) in picture.hidden]


def _answered(described: Described, stored: Document, stamp: str) -> list[str] | None:
    """Ids of the known faces with a whole answer of the run, once this one is stored; None where none is known."""
    if described.picture.faces is None:
        return None
    asked = [str(face.label_id) for face in described.picture.faces]
    before = stored.get(ANSWERED) or () if stored.get(RUN) == stamp else ()
    others = [face for face in before if face not in asked]
    return others + asked if described.outcome == "ok" else others
