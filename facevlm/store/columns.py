"""Many values at once between a dataset and memory, where FiftyOne's own way takes a value at a time.

Measured on 100,000 samples (``python -m benchmarks.evaluation``): decoding stored vectors one by one was the larger
part of reading, and one merge in the database writes four fields in the time in which FiftyOne writes one.
"""

from __future__ import annotations

import io
import os
import re
import struct
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
import fiftyone as fo
import fiftyone.core.sample as fos
import numpy as np
from bson import ObjectId

from facevlm.evaluation.metrics import Floats
from facevlm.store.schema import LABEL
from facevlm.store.targets import Collection, with_ids
from facevlm.store.updates import require_dataset

CHUNK = 5000
MAGIC = 10
"""Bytes before the header of an array in NumPy's format 1.0: magic string, version, length of the header."""


def read(target: Collection, paths: Sequence[str]) -> dict[str, list[Any]]:
    """Values of top-level fields, or of what is in their documents, one list per path, by one pass over the samples.

    Values are as the database holds them, ids as strings; None where there is none.
    """
    names = [re.sub(r"(^|\.)id$", r"\1_id", path) for path in paths]
    # Ids as texts from the database: an ObjectId is made in Python, and made a text there again.
    row = [{"$toString": f"${name}"} if name.rpartition(".")[2] == "_id" else f"${name}" for name in names]
    stages = [*target.view()._pipeline(), {"$project": {"_id": False, "row": row}}]
    rows = [sample["row"] for sample in _found(target, stages)]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in paths]
    pairs = zip(names, columns, strict=True)
    texts = ([v if v is None else str(v) for v in c] if name.endswith("_id") else c for name, c in pairs)
    return dict(zip(paths, texts, strict=True))


def _found(target: Collection, stages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Documents of an aggregation, decoded a batch at a time: PyMongo hands single ones on slowly."""
    collection = target._dataset._sample_collection
    for batch in collection.aggregate_raw_batches(list(stages), allowDiskUse=True):
        yield from bson.decode_all(batch, collection.codec_options)


def of_faces(target: Collection, root: str, part: str) -> list[list[Any]]:
    """A part of every document in the lists at a path, a list per sample; None in a document that lacks it."""
    each = {"$map": {"input": {"$ifNull": [f"${root}", []]}, "in": {"$ifNull": [f"$$this.{part}", None]}}}
    stages = [*target.view()._pipeline(), {"$project": {"_id": False, "row": each}}]
    return [sample["row"] for sample in _found(target, stages)]


def known(target: Collection, paths: Sequence[str]) -> list[tuple[Any, ...]]:
    """Values of the target's pictures as the dataset knows them, a row per picture in the target's order, also where
    the target shows only some labels: what a view leaves out is not asked, and paid, again."""
    ids = read(target, ["id"])["id"]
    pictures = target if target is target._dataset else with_ids(target._dataset, ids)
    stored = {row[0]: row[1:] for row in zip(*read(pictures, ["id", *paths]).values(), strict=True)}
    return [stored[sample_id] for sample_id in ids]


def vectors(stored: Sequence[bytes | list[float] | None], width: int) -> Floats:
    """Vectors as FiftyOne stores them, (n, width); nan for none and for another length.

    Arrays are zlib over NumPy's format; attributes that were given as lists are lists.
    """
    table = np.full((len(stored), width), np.nan)
    by_header: dict[bytes, tuple[list[int], list[bytes]]] = {}
    for row, packed in enumerate(stored):
        if isinstance(packed, list):
            if len(packed) == width:
                table[row] = packed
        elif packed is not None:
            data = zlib.decompress(packed)
            end = MAGIC + int.from_bytes(data[MAGIC - 2 : MAGIC], "little")
            at, bodies = by_header.setdefault(data[:end], ([], []))
            at.append(row)
            bodies.append(data[end:])
    for header, (at, bodies) in by_header.items():
        # An array's header tells type and shape: the first one is read by NumPy, the others are like it.
        first = np.load(io.BytesIO(header + bodies[0]), allow_pickle=False)
        if first.shape == (width,):
            table[at] = np.frombuffer(b"".join(bodies), dtype=first.dtype).reshape(-1, width)
    return table


def write(dataset: fo.Dataset, ids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Set declared top-level fields to values as the database holds them, by one merge; all columns are parallel.

    A process that is killed leaves either no sample changed or the merge half done, to be written again; the samples'
    other fields are never touched.
    """
    require_dataset(dataset)
    database = dataset._sample_collection.database
    # Beside the samples and not in a temporary collection of the server: a merge reads and writes one database.
    spare = database[f"facevlm.{uuid.uuid4().hex}"]
    # Whole values take the place of those that are there; to merge by a pipeline of our own takes half as long again.
    into = {"into": dataset._sample_collection_name, "on": "_id", "whenMatched": "merge", "whenNotMatched": "discard"}
    try:
        for rows in _chunks(ids, columns):
            spare.insert_many(rows, ordered=False)
        spare.aggregate([{"$set": {"last_modified_at": "$$NOW"}}, {"$merge": into}])
    finally:
        spare.drop()
    # Samples in memory do not notice what is written past FiftyOne.
    fos.Sample._reload_docs(dataset._sample_collection_name, sample_ids=list(ids))


def copy(dataset: fo.Dataset, origin: str, name: str) -> None:
    """Set a top-level field that is not declared yet to what another one holds, in every sample."""
    dataset._sample_collection.update_many({}, [{"$set": {name: f"${origin}", "last_modified_at": "$$NOW"}}])


def clear_others(dataset: fo.Dataset, ids: Sequence[str], names: Sequence[str]) -> None:
    """Take the values of top-level fields away from all samples but those with the ids."""
    filled = {"$or": [{name: {"$ne": None}} for name in names]}
    kept = set(ids)
    if len(kept) == dataset._sample_collection.count_documents({}):
        return
    found = [doc["_id"] for doc in dataset._sample_collection.find(filled, {"_id": True})]
    others = [i for i in found if str(i) not in kept]
    for start in range(0, len(others), CHUNK):
        stages = [{"$set": dict.fromkeys(names) | {"last_modified_at": "$$NOW"}}]
        dataset._sample_collection.update_many({"_id": {"$in": others[start : start + CHUNK]}}, stages)
    if others:
        fos.Sample._reload_docs(dataset._sample_collection_name, sample_ids=[str(i) for i in others])


def _chunks(ids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Iterator[list[dict[str, Any]]]:
    names = list(columns)
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        values = zip(*(columns[name][part] for name in names), strict=True)
        yield [
            {"_id": ObjectId(i), **dict(zip(names, row, strict=True))} for i, row in zip(ids[part], values, strict=True)
        ]


def fresh_ids(count: int) -> Iterator[ObjectId]:
    """So many new ids: the second of now, random bytes of their own, and a number. The driver takes twice as long."""
    for start in range(0, count, 1 << 24):
        own = struct.pack(">I", int(time.time())) + os.urandom(5)
        for number in range(min(count - start, 1 << 24)):
            yield ObjectId(own + number.to_bytes(3, "big"))


def classification(label: str | None, label_id: ObjectId | None = None, **more: Any) -> dict[str, Any] | None:
    """A Classification as the database holds it, with a new id unless one is given; None for no label."""
    if label is None:
        return None
    return {"_id": label_id or ObjectId(), "_cls": "Classification", "tags": [], LABEL: label, **more}


def told(truth: str | None, said: str | None, sure: float | None, outcome: str | None) -> str | None:
    """Truth and answer in one, as a tile has room for: ``Male -> Female 93 %``, and ``Female 93 %`` for a right one."""
    answer = said if said is not None else (outcome or "not asked").replace("_", " ")
    if said is not None and sure is not None:
        # Only what is certain is 100 %.
        answer = f"{said} {100 if sure >= 1 else min(99, round(100 * sure))} %"
    return answer if truth in (said, None) else f"{truth} -> {answer}"
