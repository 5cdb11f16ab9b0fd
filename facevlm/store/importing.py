"""FiftyOne datasets from the records of a reader: written in batches while they are read, so that memory stays flat."""

from __future__ import annotations

import collections
import functools
import itertools
import logging
import os
import platform
import re
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as odm
import psutil

from facevlm import attributes
from facevlm.datasets.records import FaceBox, Record
from facevlm.errors import FieldError, TargetError, TaxonomyError
from facevlm.store.database import briefly, check_new, connect
from facevlm.store.schema import LABEL
from facevlm.store.targets import Collection, all_pictures, document_of, view_name

log = logging.getLogger("facevlm")
INFO = "facevlm"
FACES, POINTS, AGE = "faces", "landmarks", "age"
UNFINISHED = "-being-loaded"
LOADING = "facevlm_loading"
"""In the info of a dataset that is not complete yet: the machine and the process that work on it."""
STILL = timedelta(days=1)
CHUNK = 1024
FAMILIES = {"gender": "gender", "race": "race7", "emotion": "emotion8", "age_group": "age9"}
"""Fields of people's labels, and the attribute that stands for the family of each."""


def to_sample(record: Record) -> fo.Sample:
    """A sample with a Classification for each label, and Detections and Keypoints where there are boxes and points."""
    fields: dict[str, Any] = {name: fo.Classification(label=label) for name, label in record.labels.items()}
    fields.update(record.values)
    if record.age is not None:
        fields[AGE] = record.age
    if record.faces:
        fields[FACES] = fo.Detections(detections=[_detection(face) for face in record.faces])
    if record.points_xy_rel:
        points = fo.Keypoint(label="face", points=list(record.points_xy_rel))
        fields[POINTS] = fo.Keypoints(keypoints=[points])
    tags = [record.split, *record.tags] if record.split else list(record.tags)
    return fo.Sample(filepath=record.filepath, tags=tags, **fields)


def _detection(face: FaceBox) -> fo.Detection:
    values = {**face.labels, **face.values} | ({} if face.age is None else {AGE: face.age})
    return fo.Detection(label=face.kind, bounding_box=list(face.box_xywh_rel), **values)


def check_name(name: str, *, overwrite: bool) -> None:
    """Raise :class:`~facevlm.errors.TargetError` where a dataset of this name is there and must not be replaced, and
    :class:`~facevlm.errors.InputError` where none can have it."""
    connect()
    if not fo.dataset_exists(name):
        check_new(name)
    elif not overwrite:
        raise TargetError(f"Dataset '{name}' is already there; expected a new name, or to be told to overwrite it.")


def build(name: str, records: Iterable[Record], *, overwrite: bool) -> fo.Dataset:
    """A persistent dataset of the records; nothing is left where reading fails.

    With ``overwrite`` it takes the place of one of the same name once all are read. Raises
    :class:`~facevlm.errors.TargetError` where there is one that must not be replaced, also one that somebody made
    while the records were read.
    """
    collections.deque(building(name, records, overwrite=overwrite), maxlen=0)
    return fo.load_dataset(name)


def building(name: str, records: Iterable[Record], *, overwrite: bool) -> Generator[int, None, None]:
    """As :func:`build`; yields after every chunk how many samples are written. Closed before its end, it leaves
    nothing."""
    connect()
    dataset, complete = _unfinished(name), False
    try:
        yield from _add(dataset, iter(records))
        if dataset.has_field(FACES):
            dataset.add_dynamic_sample_fields(FACES)
        check_name(name, overwrite=overwrite)
        if fo.dataset_exists(name):
            _say_replaced(fo.load_dataset(name))
            fo.delete_dataset(name)
        # One write takes the mark away and gives the name.
        dataset.info.pop(LOADING, None)
        dataset.name = name
        complete = True
    finally:
        if not complete:
            # Of one that somebody deleted meanwhile not even the method can be had.
            briefly(lambda: dataset.delete())


def _unfinished(name: str) -> fo.Dataset:
    """A new dataset for the records. Two loads of one name at once have one each."""
    # So that the longest name that FiftyOne takes, of 1,551 letters, has room for what stands behind it.
    begin = f"{name[:1451]}{UNFINISHED}-"
    _drop_leftovers(begin)
    dataset = fo.Dataset(f"{begin}{uuid.uuid4().hex}")
    # Persistent once it is marked: what is left without a mark FiftyOne itself takes away.
    dataset.info[LOADING] = {"machine": _machine(), "process": os.getpid()}
    dataset.persistent = True
    return dataset


def _machine() -> str:
    """This machine, by its name and its network card: several may be called localhost."""
    return f"{platform.node()} {uuid.getnode():x}"


def _drop_leftovers(begin: str) -> None:
    """Take away what loads left that were killed. What one still works on stays, and so does what has no mark."""
    ours = {"name": {"$regex": f"^{re.escape(begin)}[0-9a-f]{{32}}$"}, f"info.{LOADING}": {"$exists": True}}
    for row in list(odm.get_db_conn()["datasets"].find(ours)):
        if _is_left(row):
            briefly(functools.partial(fo.delete_dataset, row["name"]))


def _is_left(row: Mapping[str, Any]) -> bool:
    """Whether the process is gone that works on a dataset, by what the database holds of it. Of another machine it is
    taken to be once nothing came for a day."""
    mark = row["info"][LOADING]
    if mark["machine"] == _machine():
        return not psutil.pid_exists(mark["process"])
    samples = odm.get_db_conn()[row["sample_collection_name"]]
    last = samples.find_one({}, {"_id": True}, sort=[("_id", -1)])
    return bool(datetime.now(timezone.utc) - (last or row)["_id"].generation_time > STILL)


def _say_replaced(dataset: fo.Dataset) -> None:
    # In the database itself: of a grouped dataset FiftyOne counts one slice, and all are lost.
    every = dataset._sample_collection
    pictures, tagged = every.count_documents({}), every.count_documents({"tags.0": {"$exists": True}})
    log.warning("Dataset '%s' is replaced: %d pictures, %d with tags.", dataset.name, pictures, tagged)


def _add(dataset: fo.Dataset, records: Iterator[Record]) -> Generator[int, None, None]:
    """Add samples chunk by chunk, counting them; one is compared with the dataset's fields only where it has more."""
    known: set[str] = set()
    done = 0
    while chunk := list(itertools.islice(records, CHUNK)):
        fields = set().union(*map(_fields, chunk))
        samples = [to_sample(record) for record in chunk]
        dataset.add_samples(samples, expand_schema=not fields <= known, validate=False, progress=False)
        known |= fields
        done += len(samples)
        yield done


def _fields(record: Record) -> set[str]:
    """The fields of the sample that a record becomes."""
    parts = {AGE: record.age is not None, FACES: bool(record.faces), POINTS: bool(record.points_xy_rel)}
    return {*record.labels, *record.values, *(name for name, given in parts.items() if given)}


def origin(target: Collection) -> dict[str, Any]:
    """Name, view, source and licence of a loaded dataset, as far as it says."""
    info = target._dataset.info.get(INFO) or {}
    facts = {key: info[key] for key in ("source", "licence", "citation", "url") if key in info}
    return {"dataset": target._dataset.name, "view": view_name(target), **facts}


def people(target: Collection) -> tuple[list[Record], dict[str, str]]:
    """The people of a dataset or view with one face per picture, and the attribute of each field of their labels.

    Raises :class:`~facevlm.errors.FieldError` where there is no label, or where the field of ages holds no numbers.
    """
    schema, dataset = target.get_field_schema(), target._dataset
    names = [n for n in FAMILIES if getattr(schema.get(n), "document_type", None) is fo.Classification]
    if not names:
        raise FieldError(
            f"Dataset '{dataset.name}' has none of the fields {', '.join(FAMILIES)}; expected one with labels."
        )
    _check_ages(target)
    fields = {n: _attribute(dataset, n) for n in names}
    paths, *columns = target.values(["filepath", *(f"{n}.{LABEL}" for n in names)])
    ages = target.values(AGE) if AGE in schema else [None] * len(paths)
    rows = zip(paths, ages, zip(*columns, strict=True), strict=True)
    records = [
        Record(path, {n: label for n, label in zip(names, labels, strict=True) if label is not None}, age)
        for path, age, labels in rows
    ]
    return records, fields


def _check_ages(target: Collection) -> None:
    found = target.get_field(AGE)
    if found is not None and not isinstance(found, (fo.FloatField, fo.IntField)):
        kind = document_of(found) or type(found)
        raise FieldError(
            f"Field '{AGE}' of dataset '{target._dataset.name}' holds a {kind.__name__}, expected years as numbers. "
            "Rename it: labels of ages are taken from the field 'age_group'."
        )


def _attribute(dataset: fo.Dataset, name: str) -> str:
    """The attribute that a field's labels belong to: as the dataset says, or as its values tell."""
    named = (dataset.info.get(INFO) or {}).get("attributes", {}).get(name)
    if named:
        return str(named)
    wanted = attributes.get(FAMILIES[name])
    labels = all_pictures(dataset).distinct(f"{name}.{LABEL}")
    attribute = attributes.recognise(labels, wanted, attributes.shipped())
    if isinstance(attribute, str):
        raise TaxonomyError(f"Field '{name}' holds numbers, expected labels of {wanted.name} or its family.")
    return attribute.name
