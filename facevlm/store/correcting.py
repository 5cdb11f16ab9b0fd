"""What an eye decides about faces: tags, and labels of a corrected ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation import figures
from facevlm.evaluation.figures import HoldsFigures
from facevlm.store import columns, predictions
from facevlm.store.inspection import Inspected
from facevlm.store.rows import flat
from facevlm.store.schema import DETECTIONS, FACE, ID, LABEL
from facevlm.store.targets import all_pictures, is_empty, with_ids
from facevlm.store.updates import Updates, require_writable

CORRECTED_FROM = "facevlm_corrected_from"


def tag(inspected: Inspected, tag: str, ids: Sequence[str]) -> int:
    """Tag samples, or the faces in them, by id; returns how many.

    On faces the tag goes to the ground truth's Detections, where it is seen on the box. Raises
    :class:`~facevlm.errors.FieldError` for ids of pictures where faces were judged.
    """
    require_writable(inspected.dataset, [_tags(inspected)])
    if inspected.fields.faces is None:
        shown = with_ids(inspected.dataset, ids)
        shown.tag_samples(tag)
        return len(shown)
    face_ids = _face_ids(inspected, ids)
    shown = all_pictures(inspected.dataset).select_labels(ids=face_ids, fields=inspected.results["faces"])
    shown.tag_labels(tag, label_fields=inspected.results["faces"])
    return len(face_ids)


def _tags(inspected: Inspected) -> str:
    faces = inspected.results["faces"]
    return "tags" if inspected.fields.faces is None else f"{faces}.{DETECTIONS}.tags"


def _face_ids(inspected: Inspected, ids: Sequence[str]) -> list[str]:
    """The ground truth's Detections behind judged faces, or these themselves."""
    root = f"{inspected.fields.faces}.detections"
    columns = all_pictures(inspected.dataset).values([f"{root}.id", f"{root}.{FACE}"])
    judged, faces = map(flat, columns)
    pairs = dict(zip(faces, faces, strict=True)) | dict(zip(judged, faces, strict=True))
    held = [pairs[i] for i in ids if i in pairs]
    if len(held) < len(ids):
        raise FieldError("Got pictures, expected faces. Click a figure first: the grid then shows the faces behind it.")
    return held


def corrected_field(inspected: Inspected) -> str:
    """The field that holds corrected ground truth."""
    return f"{inspected.truth}_corrected"


def correct(inspected: Inspected, ids: Sequence[str], label: str) -> str:
    """Write a label for some faces to the field of corrected ground truth, which begins as a copy; returns its name.

    The ground truth itself stays as it is. Raises :class:`~facevlm.errors.FieldError` for a label that is not of the
    evaluated label set, or where the field is there for another purpose.
    """
    name, labels = corrected_field(inspected), inspected.figures["labels"]
    if label not in labels:
        raise FieldError(f"Got the label '{label}', expected one of {', '.join(labels)}.")
    require_writable(inspected.dataset, [name])
    if inspected.fields.faces is not None:
        return _correct_faces(inspected, name, ids, label)
    origin = inspected.fields.truth.removesuffix(".label")
    found = inspected.dataset.get_field(name)
    if found is None:
        # The copy first: what a killed process leaves of it is no field yet, and is copied anew.
        columns.copy(inspected.dataset, origin, name)
        what = f"{inspected.truth} with corrections made by eye"
        predictions.add(
            inspected.dataset, {name: predictions.document(fo.Classification, what, {CORRECTED_FROM: origin})}
        )
    elif (found.info or {}).get(CORRECTED_FROM) != origin:
        raise FieldError(f"Field '{name}' is there and does not hold corrections of '{origin}'. Rename it.")
    Updates(inspected.dataset, [name]).set({i: {name: fo.Classification(label=label)} for i in ids})
    return name


def _correct_faces(inspected: Inspected, name: str, ids: Sequence[str], label: str) -> str:
    values: dict[str, str | None] = dict.fromkeys(_face_ids(inspected, ids), label)
    pictures = all_pictures(inspected.dataset)
    if inspected.dataset.get_field(name) is None:
        root = f"{inspected.fields.faces}.detections"
        truth = inspected.fields.truth.rpartition(".")[2]
        known = map(flat, pictures.values([f"{root}.{FACE}", f"{root}.{truth}"]))
        values = dict(zip(*known, strict=True)) | values
    pictures.set_label_values(name, values, dynamic=True, progress=False)
    return name


@dataclass(frozen=True)
class Corrected(HoldsFigures):
    """The figures of the panel with corrected labels, and how many judged faces were corrected."""

    n: int
    figures: Mapping[str, float]


def corrected_overall(inspected: Inspected) -> Corrected | None:
    """Figures with the corrected labels; None where there are none.

    Only the corrected faces are read: the others stay in their cells of the confusion matrix.
    """
    name = corrected_field(inspected)
    if inspected.dataset.get_field(name) is None:
        return None
    labels, ordinal = inspected.figures["labels"], figures.is_ordinal(inspected.figures["overall"])
    place = {label: k for k, label in enumerate(labels)} | {None: len(labels)}
    counts = np.array(inspected.figures["confusion"], dtype=np.int64)
    moved = 0
    for old, new, predicted in _corrections(inspected, name):
        if new != old and new in place:
            counts[place[old], place[predicted]] -= 1
            counts[place[new], place[predicted]] += 1
            moved += 1
    shown = figures.shown("panel", ordinal=None if ordinal else False)
    return Corrected(moved, {figure.name: float(figure.of(counts)) for figure in shown})


def _corrections(inspected: Inspected, name: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Original label, corrected label and answer of the judged faces that were corrected."""
    if inspected.fields.faces is None:
        changed = inspected.faces.match(F(f"{name}.label") != F(inspected.fields.truth))
        yield from zip(*changed.values([inspected.fields.truth, f"{name}.label", inspected.fields.said]), strict=True)
        return
    new = _corrected_faces(inspected, name)
    paths = [f"{inspected.fields.faces}.{FACE}", inspected.fields.truth, inspected.fields.said]
    for face, old, predicted in zip(*inspected.faces.values(paths), strict=True):
        yield old, new.get(face), predicted


@dataclass(frozen=True)
class Undo:
    """What an action of the eye changed: a tag that some did not have, or what a field of corrected labels held before.

    ``ids`` are the samples or the faces that it changes, ``old`` their labels, and ``made`` says that there was no such
    field.
    """

    tag: str | None
    field: str
    ids: Sequence[str]
    old: Sequence[str | None] = ()
    made: bool = False


def before_tagging(inspected: Inspected, tag: str, ids: Sequence[str]) -> Undo:
    """To be asked for before :func:`tag`: those that do not have the tag yet."""
    path = _tags(inspected)
    if inspected.fields.faces is None:
        new = with_ids(inspected.dataset, ids).match_tags(tag, bool=False).values("id")
        return Undo(tag, path, new)
    faces, root = _face_ids(inspected, ids), path.rpartition(".")[0]
    known = all_pictures(inspected.dataset).values([f"{root}.id", path])
    held = dict(zip(*map(flat, known), strict=True))
    return Undo(tag, inspected.results["faces"], [i for i in faces if tag not in (held.get(i) or ())])


def before_correcting(inspected: Inspected, ids: Sequence[str]) -> Undo:
    """To be asked for before :func:`correct`: the corrected labels as they are."""
    name = corrected_field(inspected)
    made = inspected.dataset.get_field(name) is None
    if inspected.fields.faces is None:
        path = inspected.fields.truth if made else f"{name}.{LABEL}"
        known = dict(zip(*with_ids(inspected.dataset, ids).values(["id", path]), strict=True))
        return Undo(None, name, list(known), list(known.values()), made)
    faces = _face_ids(inspected, ids)
    held = _corrected_faces(inspected, name) if not made else _true_faces(inspected)
    return Undo(None, name, faces, [held.get(i) for i in faces], made)


def undo(inspected: Inspected, done: Undo) -> int:
    """Take back what was done; returns to how many. A field of corrected labels that the action made goes, too, unless
    it holds other corrections by now."""
    require_writable(inspected.dataset, [_tags(inspected) if done.tag else done.field])
    if done.tag:
        _untag(inspected, done.tag, done.ids)
    elif inspected.dataset.get_field(done.field) is not None:
        _restore(inspected, done)
        if done.made and not _is_corrected(inspected, done.field):
            inspected.dataset.delete_sample_field(done.field)
    return len(done.ids)


def _untag(inspected: Inspected, tag: str, ids: Sequence[str]) -> None:
    if inspected.fields.faces is None:
        with_ids(inspected.dataset, ids).untag_samples(tag)
        return
    field = inspected.results["faces"]
    all_pictures(inspected.dataset).select_labels(ids=list(ids), fields=field).untag_labels(tag, label_fields=field)


def _restore(inspected: Inspected, done: Undo) -> None:
    values = dict(zip(done.ids, done.old, strict=True))
    if inspected.fields.faces is not None:
        all_pictures(inspected.dataset).set_label_values(done.field, values, dynamic=True, progress=False)
        return
    labels = {i: None if old is None else fo.Classification(label=old) for i, old in values.items()}
    Updates(inspected.dataset, [done.field]).set({i: {done.field: label} for i, label in labels.items()})


def _is_corrected(inspected: Inspected, name: str) -> bool:
    if inspected.fields.faces is None:
        changed = all_pictures(inspected.dataset).match(F(f"{name}.{LABEL}") != F(inspected.fields.truth))
        return not is_empty(changed)
    return _corrected_faces(inspected, name) != _true_faces(inspected)


def _corrected_faces(inspected: Inspected, name: str) -> dict[str, str | None]:
    """Corrected labels by the id of the face, of those that have one."""
    known = all_pictures(inspected.dataset).values([f"{inspected.results['faces']}.{DETECTIONS}.{ID}", name])
    return {i: label for i, label in zip(*map(flat, known), strict=True) if label is not None}


def _true_faces(inspected: Inspected) -> dict[str, str | None]:
    root = f"{inspected.fields.faces}.{DETECTIONS}"
    truth = inspected.fields.truth.rpartition(".")[2]
    known = all_pictures(inspected.dataset).values([f"{root}.{FACE}", f"{root}.{truth}"])
    return {i: label for i, label in zip(*map(flat, known), strict=True) if label is not None}
