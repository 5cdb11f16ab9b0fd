"""Predictions as label fields: declared first, written by id in chunks, resumed by what is already there.

A field ``<prefix>_<attribute>`` holds ``fo.Classification`` with label, confidence, logits (natural-log
probabilities over the labels in their order), and the parts that :data:`facevlm.store.schema.ANSWER` names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fiftyone as fo

from facevlm.errors import FieldError
from facevlm.store import documents
from facevlm.store.schema import ANSWER, DETECTIONS, OUTCOME, RUN, Parts, Vector
from facevlm.store.targets import Collection, holds, require_classification
from facevlm.types import Prediction

FIELDS: Mapping[type[Any], type[fo.Field]] = {
    str: fo.StringField,
    float: fo.FloatField,
    int: fo.IntField,
    bool: fo.BooleanField,
    list: fo.ListField,
    Vector: fo.VectorField,
}
"""Type of a part's values -> the field that holds them."""
Write = Callable[[Sequence[Prediction]], None]


def field_name(prefix: str, attribute: str) -> str:
    """The field that holds an attribute's predictions.

    Raises :class:`~facevlm.errors.FieldError` for a prefix that makes no field name.
    """
    if not prefix.isidentifier() or prefix.startswith("_"):
        raise FieldError(
            f"Got the field prefix '{prefix}', expected letters, digits and underscores, not starting with a digit "
            "or underscore, such as 'demo'."
        )
    return f"{prefix}_{attribute}"


def check_fields(target: Collection, fields: Sequence[str], kind: type[fo.Label] = fo.Classification) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field is there that facevlm did not write as this kind."""
    schema = target._dataset.get_field_schema()
    for name in fields:
        if name in schema and not _is_ours(target, name, kind):
            other = next((title for k, title in ABOUT.items() if k is not kind and _is_ours(target, name, k)), None)
            got = f"holds predictions about {other}" if other else "was not written by facevlm"
            raise FieldError(
                f"Field '{name}' is already there and {got}. Choose another field prefix; your field is left as it is."
            )


ABOUT = {fo.Classification: "whole pictures", fo.Detections: "faces"}


def _is_ours(target: Collection, name: str, kind: type[fo.Label]) -> bool:
    root = root_of(name, kind)
    return holds(target._dataset.get_field(name), kind) and all(
        target._dataset.get_field(f"{root}.{part}") is not None for part in (OUTCOME, RUN)
    )


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
        added |= {name: document(kind, what)} | parts_of(root_of(name, kind), parts)
    return added


def document(
    kind: type[fo.DynamicEmbeddedDocument], description: str, info: Mapping[str, Any] | None = None
) -> fo.Field:
    """A field of labels or other documents, to be added by :func:`add`."""
    return fo.EmbeddedDocumentField(kind, description=description, info=info, null=True)


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
    """Writes chunks of predictions about whole pictures to the fields of a dataset."""

    def __init__(self, dataset: fo.Dataset, fields: Mapping[str, str], stamps: Mapping[str, str]) -> None:
        self._dataset, self._fields, self._stamps = dataset, fields, stamps

    def __call__(self, predictions: Sequence[Prediction]) -> None:
        by_field: dict[str, dict[str, fo.Classification]] = defaultdict(dict)
        for prediction in predictions:
            label = to_label(prediction, self._stamps[prediction.attribute])
            by_field[self._fields[prediction.attribute]][prediction.face.sample_id] = label
        for name, labels in by_field.items():
            self._dataset.set_values(name, labels, key_field="id", validate=False, progress=False)
