"""Predictions as label fields: declared first, written by id in chunks, resumed by what is already there.

A field ``<prefix>_<attribute>`` holds ``fo.Classification`` with label, confidence, logits (natural-log
probabilities over the labels in their order), and the parts that :data:`facevlm.store.schema.ANSWER` names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import fiftyone as fo

from facevlm.errors import FieldError
from facevlm.store import documents
from facevlm.store.schema import ANSWER, ANSWERS, BOXES, DETECTIONS, OUTCOME, RUN, WRITTEN, Parts, Vector
from facevlm.store.targets import Collection, holds, require_classification
from facevlm.store.updates import Updates, require_writable
from facevlm.types import Prediction

FIELDS: Mapping[type[Any], type[fo.Field]] = {
    str: fo.StringField,
    float: fo.FloatField,
    int: fo.IntField,
    bool: fo.BooleanField,
    list: fo.ListField,
    datetime: fo.DateTimeField,
    Vector: fo.VectorField,
}
"""Type of a part's values -> the field that holds them."""


class Write(Protocol):
    """Writes a chunk of predictions; ``gone`` are the ids of pictures that were deleted meanwhile."""

    gone: set[str]

    def __call__(self, predictions: Sequence[Prediction], /) -> None: ...


def field_name(prefix: str, attribute: str) -> str:
    """The field that holds an attribute's predictions.

    Raises :class:`~facevlm.errors.FieldError` for a prefix that makes no field name.
    """
    check_name("the field prefix ", prefix, "demo")
    return f"{prefix}_{attribute}"


def check_prefix(dataset: fo.Dataset, prefix: str, fields: Mapping[str, str]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a prefix that is a field itself, such as that of ground truth, or
    an attribute that is asked about: what is predicted could not be told from what is known.

    ``fields`` are those of predictions by attribute; where they are there already it has been so before, and stays.
    """
    schema = dataset.get_field_schema()
    if (prefix in schema or prefix in fields) and not any(name in schema for name in fields.values()):
        what = "is a field of the dataset" if prefix in schema else "is the name of an attribute"
        raise FieldError(
            f"Got the field prefix '{prefix}', which {what}, expected a name of its own for the model's answers, "
            "such as 'demo'."
        )


def check_name(what: str, name: str, example: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for what cannot be the beginning of a field's name."""
    if not name.isidentifier() or name.startswith("_"):
        raise FieldError(
            f"Got {what}'{name}', expected letters, digits and underscores, not starting with a digit or underscore, "
            f"such as '{example}'."
        )


def check_fields(target: Collection, fields: Sequence[str], kind: type[fo.Label] = fo.Classification) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field is there that facevlm did not write as this kind."""
    schema = target._dataset.get_field_schema()
    for name in fields:
        if name in schema and not _is_ours(target, name, kind):
            raise FieldError(
                f"Field '{name}' is already there and {_got(target, name, kind)}. Choose another field prefix; your "
                "field is left as it is."
            )
    require_writable(target._dataset, fields)


def _got(target: Collection, name: str, kind: type[fo.Label]) -> str:
    """What a field is that is not ours of this kind."""
    if (target._dataset.get_field(name).info or {}).get(WRITTEN) == BOXES:
        return "holds the faces that a detector found"
    other = next((title for k, title in ABOUT.items() if k is not kind and _is_ours(target, name, k)), None)
    return f"holds predictions about {other}" if other else "was not written by facevlm"


ABOUT = {fo.Classification: "whole pictures", fo.Detections: "faces"}


def _is_ours(target: Collection, name: str, kind: type[fo.Label]) -> bool:
    field = target._dataset.get_field(name)
    parts = [f"{root_of(name, kind)}.{part}" for part in (OUTCOME, RUN)]
    return holds(field, kind) and is_written_here(target._dataset, field, parts, ANSWERS)


def is_written_here(dataset: fo.Dataset, field: fo.Field, parts: Sequence[str], what: str) -> bool:
    """Whether facevlm declared a field for ``what``: it says so itself, or all of these parts are there, as in earlier
    ones, and it says nothing else.

    FiftyOne saves a field and what is in it one after the other. A process that is killed between the two leaves a
    field without its parts, which the next run adds.
    """
    said = (field.info or {}).get(WRITTEN)
    if said in (ANSWERS, BOXES):
        return bool(said == what)
    return said is not None or all(dataset.get_field(part) is not None for part in parts)


def root_of(name: str, kind: type[fo.Label]) -> str:
    """Where a field of this kind keeps what is said about one face."""
    return f"{name}.{DETECTIONS}" if issubclass(kind, fo.Detections) else name


def is_predicted(target: Collection, name: str) -> bool:
    """Whether a field holds predictions that facevlm wrote, on pictures or on faces."""
    return any(target.get_field(f"{name}.{part}") is not None for part in (OUTCOME, f"{DETECTIONS}.{OUTCOME}"))


def require(target: Collection, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` unless the field holds predictions, on pictures or on faces."""
    if not holds(target.get_field(name), fo.Detections):
        require_classification(target, name)


def declare(
    dataset: fo.Dataset,
    fields: Mapping[str, str],
    stamps: Mapping[str, str],
    kind: type[fo.Label] = fo.Classification,
    parts: Parts = ANSWER,
) -> None:
    """Add the fields and their attributes to the dataset, so that the App's sidebar offers them.

    ``fields`` maps attributes to field names, ``stamps`` attributes to the run stamp that labels carry; ``parts``
    are what labels carry beside what FiftyOne's do.
    """
    add(dataset, wanted(fields, stamps, kind, parts))


def wanted(
    fields: Mapping[str, str], stamps: Mapping[str, str], kind: type[fo.Label], parts: Parts
) -> dict[str, fo.Field]:
    """What :func:`declare` adds, by path."""
    added: dict[str, fo.Field] = {}
    for attribute, name in fields.items():
        what = f"Perceived {attribute}, predicted by a model; run {stamps[attribute]}"
        added |= {name: document(kind, what, {WRITTEN: ANSWERS})} | parts_of(root_of(name, kind), parts)
    return added


def document(
    kind: type[fo.DynamicEmbeddedDocument], description: str, info: Mapping[str, Any] | None = None
) -> fo.Field:
    """A field of labels or other documents, to be added by :func:`add`; it says by itself that it is ours."""
    said = {WRITTEN: description, **(info or {})}
    return fo.EmbeddedDocumentField(kind, description=description, info=said, null=True)


def parts_of(root: str, parts: Parts) -> dict[str, fo.Field]:
    """Fields by path for parts of the documents at a path, to be added by :func:`add`."""
    return {f"{root}.{part}": FIELDS[kind](null=True) for part, kind in parts.items()}


def add(dataset: fo.Dataset, fields: Mapping[str, fo.Field]) -> None:
    """Add those fields that are not there yet, by path.

    All at once: each change of the schema reads and saves the whole of it, for a tenth of a second or more.
    """
    missing = {path: field for path, field in fields.items() if dataset.get_field(path) is None}
    if missing:
        dataset.add_dynamic_sample_fields(missing)


def outcome_counts(
    target: Collection, fields: Mapping[str, str], kind: type[fo.Label] = fo.Classification
) -> dict[str, dict[str, int]]:
    """Faces per outcome and attribute, as the dataset holds them now."""
    schema = target._dataset.get_field_schema()
    return {a: counts(target, root_of(name, kind)) for a, name in fields.items() if name in schema}


def counts(target: Collection, root: str) -> dict[str, int]:
    """Documents at a path per outcome, as the dataset holds them now; none before the field is declared."""
    if target._dataset.get_field(f"{root}.{OUTCOME}") is None:
        return {}
    return {outcome: n for outcome, n in target.count_values(f"{root}.{OUTCOME}").items() if outcome is not None}


def to_label(prediction: Prediction, stamp: str | None = None) -> fo.Classification:
    """A prediction as FiftyOne's label; ``stamp`` ties it to the record of a run."""
    return fo.Classification(**documents.answer(prediction, stamp))


def to_detection(prediction: Prediction, stamp: str | None = None) -> fo.Detection:
    """A prediction about one face of a picture, tied by its id to the Detection that was asked about, if any."""
    return fo.Detection(**documents.face_answer(prediction, stamp))


class PredictionWriter:
    """Writes chunks of predictions about whole pictures to the fields of a dataset; ``gone`` are those deleted."""

    def __init__(self, dataset: fo.Dataset, fields: Mapping[str, str], stamps: Mapping[str, str]) -> None:
        self._fields, self._stamps = fields, stamps
        self._updates = Updates(dataset, list(fields.values()))
        self.gone = self._updates.gone

    def __call__(self, predictions: Sequence[Prediction]) -> None:
        labels: dict[str, dict[str, fo.Classification]] = defaultdict(dict)
        for prediction in predictions:
            label = to_label(prediction, self._stamps[prediction.attribute])
            labels[prediction.face.sample_id][self._fields[prediction.attribute]] = label
        self._updates.set(labels)
