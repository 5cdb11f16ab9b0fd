"""FiftyOne datasets from the records of a reader: written in batches while they are read, so that memory stays flat."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import fiftyone as fo

from facevlm import attributes
from facevlm.datasets.records import FaceBox, Record
from facevlm.errors import FieldError, TargetError, TaxonomyError
from facevlm.store.database import connect
from facevlm.store.targets import Collection, view_name

INFO = "facevlm"
FACES, POINTS = "faces", "landmarks"
UNFINISHED = "-being-loaded"
CHUNK = 1024
FAMILIES = {"gender": "gender", "race": "race7", "emotion": "emotion8", "age_group": "age9"}
"""Fields of people's labels, and the attribute that stands for the family of each."""


def to_sample(record: Record) -> fo.Sample:
    """A sample with a Classification for each label, and Detections and Keypoints where there are boxes and points."""
    fields: dict[str, Any] = {name: fo.Classification(label=label) for name, label in record.labels.items()}
    fields.update(record.values)
    if record.age is not None:
        fields["age"] = record.age
    if record.faces:
        fields[FACES] = fo.Detections(detections=[_detection(face) for face in record.faces])
    if record.points_xy_rel:
        points = fo.Keypoint(label="face", points=list(record.points_xy_rel))
        fields[POINTS] = fo.Keypoints(keypoints=[points])
    tags = [record.split, *record.tags] if record.split else list(record.tags)
    return fo.Sample(filepath=record.filepath, tags=tags, **fields)


def _detection(face: FaceBox) -> fo.Detection:
    values = {**face.labels, **face.values} | ({} if face.age is None else {"age": face.age})
    return fo.Detection(label=face.kind, bounding_box=list(face.box_xywh_rel), **values)


def check_name(name: str, *, overwrite: bool) -> None:
    """Raise :class:`~facevlm.errors.TargetError` where a dataset of this name is there and must not be replaced."""
    connect()
    if not overwrite and fo.dataset_exists(name):
        raise TargetError(f"Dataset '{name}' is already there; expected a new name, or to be told to overwrite it.")


def build(name: str, records: Iterable[Record]) -> fo.Dataset:
    """A persistent dataset of the records, in place of one of the same name once all are read; nothing is left where
    reading fails."""
    connect()
    dataset, complete = fo.Dataset(f"{name}{UNFINISHED}", persistent=True, overwrite=True), False
    try:
        _add(dataset, iter(records))
        if dataset.has_field(FACES):
            dataset.add_dynamic_sample_fields(FACES)
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
        dataset.name = name
        complete = True
    finally:
        if not complete:
            dataset.delete()
    return dataset


def _add(dataset: fo.Dataset, records: Iterator[Record]) -> None:
    """Add samples chunk by chunk; a chunk is compared with the dataset's fields only where it has one more."""
    known: set[str] = set()
    while chunk := list(itertools.islice(records, CHUNK)):
        fields = set().union(*map(_fields, chunk))
        samples = [to_sample(record) for record in chunk]
        dataset.add_samples(samples, expand_schema=not fields <= known, validate=False, progress=False)
        known |= fields


def _fields(record: Record) -> set[str]:
    """The fields of the sample that a record becomes."""
    parts = {"age": record.age is not None, FACES: bool(record.faces), POINTS: bool(record.points_xy_rel)}
    return {*record.labels, *record.values, *(name for name, given in parts.items() if given)}


def origin(target: Collection) -> dict[str, Any]:
    """Name, view, source and licence of a loaded dataset, as far as it says."""
    info = target._dataset.info.get(INFO) or {}
    facts = {key: info[key] for key in ("source", "licence", "citation", "url") if key in info}
    return {"dataset": target._dataset.name, "view": view_name(target), **facts}


def people(target: Collection) -> tuple[list[Record], dict[str, str]]:
    """The people of a dataset or view with one face per picture, and the attribute of each field of their labels.

    Raises :class:`~facevlm.errors.FieldError` where there is no label.
    """
    schema, dataset = target.get_field_schema(), target._dataset
    names = [n for n in FAMILIES if getattr(schema.get(n), "document_type", None) is fo.Classification]
    if not names:
        raise FieldError(
            f"Dataset '{dataset.name}' has none of the fields {', '.join(FAMILIES)}; expected one with labels."
        )
    fields = {n: _attribute(dataset, n) for n in names}
    paths, *columns = target.values(["filepath", *(f"{n}.label" for n in names)])
    ages = target.values("age") if "age" in schema else [None] * len(paths)
    rows = zip(paths, ages, zip(*columns, strict=True), strict=True)
    records = [
        Record(path, {n: label for n, label in zip(names, labels, strict=True) if label is not None}, age)
        for path, age, labels in rows
    ]
    return records, fields


def _attribute(dataset: fo.Dataset, name: str) -> str:
    """The attribute that a field's labels belong to: as the dataset says, or as its values tell."""
    named = (dataset.info.get(INFO) or {}).get("attributes", {}).get(name)
    if named:
        return str(named)
    wanted = attributes.get(FAMILIES[name])
    attribute = attributes.recognise(dataset.distinct(f"{name}.label"), wanted, attributes.shipped())
    if isinstance(attribute, str):
        raise TaxonomyError(f"Field '{name}' holds numbers, expected labels of {wanted.name} or its family.")
    return attribute.name
