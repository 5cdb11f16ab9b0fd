"""What is to be labelled: a dataset, a view, or selected samples, as faces."""

from __future__ import annotations

import json
from typing import TypeAlias

import fiftyone as fo
import fiftyone.core.media as fom
from fiftyone.core.collections import SampleCollection

from facevlm.errors import FieldError, TargetError

Collection: TypeAlias = SampleCollection
Dataset: TypeAlias = fo.Dataset


def check(target: Collection, *, patches: bool = False) -> None:
    """Raise :class:`~facevlm.errors.TargetError` unless the target holds pictures, at least one.

    ``patches`` lets views of the patches of one field pass, too.
    """
    if not isinstance(target, fo.core.collections.SampleCollection):
        raise TargetError(
            f"Got a target of type {type(target).__name__}, expected a FiftyOne dataset or view. "
            "Load one with fiftyone.load_dataset(name)."
        )
    name = target._root_dataset.name
    if len(target) == 0:
        raise TargetError(f"The target holds no sample (dataset '{name}'). Add samples, or choose a wider view.")
    if target.media_type == fom.GROUP:
        raise TargetError(
            f"Dataset '{name}' is grouped, expected pictures. Choose a slice: view.select_group_slices('left')."
        )
    if target.media_type != fom.IMAGE:
        raise TargetError(
            f"Dataset '{name}' holds media of type '{target.media_type}', expected images. "
            "For a video dataset, make pictures of its frames first: dataset.to_frames(sample_frames=True)."
        )
    if patches and patches_field(target) is not None:
        return
    if getattr(target, "_is_patches", False) or getattr(target, "_is_frames", False):
        raise TargetError(
            f"Got a view of patches or frames of dataset '{name}', expected "
            f"{'pictures or the patches of one field' if patches else 'whole pictures'}. "
            "Choose the dataset itself, or a view of its pictures."
        )


def patches_field(target: Collection) -> str | None:
    """The field whose Detections a view of patches shows; None for any other view."""
    return str(target._label_fields[0]) if type(target) is fo.core.patches.PatchesView else None


def view_name(target: Collection) -> str | None:
    """The name of a saved view, or that it has none; None for a dataset."""
    return None if isinstance(target, fo.Dataset) else target.name or "a view without a name"


def describe(target: Collection) -> str:
    """The stages of a view as JSON text for a run record: MongoDB's mapper would take their class names for its own."""
    stages = target._all_stages if patches_field(target) else getattr(target, "_stages", ())
    return json.dumps([stage._serialize() for stage in stages], default=str)


def document_of(field: fo.Field | None) -> type | None:
    """The class of the documents that a field holds, such as ``fo.Classification``; None for plain values."""
    document: type | None = getattr(field, "document_type", None)
    return document


def holds(field: fo.Field | None, kind: type) -> bool:
    """Whether a field holds documents of this class, such as ``fo.Detections``."""
    document = document_of(field)
    return document is not None and issubclass(document, kind)


def field_names(target: Collection, kinds: tuple[type, ...] = (), *, labels: bool = False) -> list[str]:
    """Top-level fields of the given field classes, and Classification fields if ``labels``."""
    names = []
    for name, field in target.get_field_schema().items():
        if (labels and holds(field, fo.Classification)) or (kinds and isinstance(field, kinds)):
            names.append(name)
    return names


def require_classification(target: Collection, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` unless the field holds Classifications."""
    known = field_names(target, labels=True)
    if name not in known:
        field = target.get_field(name)
        got = "not there" if field is None else f"a {type(field).__name__}"
        raise FieldError(f"Field '{name}' is {got}; need Classification. There is: {', '.join(known) or 'none'}.")
