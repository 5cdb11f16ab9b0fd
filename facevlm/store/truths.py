"""Ground truth from outside, written as fields of samples: labels as Classifications, ages and the like as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from facevlm.datasets.joining import Column
from facevlm.errors import FieldError
from facevlm.store import columns, database, predictions, targets, updates
from facevlm.store.schema import LABEL, OUTCOME
from facevlm.store.targets import Collection


def pictures(target: Collection) -> dict[str, str]:
    """The path of the file of every sample, by its id, as the dataset knows it."""
    ids = columns.read(target, ["id"])["id"]
    return dict(zip(ids, (path for (path,) in columns.known(target, ["filepath"])), strict=True))


def check(target: Collection, fields: Mapping[str, Column], overwrite: bool) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a field that would lose something, or cannot hold the values."""
    dataset = target._dataset
    for name, column in fields.items():
        predictions.check_name("the field ", name, "gender")
        found = dataset.get_field(name)
        if found is None:
            continue
        fits = isinstance(found, fo.FloatField) if column.numbers else targets.holds(found, fo.Classification)
        if not fits or targets.holds_answers(target, name, OUTCOME):
            what = "answers of a model" if targets.holds_answers(target, name, OUTCOME) else f"a {type(found).__name__}"
            need = "numbers" if column.numbers else "labels"
            raise FieldError(
                f"Field '{name}' is there and holds {what}; the table has {need} for it. Map to another one."
            )
        lost = {} if overwrite else _lost(target, name, column)
        if lost:
            value = next(iter(lost.values()))
            raise FieldError(
                f"Field '{name}' holds other values than the table for {len(lost):,} samples, such as '{value}'. They "
                "stay. Map the column to another field, or write over them with overwrite=True."
            )
    updates.require_writable(dataset, list(fields))


def _lost(target: Collection, name: str, column: Column) -> dict[str, object]:
    """Values that are there and are others than those of the table."""
    there, wanted = _held(target, name, column), column.values
    return {one: value for one, value in there.items() if value is not None and value != wanted[one]}


def write(target: Collection, fields: Mapping[str, Column]) -> None:
    """Write the values, of which :func:`check` found that nothing is lost by them; other samples stay as they are."""
    dataset = target._dataset
    with database.translated():
        for name, column in fields.items():
            kind = {"ftype": fo.FloatField} if column.numbers else _labels()
            if dataset.get_field(name) is None:
                dataset.add_sample_field(name, **kind)
            values = {k: v if column.numbers else fo.Classification(label=v) for k, v in _new(target, name, column)}
            if values:
                dataset.set_values(name, values, key_field="id")


def _labels() -> dict[str, object]:
    return {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Classification}


def _new(target: Collection, name: str, column: Column) -> list[tuple[str, str | float]]:
    """What the field does not hold yet: labels that say the same stay as they are, with all that hangs on them."""
    there = _held(target, name, column)
    return [(one, value) for one, value in column.values.items() if there.get(one) != value]


def _held(target: Collection, name: str, column: Column) -> dict[str, Any]:
    """What the dataset holds in a field for the samples of the table, by their ids: a view may hide labels, or show
    others in their place."""
    part = name if column.numbers else f"{name}.{LABEL}"
    named = targets.with_ids(target._dataset, column.values)
    ids, held = columns.read(named, ["id", part]).values()
    return dict(zip(ids, held, strict=True))
