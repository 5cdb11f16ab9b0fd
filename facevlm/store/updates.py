"""Samples changed by their ids: what was taken away meanwhile is noticed, and a database that is away is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as odm
import fiftyone.core.sample as fos
from bson import ObjectId
from pymongo import UpdateOne

from facevlm.errors import DatabaseError, FieldError
from facevlm.store.database import DELETED, patiently, translated
from facevlm.store.targets import Dataset

CHUNK = 1000
"""Samples of one write: it has to end before it is given up for lost."""
Change = Mapping[str, Any] | list[Mapping[str, Any]]
"""An update of MongoDB, or its stages."""


class Updates:
    """Changes samples of a dataset, a chunk at a time. ``gone`` are the ids of those that are no longer there.

    ``fields`` are the fields that it writes, which must stay. Raises :class:`~facevlm.errors.DatabaseError` where the
    dataset, all its samples or one of the fields was deleted: a write to what is gone would silently do nothing.
    """

    def __init__(self, dataset: Dataset, fields: Sequence[str]) -> None:
        self._dataset, self._name, self._fields = dataset, dataset.name, list(fields)
        self._collection, self._document = dataset._sample_collection, dataset._doc.id
        self.gone: set[str] = set()

    def set(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set fields of samples: sample id -> field -> its value, a label of FiftyOne or a plain one."""
        patiently(self._check)
        fields = {name: self._dataset.get_field(name) for name in self._fields}
        self.change(
            {
                sample_id: {
                    "$set": {name: _stored(fields.get(name), value) for name, value in row.items()},
                    "$currentDate": {"last_modified_at": True},
                }
                for sample_id, row in values.items()
            }
        )

    def change(self, changes: Mapping[str, Change]) -> None:
        """Change samples: sample id -> update. Each may be made twice."""
        ids = list(changes)
        for start in range(0, len(ids), CHUNK):
            self._change({sample_id: changes[sample_id] for sample_id in ids[start : start + CHUNK]})

    def _change(self, changes: Mapping[str, Change]) -> None:
        writes = [UpdateOne({"_id": ObjectId(sample_id)}, change) for sample_id, change in changes.items()]
        patiently(self._check)
        done = patiently(lambda: self._collection.bulk_write(writes, ordered=False))
        if done.matched_count < len(writes):
            self._miss(list(changes))
        # Samples in memory do not notice what is written past FiftyOne.
        fos.Sample._reload_docs(self._collection.name, sample_ids=list(changes))

    def _check(self) -> None:
        stored = _document(self._document, {"sample_fields.name": True})
        if stored is None:
            raise deleted(self._name)
        known = {field["name"] for field in stored.get("sample_fields") or ()}
        if lost := [name for name in self._fields if name not in known]:
            raise DatabaseError(
                f"Field '{lost[0]}' of dataset '{self._name}' was deleted while it was written to. What is in other "
                "fields is kept; the same call declares it anew and asks what it lacks."
            )

    def _miss(self, ids: Sequence[str]) -> None:
        """Note which samples are gone."""
        found = patiently(lambda: self._collection.distinct("_id", {"_id": {"$in": [ObjectId(i) for i in ids]}}))
        if not found:
            # All of them, and maybe the dataset since it was looked for.
            patiently(self._check)
        self.gone |= set(ids) - {str(one) for one in found}
        if not found and patiently(lambda: self._collection.find_one({}, {"_id": True})) is None:
            raise DatabaseError(
                f"Dataset '{self._name}' holds no sample any more: all were deleted while it was written to."
            )


def told(gone: int) -> list[str]:
    """The sentence, if any, about pictures that were deleted while they were worked on."""
    if not gone:
        return []
    pictures, them = ("1 picture was", "it") if gone == 1 else (f"{gone:,} pictures were", "them")
    return [f"{pictures} deleted from the dataset meanwhile; what came of {them} is not kept."]


def _stored(field: fo.Field | None, value: Any) -> Any:
    return value if value is None or field is None else field.to_mongo(value)


def deleted(name: str) -> DatabaseError:
    """The error about a dataset that is no longer there."""
    return DatabaseError(f"Dataset '{name}' {DELETED}")


def _document(document_id: ObjectId, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = odm.get_db_conn().datasets.find_one({"_id": document_id}, parts)
    return found


def require_dataset(dataset: Dataset) -> None:
    """Raise :class:`~facevlm.errors.DatabaseError` where the dataset is no longer there: writing to it would bring back
    half of it."""
    if _document(dataset._doc.id, {"_id": True}) is None:
        raise deleted(dataset.name)


def require_writable(dataset: Dataset, paths: Sequence[str]) -> None:
    """Raise an error in one sentence where what will be written cannot be.

    That is :class:`~facevlm.errors.FieldError` for a field that is read-only, or of which a part is, and
    :class:`~facevlm.errors.DatabaseError` for a user of the database who may not write.
    """
    locked = [name for name, field in dataset.get_field_schema(flat=True).items() if field.read_only]
    for name in locked:
        if any(_met(path, name) for path in paths):
            said = f"Field '{name}' of dataset '{dataset.name}' is read-only, expected one that may be written. Choose "
            raise FieldError(
                f"{said}another name, or make it writable: field = dataset.get_field('{name}'); field.read_only = "
                "False; field.save().",
                app=f"{said}another field prefix or name.",
            )
    with translated():
        # Matches nothing: asks whether a write is let in.
        dataset._sample_collection.update_one({"_id": ObjectId()}, {"$set": {"last_modified_at": None}})


def _met(path: str, other: str) -> bool:
    """Whether one path leads to or through the other."""
    return f"{path}.".startswith(f"{other}.") or other.startswith(f"{path}.")
