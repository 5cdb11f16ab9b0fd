"""Many values at once between a dataset and memory, where FiftyOne's own way takes a value at a time.

Measured on 100,000 samples (``python -m benchmarks.evaluation``): decoding stored vectors one by one was the larger
part of reading, and one merge in the database writes four fields in the time in which FiftyOne writes one.
"""

from __future__ import annotations

import io
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.core.sample as fos
import numpy as np
from bson import ObjectId

from facevlm.evaluation.metrics import Floats
from facevlm.store.schema import LABEL
from facevlm.store.targets import Collection

CHUNK = 5000
MAGIC = 10
"""Bytes before the header of an array in NumPy's format 1.0: magic string, version, length of the header."""


def read(target: Collection, paths: Sequence[str]) -> dict[str, list[Any]]:
    """Values of top-level fields, or of what is in their documents, one list per path, by one pass over the samples.

    Values are as the database holds them, ids as strings; None where there is none.
    """
    names = [re.sub(r"(^|\.)id$", r"\1_id", path) for path in paths]
    stages = [*target.view()._pipeline(), {"$project": {"_id": False, "row": [f"${name}" for name in names]}}]
    rows = [sample["row"] for sample in target._dataset._sample_collection.aggregate(stages, allowDiskUse=True)]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in paths]
    pairs = zip(names, columns, strict=True)
    texts = ([v if v is None else str(v) for v in c] if name.endswith("_id") else c for name, c in pairs)
    return dict(zip(paths, texts, strict=True))


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
    database = dataset._sample_collection.database
    # Beside the samples and not in a temporary collection of the server: a merge reads and writes one database.
    spare = database[f"facevlm.{uuid.uuid4().hex}"]
    try:
        for rows in _chunks(ids, columns):
            spare.insert_many(rows, ordered=False)
        sets = {name: f"$$new.{name}" for name in columns} | {"last_modified_at": "$$NOW"}
        spare.aggregate(
            [
                {
                    "$merge": {
                        "into": dataset._sample_collection_name,
                        "on": "_id",
                        "whenMatched": [{"$set": sets}],
                        "whenNotMatched": "discard",
                    }
                }
            ]
        )
    finally:
        spare.drop()
    # Samples in memory do not notice what is written past FiftyOne.
    fos.Sample._reload_docs(dataset._sample_collection_name, sample_ids=list(ids))


def _chunks(ids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Iterator[list[dict[str, Any]]]:
    names = list(columns)
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        values = zip(*(columns[name][part] for name in names), strict=True)
        yield [
            {"_id": ObjectId(i), **dict(zip(names, row, strict=True))} for i, row in zip(ids[part], values, strict=True)
        ]


def classification(label: str | None, **more: Any) -> dict[str, Any] | None:
    """A Classification as the database holds it; None for no label."""
    if label is None:
        return None
    return {"_id": ObjectId(), "_cls": "Classification", "tags": [], LABEL: label, **more}
