"""Faces of a target with their true labels, to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facevlm.attributes import Registry
from facevlm.errors import FieldError, InputError
from facevlm.faces.selection import Selection
from facevlm.store import evaluations, faults
from facevlm.store.asking import subjects
from facevlm.store.rows import FaceRows, PictureRows, choose_faces
from facevlm.store.targets import Collection, check
from facevlm.training.examples import LabelledFace
from facevlm.types import Attribute


def rows_of(target: Collection, faces: str | None) -> PictureRows:
    """A row per picture, or per face in the field of Detections ``faces``."""
    target = check(target)
    return PictureRows(target) if faces is None else FaceRows(target, choose_faces(target, faces))


def truth_of(
    rows: PictureRows, attributes: Sequence[Attribute], given: Mapping[str, str], registry: Registry
) -> dict[str, str]:
    """The field with the true labels of each attribute: the one that is ``given``, or found by its name.

    Raises :class:`~facevlm.errors.FieldError` where none is known.
    """
    if strange := sorted(set(given) - {a.name for a in attributes}):
        wanted = ", ".join(a.name for a in attributes)
        raise InputError(f"Got truth for {', '.join(strange)}, expected only attributes that are learnt: {wanted}.")
    found = {a.name: given.get(a.name) or evaluations.guess_truth(rows, a, registry) for a in attributes}
    if missing := [name for name, field in found.items() if field is None]:
        fields = ", ".join(evaluations.truth_fields(rows)) or "none"
        raise FieldError(
            f"No field with true labels is known for {', '.join(missing)}. Fields that could hold them: {fields}. "
            f"Name one as truth={{'{missing[0]}': FIELD}}."
        )
    return {name: field for name, field in found.items() if field is not None}


def read(
    rows: PictureRows,
    attributes: Sequence[Attribute],
    truth: Mapping[str, str],
    groups: Sequence[str],
    subject: str | None,
    registry: Registry,
) -> list[LabelledFace]:
    """Every face with its labels, the values of ``groups``, its ``subject``, and what a check found of its like.

    Raises :class:`~facevlm.errors.FacevlmError` for labels that are none of the attribute, or coarser than it.
    """
    labels = {a.name: _labels(rows, a, truth[a.name], registry) for a in attributes}
    by = {name: evaluations.group_values(rows, name) for name in groups}
    people = evaluations.cluster_values(rows, subject, list(truth.values())) if subject else [None] * len(rows.ids())
    near, copies, tags = _found(rows, "group"), _found(rows, "copy_of"), rows.tags()
    faces = _faces(rows)
    return [
        LabelledFace(
            face=faces[key],
            labels={name: str(column[at]) for name, column in labels.items() if column[at] is not None},
            groups={name: values[at] for name, values in by.items()},
            subject=people[at],
            copy_of=copies[at],
            near=near[at],
            tags=frozenset(tags[at] or ()),
        )
        for at, key in enumerate(_keys(rows))
        if key in faces
    ]


def _labels(rows: PictureRows, attribute: Attribute, field: str, registry: Registry) -> list[str | None]:
    found = evaluations.read_truth(rows, field, attribute, registry)
    if found.alignment.common.name != attribute.name:
        coarse = found.alignment.common
        raise FieldError(
            f"Field '{field}' holds labels of {coarse.name}, which are coarser than {attribute.name}: "
            f"{', '.join(attribute.labels)} cannot be learnt from them. Learn {coarse.name}, or name another field."
        )
    return found.labels()


def _found(rows: PictureRows, part: str) -> list[Any]:
    """What a check of the dataset left about each row's picture; None where it found nothing or was not run."""
    known = rows.target.get_field(f"{faults.FIELD}.{part}") is not None
    return rows.values(f"{faults.FIELD}.{part}") if known else [None] * len(rows.ids())


def _keys(rows: PictureRows) -> list[str]:
    return rows.face_ids if isinstance(rows, FaceRows) else rows.ids()


def _faces(rows: PictureRows) -> dict[str, Any]:
    selection = Selection(rows.faces) if isinstance(rows, FaceRows) else None
    found = subjects(rows.target, selection).faces
    return {str(face.label_id if selection else face.sample_id): face for face in found}
