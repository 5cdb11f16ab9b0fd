"""FiftyOne datasets from plain records or from a folder of pictures."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fom

from facevlm.datasets import files
from facevlm.datasets.records import Log
from facevlm.datasets.samples import FOLDER, SampleRecord
from facevlm.errors import TargetError
from facevlm.faces import images
from facevlm.store import boxes, columns, predictions
from facevlm.store.correcting import CORRECTED_FROM
from facevlm.store.database import check_new, connect
from facevlm.store.evaluations import MAPPED
from facevlm.store.schema import DETECTIONS, FOUND, REVIEWS, WRITTEN
from facevlm.store.targets import is_empty

log = logging.getLogger("facevlm")
FROM_FOLDER = "facevlm_from_folder"
LEFT_OUT = "facevlm_left_out"
"""What of the folder is in its dataset's info as left out, in the form of :meth:`facevlm.datasets.Log.to_dict`."""


def build_singles(name: str, records: Sequence[SampleRecord]) -> fo.Dataset:
    """A persistent dataset with one sample per record; one that is there keeps what it holds and gets what it lacks.

    Raises :class:`~facevlm.errors.TargetError` for a dataset of other pictures.
    """
    return _filled(name, {record.filepath: _single(record) for record in records})


def build_groups(name: str, records: Sequence[SampleRecord]) -> fo.Dataset:
    """A persistent dataset with one sample per picture and its faces as Detections in ``faces``; as
    :func:`build_singles` where it is there."""
    by_picture: dict[str, list[SampleRecord]] = defaultdict(list)
    for record in records:
        by_picture[record.filepath].append(record)
    boxes = {path: {"faces": fo.Detections(detections=[_box(r) for r in rows])} for path, rows in by_picture.items()}
    dataset = _filled(name, boxes)
    dataset.add_dynamic_sample_fields()
    return dataset


def _single(record: SampleRecord) -> dict[str, Any]:
    return {"age": record.age, **{field: fo.Classification(label=label) for field, label in record.labels.items()}}


def _box(record: SampleRecord) -> fo.Detection:
    return fo.Detection(label="face", bounding_box=list(record.box_xywh_rel), age=record.age, **record.labels)


def _filled(name: str, fields_of: Mapping[str, Mapping[str, Any]]) -> fo.Dataset:
    """The dataset with a sample for every picture and these fields; tags, corrections and fields of the user stay.

    Pictures are known by the names of their files: those of another installation are the same.
    """
    dataset = _opened(name)
    wanted = {Path(path).name: path for path in fields_of}
    known = {Path(path).name: path for path in dataset.values("filepath")}
    if known and not set(known) & set(wanted):
        raise TargetError(
            f"Dataset '{name}' is already there and holds other pictures, expected a new name. It is left as it is."
        )
    missing = [fo.Sample(filepath=path, **fields_of[path]) for file, path in wanted.items() if file not in known]
    dataset.add_samples(missing, progress=False)
    _move(dataset, {path: wanted[file] for file, path in known.items() if file in wanted})
    for field in {field: None for fields in fields_of.values() for field in fields}:
        _fill(dataset, field, {file: fields_of[path][field] for file, path in wanted.items()})
    return _described(dataset)


def _move(dataset: fo.Dataset, places: Mapping[str, str]) -> None:
    """Where a picture is not there any more, say where the same one is now."""
    moved = {old: new for old, new in places.items() if old != new and not os.path.exists(old)}
    if moved:
        dataset.set_values("filepath", moved, key_field="filepath", progress=False)


def _fill(dataset: fo.Dataset, field: str, values: Mapping[str, Any]) -> None:
    """Values by the name of a picture's file, where a picture has none."""
    lacking = dataset.match(fo.ViewField(field) == None) if dataset.has_field(field) else dataset  # noqa: E711
    found = [(one, Path(path).name) for one, path in zip(*lacking.values(["id", "filepath"]), strict=True)]
    if given := {one: values[file] for one, file in found if file in values}:
        dataset.set_values(field, given, key_field="id", progress=False)


def _opened(name: str) -> fo.Dataset:
    """The dataset of this name, made where there is none; one of something else than pictures is refused: it takes no
    pictures, and of a grouped one not all would be seen."""
    connect()
    if not fo.dataset_exists(name):
        check_new(name)
        return fo.Dataset(name, persistent=True)
    dataset = fo.load_dataset(name)
    if dataset.media_type not in (None, fom.UNKNOWN, fom.IMAGE):
        raise TargetError(
            f"Dataset '{name}' is already there and holds media of type '{dataset.media_type}', expected images. It is "
            "left as it is; choose another name."
        )
    return dataset


def _described(dataset: fo.Dataset) -> fo.Dataset:
    dataset.description = dataset.description or (
        "Sample faces of facevlm: averages of 3 or 4 consenting volunteers, pictures of nobody. "
        f"Licence and card: {FOLDER}. Labels are perceived or apparent, not facts about persons."
    )
    dataset.save()
    return dataset


def build_folder(name: str, folder: str | Path, *, prune: bool = False) -> fo.Dataset:
    """A persistent dataset of the pictures in a folder and below, added to those that are in it already.

    With ``prune`` pictures of elsewhere are taken out and counted, but for those with tags or labels that facevlm did
    not write: these stay, and are named.

    ``info["facevlm_left_out"]`` counts and names the files that are no pictures; hidden ones are not looked at.

    Raises :class:`~facevlm.errors.TargetError` for a folder that is missing or holds no picture.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "a file" if root.is_file() else "not there"
        raise TargetError(f"Got '{folder}', which is {what}. Give a folder with pictures.")
    seen = Log()
    try:
        paths = sorted({os.path.realpath(path) for path in files.pictures(root, seen)})
    except OSError as error:
        raise TargetError(
            f"Folder '{folder}' cannot be read: {error.strerror}. Expected one that this user may read."
        ) from error
    if not paths:
        kinds = ", ".join(sorted(images.SUFFIXES))
        others = f" There is: {'; '.join(seen.rows[:3])}." if seen.rows else ""
        raise TargetError(f"Folder '{folder}' holds no picture. Expected files that end in {kinds}.{others}")
    dataset = _opened(name)
    if not is_empty(dataset) and not dataset.info.get(FROM_FOLDER):
        raise TargetError(
            f"Dataset '{name}' is already there and was not made from a folder, expected a new name. "
            "Your dataset is left as it is; choose another name, or leave --images out to label it."
        )
    dataset.info.update({FROM_FOLDER: True, LEFT_OUT: seen.to_dict()})
    dataset.save()
    if prune:
        _prune(dataset, paths)
    known = set(dataset.values("filepath"))
    dataset.add_samples([fo.Sample(filepath=path) for path in paths if path not in known], progress=False)
    return dataset


def _prune(dataset: fo.Dataset, paths: Sequence[str]) -> None:
    """Take out pictures that are not among these, unless something of the user's hangs on them."""
    gone = dataset.match(~fo.ViewField("filepath").is_in(paths))
    kept = _with_work_of_users(gone)
    removed = gone.match(~fo.ViewField("filepath").is_in(sorted(kept)))
    if n := len(removed):
        log.warning("%d pictures that are not in the folder were taken out of dataset '%s'.", n, dataset.name)
        dataset.delete_samples(removed)
    if kept:
        names = ", ".join(sorted(kept))
        log.warning("%d stay, since they carry tags or labels of yours: %s. Delete them yourself.", len(kept), names)


def _with_work_of_users(view: fo.DatasetView) -> set[str]:
    """Paths of pictures with tags, with values that no run left, or with labels or boxes that somebody tagged, drew or
    changed."""
    dataset = view._dataset
    usual = set(dataset._get_default_sample_fields(include_private=True))
    found = set(view.match(fo.ViewField("tags").length() > 0).values("filepath"))
    for name in dataset.get_field_schema():
        if name not in usual:
            is_work = _work_in(dataset, name)
            values = zip(*columns.read(view, ["filepath", name]).values(), strict=True)
            found |= {path for path, value in values if value is not None and is_work(value)}
    return found


def _is_ours(dataset: fo.Dataset, name: str) -> bool:
    """Whether a run filled a field, by what it says itself: a field may be called as if it were of a run."""
    info = dataset.get_field(name).info or {}
    return not {REVIEWS, CORRECTED_FROM} & set(info) and (
        bool({WRITTEN, MAPPED} & set(info)) or predictions.is_predicted(dataset, name)
    )


def _work_in(dataset: fo.Dataset, name: str) -> Callable[[Any], bool]:
    """Whether somebody's work is in a value of a field, as the database holds it: in any that no run left, and else in
    one with a tag or with a box that no search left so."""
    if not _is_ours(dataset, name):
        return lambda value: True
    if dataset.get_field(f"{name}.{DETECTIONS}.{FOUND}") is not None:
        return lambda value: not all(map(boxes.is_as_found, value.get(DETECTIONS) or ()))
    return _is_tagged


def _is_tagged(value: object) -> bool:
    labels = (value, *(value.get(DETECTIONS) or ())) if isinstance(value, Mapping) else ()
    return any(label.get("tags") for label in labels)
