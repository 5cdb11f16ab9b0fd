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
from facevlm.store.inspection import Inspected
from facevlm.store.rows import flat
from facevlm.store.schema import FACE

CORRECTED_FROM = "facevlm_corrected_from"


def tag(inspected: Inspected, tag: str, ids: Sequence[str]) -> int:
    """Tag samples, or the faces in them, by id; returns how many.

    On faces the tag goes to the ground truth's Detections, where it is seen on the box. Raises
    :class:`~facevlm.errors.FieldError` for ids of pictures where faces were judged.
    """
    if inspected.fields.faces is None:
        shown = inspected.dataset.select(list(ids))
        shown.tag_samples(tag)
        return len(shown)
    face_ids = _face_ids(inspected, ids)
    inspected.dataset.select_labels(ids=face_ids, fields=inspected.results["faces"]).tag_labels(
        tag, label_fields=inspected.results["faces"]
    )
    return len(face_ids)


def _face_ids(inspected: Inspected, ids: Sequence[str]) -> list[str]:
    """The ground truth's Detections behind judged faces."""
    root = f"{inspected.fields.faces}.detections"
    pairs = dict(zip(*(flat(v) for v in inspected.dataset.values([f"{root}.id", f"{root}.{FACE}"])), strict=True))
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
    if inspected.fields.faces is not None:
        return _correct_faces(inspected, name, ids, label)
    origin = inspected.fields.truth.removesuffix(".label")
    found = inspected.dataset.get_field(name)
    if found is None:
        inspected.dataset.clone_sample_field(origin, name)
        field = inspected.dataset.get_field(name)
        field.info = {CORRECTED_FROM: origin}
        field.description = f"{inspected.truth} with corrections made by eye"
        field.save()
    elif (found.info or {}).get(CORRECTED_FROM) != origin:
        raise FieldError(f"Field '{name}' is there and does not hold corrections of '{origin}'. Rename it.")
    rows = {sample_id: fo.Classification(label=label) for sample_id in ids}
    inspected.dataset.set_values(name, rows, key_field="id", validate=False, progress=False)
    return name


def _correct_faces(inspected: Inspected, name: str, ids: Sequence[str], label: str) -> str:
    values: dict[str, str | None] = dict.fromkeys(_face_ids(inspected, ids), label)
    if inspected.dataset.get_field(name) is None:
        root = f"{inspected.fields.faces}.detections"
        known = (flat(v) for v in inspected.dataset.values([f"{root}.{FACE}", f"{root}.label"]))
        values = dict(zip(*known, strict=True)) | values
    inspected.dataset.set_label_values(name, values, dynamic=True, progress=False)
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
    ids, labels = (flat(v) for v in inspected.dataset.values([f"{inspected.results['faces']}.detections.id", name]))
    new = dict(zip(ids, labels, strict=True))
    paths = [f"{inspected.fields.faces}.{FACE}", inspected.fields.truth, inspected.fields.said]
    for face, old, predicted in zip(*inspected.faces.values(paths), strict=True):
        yield old, new.get(face), predicted
