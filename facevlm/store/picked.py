"""What is known about faces by id, and views of chosen faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.store import predictions
from facevlm.store.rows import flat
from facevlm.store.schema import DETECTIONS, FACE, LABEL, OUTCOME
from facevlm.store.targets import Collection, all_pictures, holds, patches_field, with_ids
from facevlm.types import Face

Known = Mapping[str, tuple[str, str | None]]
"""Face id -> outcome and label."""


def predicted(target: Collection, prefix: str, names: Iterable[str]) -> list[str]:
    """The attributes whose predictions on faces are stored under a prefix."""
    dataset = target._root_dataset
    return [name for name in names if _on_faces(dataset, predictions.field_name(prefix, name))]


def _on_faces(dataset: fo.Dataset, field: str) -> bool:
    on_boxes = holds(dataset.get_field(field), fo.Detections)
    return on_boxes and dataset.get_field(f"{field}.{DETECTIONS}.{FACE}") is not None


def known(target: Collection, field: str, faces: Sequence[Face]) -> Known:
    """What is stored in a field of predictions about these faces; those that were not asked are left out."""
    dataset = target._root_dataset
    if not _on_faces(dataset, field):
        return {}
    parts = [f"{field}.{DETECTIONS}.{part}" for part in (FACE, OUTCOME, LABEL)]
    columns = with_ids(dataset, {face.sample_id for face in faces}).values(parts)
    wanted = {face.label_id for face in faces}
    return {i: (o, label) for i, o, label in zip(*map(flat, columns), strict=True) if i in wanted and o is not None}


def narrowed(target: Collection, field: str, ids: Sequence[str]) -> Collection:
    """The target with only these faces of a field of Detections."""
    if patches_field(target):
        return target.select(ids)
    return target.select_labels(ids=ids, fields=field)


def pictures(target: Collection, field: str, ids: Sequence[str]) -> Collection:
    """Whole pictures with only these faces, also where the target shows patches."""
    return all_pictures(target._root_dataset).select_labels(ids=ids, fields=field)


def shown(target: Collection, field: str, ids: Sequence[str], answers: Iterable[str]) -> Collection:
    """A view of just these faces: the pictures that have them, and in fields of answers only what is about them.

    An empty view where there are none.
    """
    if patches_field(target):
        return narrowed(target, field, ids)
    # Not select_labels, which takes the labels of all other fields out of the view.
    view = target.filter_labels(field, F("_id").to_string().is_in(list(ids)))
    for name in answers:
        if _on_faces(target._root_dataset, name):
            view = view.filter_labels(name, F(FACE).is_in(list(ids)), only_matches=False)
    return view
