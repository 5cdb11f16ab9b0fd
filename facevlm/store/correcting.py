"""What an eye decides about faces: tags, and labels of a corrected ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation import metrics
from facevlm.store.inspection import Inspected
from facevlm.store.rows import flat
from facevlm.store.schema import FACE

CORRECTED_FROM = "facevlm_corrected_from"


def tag(there: Inspected, tag: str, ids: Sequence[str]) -> int:
    """Tag samples, or the faces in them, by id; returns how many.

    On faces the tag goes to the ground truth's Detections, where it is seen on the box. Raises
    :class:`~facevlm.errors.FieldError` for ids of pictures where faces were judged.
    """
    if there.fields.faces is None:
        shown = there.dataset.select(list(ids))
        shown.tag_samples(tag)
        return len(shown)
    face_ids = _face_ids(there, ids)
    there.dataset.select_labels(ids=face_ids, fields=there.results["faces"]).tag_labels(
        tag, label_fields=there.results["faces"]
    )
    return len(face_ids)


def _face_ids(there: Inspected, ids: Sequence[str]) -> list[str]:
    """The ground truth's Detections behind judged faces."""
    root = f"{there.fields.faces}.detections"
    pairs = dict(zip(*(flat(v) for v in there.dataset.values([f"{root}.id", f"{root}.{FACE}"])), strict=True))
    found = [pairs[i] for i in ids if i in pairs]
    if len(found) < len(ids):
        raise FieldError("Got pictures, expected faces. Click a figure first: the grid then shows the faces behind it.")
    return found


def corrected_field(there: Inspected) -> str:
    """The field that holds corrected ground truth."""
    return f"{there.truth}_corrected"


def correct(there: Inspected, ids: Sequence[str], label: str) -> str:
    """Write a label for some faces to the field of corrected ground truth, which begins as a copy; returns its name.

    The ground truth itself stays as it is. Raises :class:`~facevlm.errors.FieldError` for a label that is not of the
    evaluated label set, or where the field is there for another purpose.
    """
    name, labels = corrected_field(there), there.figures["labels"]
    if label not in labels:
        raise FieldError(f"Got the label '{label}', expected one of {', '.join(labels)}.")
    if there.fields.faces is not None:
        return _correct_faces(there, name, ids, label)
    origin = there.fields.truth.removesuffix(".label")
    found = there.dataset.get_field(name)
    if found is None:
        there.dataset.clone_sample_field(origin, name)
        field = there.dataset.get_field(name)
        field.info = {CORRECTED_FROM: origin}
        field.description = f"{there.truth} with corrections made by eye"
        field.save()
    elif (found.info or {}).get(CORRECTED_FROM) != origin:
        raise FieldError(f"Field '{name}' is there and does not hold corrections of '{origin}'. Rename it.")
    rows = {sample_id: fo.Classification(label=label) for sample_id in ids}
    there.dataset.set_values(name, rows, key_field="id", validate=False, progress=False)
    return name


def _correct_faces(there: Inspected, name: str, ids: Sequence[str], label: str) -> str:
    values: dict[str, str | None] = dict.fromkeys(_face_ids(there, ids), label)
    if there.dataset.get_field(name) is None:
        root = f"{there.fields.faces}.detections"
        known = (flat(v) for v in there.dataset.values([f"{root}.{FACE}", f"{root}.label"]))
        values = dict(zip(*known, strict=True)) | values
    there.dataset.set_label_values(name, values, dynamic=True, progress=False)
    return name


def corrected_overall(there: Inspected) -> dict[str, float] | None:
    """Accuracy and macro F1 with the corrected labels, and how many judged faces were corrected; None for none.

    Only the corrected faces are read: the others stay in their cells of the confusion matrix.
    """
    name = corrected_field(there)
    if there.dataset.get_field(name) is None:
        return None
    labels = there.figures["labels"]
    place = {label: k for k, label in enumerate(labels)} | {None: len(labels)}
    counts = np.array(there.figures["confusion"], dtype=np.int64)
    moved = 0
    for old, new, said in _corrections(there, name):
        if new != old and new in place:
            counts[place[old], place[said]] -= 1
            counts[place[new], place[said]] += 1
            moved += 1
    return {"n": moved, "accuracy": float(metrics.accuracy(counts)), "f1": float(metrics.macro_f1(counts))}


def _corrections(there: Inspected, name: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Original label, corrected label and answer of the judged faces that were corrected."""
    if there.fields.faces is None:
        changed = there.faces.match(F(f"{name}.label") != F(there.fields.truth))
        yield from zip(*changed.values([there.fields.truth, f"{name}.label", there.fields.said]), strict=True)
        return
    ids, labels = (flat(v) for v in there.dataset.values([f"{there.results['faces']}.detections.id", name]))
    new = dict(zip(ids, labels, strict=True))
    paths = [f"{there.fields.faces}.{FACE}", there.fields.truth, there.fields.said]
    for face, old, said in zip(*there.faces.values(paths), strict=True):
        yield old, new.get(face), said
