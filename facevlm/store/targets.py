"""What is to be labelled: a dataset, a view, or selected samples, as faces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

import fiftyone as fo
import fiftyone.core.media as fom
import fiftyone.core.odm as odm
from fiftyone.core.collections import SampleCollection

from facevlm.errors import FieldError, TargetError, meant
from facevlm.store.schema import ANSWERS, WRITTEN

Collection: TypeAlias = SampleCollection
Dataset: TypeAlias = fo.Dataset
GONE = "Dataset '{name}' was deleted. Load another one with fiftyone.load_dataset(name)."
GONE_APP = "Dataset '{name}' was deleted. Open another one."
LIMITING = (fo.SelectFields, fo.ExcludeFields)
"""Stages that leave fields of samples out of a view."""


def check(target: Collection, *, patches: bool = False) -> Collection:
    """The target with all fields of its samples, whatever it selects or excludes of them: a view chooses pictures and
    labels, and what is known about these is read from the dataset.

    ``patches`` lets views of the patches of one field pass, too. Raises :class:`~facevlm.errors.TargetError` unless the
    target holds pictures, at least one.
    """
    name = opened(target).name
    if is_empty(target):
        raise TargetError(f"The target holds no sample (dataset '{name}'). Add samples, or choose a wider view.")
    if target.media_type != fom.IMAGE:
        raise TargetError(_no_pictures(target, name), app=_no_pictures_here(target, name))
    if getattr(target, "_is_frames", False):
        raise TargetError(
            f"Got a view of the frames of dataset '{name}', in which answers would be lost: FiftyOne makes it anew. "
            f"Take a copy, which is a dataset of pictures: view.clone('{name}-frames')."
        )
    if getattr(target, "_is_patches", False) and not (patches and patches_field(target) is not None):
        raise TargetError(
            f"Got a view of patches of dataset '{name}', expected "
            f"{'pictures or the patches of one field' if patches else 'whole pictures'}. "
            "Choose the dataset itself, or a view of its pictures."
        )
    return with_all_fields(target)


def opened(target: Collection) -> Dataset:
    """The dataset of a target as it stands now, whoever changed it: the door of every verb, and what a verb that reads
    records alone asks of its target.

    Raises :class:`~facevlm.errors.TargetError` for what is no dataset or view, and for one that was deleted.
    """
    require(target)
    # The dataset itself and not the root of the view: of one that was deleted nothing else can be asked.
    loaded = target if isinstance(target, fo.Dataset) else target._dataset
    if loaded.deleted:
        raise gone(loaded.name)
    root: Dataset = target._root_dataset
    refresh(root)
    return root


def require(target: Collection) -> None:
    """Raise :class:`~facevlm.errors.TargetError` for what is no dataset or view."""
    if not isinstance(target, fo.core.collections.SampleCollection):
        raise TargetError(
            f"Got a target of type {type(target).__name__}, expected a FiftyOne dataset or view. "
            "Load one with fiftyone.load_dataset(name)."
        )


def gone(name: str) -> TargetError:
    """The error about a dataset that was deleted."""
    return TargetError(GONE.format(name=name), app=GONE_APP.format(name=name))


def _no_pictures(target: Collection, name: str) -> str:
    """Why a target of another media type cannot be taken, and what can."""
    if getattr(target, "_is_dynamic_groups", False):
        return f"Got a view of dataset '{name}' by groups, expected its pictures side by side. Take view.flatten()."
    got = f"Dataset '{name}' holds media of type '{target.media_type}', expected images. "
    if target.media_type == fom.GROUP:
        slices = [slice for slice, kind in target.group_media_types.items() if kind == fom.IMAGE]
        how = f"Choose a slice: view.select_group_slices('{slices[0]}')" if slices else "None of its slices holds any"
        return f"Dataset '{name}' is grouped, expected pictures. {how}; slices of pictures: {', '.join(slices) or '-'}."
    if target.media_type == fom.VIDEO:
        return (
            f"{got}Make a dataset of its frames first, and take that: "
            f"dataset.to_frames(sample_frames=True).clone('{name}-frames'), which takes FFmpeg, or without "
            "sample_frames=True where every frame has a file of its own."
        )
    if target.media_type in (fom.UNKNOWN, fom.MIXED):
        return (
            f"{got}FiftyOne goes by the endings of filenames, and does not know that of "
            f"'{target.first().filepath}'. Rename the files, such as to .jpg, or say what they are: "
            "fiftyone.Sample(filepath=..., media_type='image')."
        )
    return f"{got}Choose a dataset or a slice of pictures."


def _no_pictures_here(target: Collection, name: str) -> str | None:
    """As :func:`_no_pictures`, with what can be done in the App; None where that is the same."""
    if getattr(target, "_is_dynamic_groups", False):
        return f"This view of dataset '{name}' shows groups, expected pictures side by side. Take the grouping away."
    if target.media_type == fom.GROUP:
        slices = ", ".join(slice for slice, kind in target.group_media_types.items() if kind == fom.IMAGE) or "-"
        return f"Dataset '{name}' is grouped, expected pictures. Choose a slice of pictures as the target: {slices}."
    if target.media_type == fom.VIDEO:
        return f"Dataset '{name}' holds media of type 'video', expected images. Open a dataset of its frames."
    return None


def with_all_fields(target: Collection) -> Collection:
    """The same pictures and labels without the stages that leave fields out."""
    stages = getattr(target, "_stages", ())
    if not any(isinstance(stage, LIMITING) for stage in stages):
        return target
    view = target._base_view
    for stage in stages:
        if not isinstance(stage, LIMITING):
            view = view._add_view_stage(stage, validate=False)
    # A saved view stays known by its name.
    view._set_name(target.name)
    return view


def all_pictures(dataset: Dataset) -> Collection:
    """All pictures of a dataset. Of a grouped one FiftyOne shows one slice, and these are of every slice."""
    grouped = dataset.media_type == fom.GROUP
    return dataset.select_group_slices(media_type=fom.IMAGE) if grouped else dataset


def with_ids(dataset: Dataset, ids: Iterable[str]) -> Collection:
    """The pictures with these ids, of whatever slice."""
    return all_pictures(dataset).select(list(ids))


def refresh(dataset: fo.Dataset) -> None:
    """Take notice of fields and runs that another process added since the dataset was loaded here.

    FiftyOne looks at the schema once: a notebook that stays open knows nothing of what the App or a command did.
    Samples in memory are left as they are. Raises :class:`~facevlm.errors.TargetError` for a dataset that was deleted.
    """
    known = odm.get_db_conn()["datasets"].find_one({"_id": dataset._doc.id}, {"last_modified_at": True, "name": True})
    if known is None:
        raise gone(dataset.name)
    if known.get("last_modified_at") != dataset._doc.last_modified_at or known["name"] != dataset._doc.name:
        dataset._doc.name = known["name"]
        dataset._reload(hard=True)


def is_empty(target: Collection) -> bool:
    """Whether there is no sample.

    FiftyOne takes the length of a dataset from the server's own estimate, which is 0 after the server was killed.
    """
    return next(iter(target.limit(1).values("id")), None) is None


def size(target: Collection) -> int:
    """How many samples there are, counted one by one; see :func:`is_empty`."""
    return int(target.count("id"))


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


def holds_answers(target: Collection, name: str, outcome: str) -> bool:
    """Whether a field holds what a model answered: it says so, or has the part that tells how an answer ended.

    A process that is killed may leave a field that only says so.
    """
    field = target.get_field(name)
    said = field is not None and (field.info or {}).get(WRITTEN) == ANSWERS
    return said or target.get_field(f"{name}.{outcome}") is not None


def field_names(target: Collection, kinds: tuple[type, ...] = (), *, labels: bool = False) -> list[str]:
    """Top-level fields of the given field classes, and Classification fields if ``labels``."""
    names = []
    for name, field in target.get_field_schema().items():
        if (labels and holds(field, fo.Classification)) or (kinds and isinstance(field, kinds)):
            names.append(name)
    return names


def label_fields(target: Collection) -> list[str]:
    """Top-level fields that hold labels of whatever kind."""
    return [name for name, field in target.get_field_schema().items() if holds(field, fo.Label)]


def require_classification(target: Collection, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` unless the field holds Classifications."""
    known = field_names(target, labels=True)
    if name not in known:
        field = target.get_field(name)
        got = "not there" if field is None else f"a {type(field).__name__}"
        listed = f"{', '.join(known) or 'none'}.{meant(name, known)}"
        raise FieldError(f"Field '{name}' is {got}; need Classification. There is: {listed}")
