"""Predictions as label fields: declared first, written by id in chunks, resumed by what is already there.

A field ``<prefix>_<attribute>`` holds ``fo.Classification`` with label, confidence, logits (natural-log
probabilities over the labels in their order), and ``outcome``, ``reason``, ``coverage``, ``text``, ``run``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fiftyone as fo
import numpy as np

from facevlm.errors import FieldError
from facevlm.store.targets import Collection, document_of, require_classification
from facevlm.types import Face, Prediction

EXTRA = {
    "outcome": fo.StringField,
    "reason": fo.StringField,
    "coverage": fo.FloatField,
    "text": fo.StringField,
    "run": fo.StringField,
}
ON_FACE = EXTRA | {"face": fo.StringField, "logits": fo.VectorField, "small": fo.BooleanField}
"""The same of Detections, which stand for faces: ``face`` is the id of the Detection that was asked about, ``small``
whether its shorter side is below ``SMALL_PX``."""
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
            other = next((said for k, said in ABOUT.items() if k is not kind and _is_ours(target, name, k)), None)
            got = f"holds predictions about {other}" if other else "was not written by facevlm"
            raise FieldError(
                f"Field '{name}' is already there and {got}. Choose another field prefix; your field is left as it is."
            )


ABOUT = {fo.Classification: "whole pictures", fo.Detections: "faces"}


def _is_ours(target: Collection, name: str, kind: type[fo.Label]) -> bool:
    document = document_of(target._dataset.get_field(name))
    if document is None or not issubclass(document, kind):
        return False
    root = root_of(name, kind)
    return all(target._dataset.get_field(f"{root}.{part}") is not None for part in ("outcome", "run"))


def root_of(name: str, kind: type[fo.Label]) -> str:
    """Where a field of this kind keeps what is said about one face."""
    return f"{name}.detections" if issubclass(kind, fo.Detections) else name


def is_predicted(target: Collection, name: str) -> bool:
    """Whether a field holds predictions that facevlm wrote, on pictures or on faces."""
    return any(target.get_field(f"{name}.{part}") is not None for part in ("outcome", "detections.outcome"))


def require(target: Collection, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` unless the field holds predictions, on pictures or on faces."""
    document = document_of(target.get_field(name))
    if document is None or not issubclass(document, fo.Detections):
        require_classification(target, name)


def declare(
    dataset: fo.Dataset,
    fields: Mapping[str, str],
    stamps: Mapping[str, str],
    kind: type[fo.Label] = fo.Classification,
    extra: Mapping[str, type[fo.Field]] = EXTRA,
) -> None:
    """Add the fields and their attributes to the dataset, so that the App's sidebar offers them.

    ``fields`` maps attributes to field names, ``stamps`` attributes to the run stamp that labels carry; ``extra`` is
    what labels carry beside what FiftyOne's do.
    """
    add(dataset, wanted(fields, stamps, kind, extra))


def wanted(
    fields: Mapping[str, str], stamps: Mapping[str, str], kind: type[fo.Label], extra: Mapping[str, type[fo.Field]]
) -> dict[str, fo.Field]:
    """What :func:`declare` adds, by path."""
    found: dict[str, fo.Field] = {}
    for attribute, name in fields.items():
        said = f"Perceived {attribute}, predicted by a model; run {stamps[attribute]}"
        found |= {name: document(kind, said)} | parts_of(root_of(name, kind), extra)
    return found


def document(kind: type[fo.DynamicEmbeddedDocument], said: str, info: Mapping[str, Any] | None = None) -> fo.Field:
    """A field of labels or other documents, to be added by :func:`add`."""
    return fo.EmbeddedDocumentField(kind, description=said, info=info, null=True)


def parts_of(root: str, parts: Mapping[str, type[fo.Field]]) -> dict[str, fo.Field]:
    """Fields by path for attributes of the documents at a path, to be added by :func:`add`."""
    return {f"{root}.{part}": kind(null=True) for part, kind in parts.items()}


def add(dataset: fo.Dataset, fields: Mapping[str, fo.Field]) -> None:
    """Add those fields that are not there yet, by path.

    All at once: each change of the schema reads and saves the whole of it, for a tenth of a second or more.
    """
    missing = {path: field for path, field in fields.items() if dataset.get_field(path) is None}
    if missing:
        dataset.add_dynamic_sample_fields(missing)


State = tuple[str | None, str | None]
"""Outcome and run stamp of what is stored about one face; None where nothing is."""


def lacking(
    faces: Sequence[Face], states: Mapping[str, Sequence[State]], stamps: Mapping[str, str]
) -> dict[tuple[str, ...], list[Face]]:
    """What is still to ask: attributes -> the faces that lack an ``ok`` answer of this run to just these.

    ``states`` has what is stored of every attribute, a state per face.
    """
    groups: dict[tuple[str, ...], list[Face]] = defaultdict(list)
    for face, *row in zip(faces, *states.values(), strict=True):
        missing = tuple(a for a, state in zip(states, row, strict=True) if state != ("ok", stamps[a]))
        if missing:
            groups[missing].append(face)
    return dict(groups)


def outcome_counts(
    target: Collection, fields: Mapping[str, str], kind: type[fo.Label] = fo.Classification
) -> dict[str, dict[str, int]]:
    """Faces per outcome and attribute, as the dataset holds them now."""
    found = target._dataset.get_field_schema()
    return {
        attribute: {o: n for o, n in target.count_values(f"{root_of(name, kind)}.outcome").items() if o is not None}
        for attribute, name in fields.items()
        if name in found
    }


def to_label(prediction: Prediction, stamp: str | None = None) -> fo.Classification:
    """A prediction as FiftyOne's label; ``stamp`` ties it to the record of a run."""
    return fo.Classification(**_parts(prediction, stamp))


def to_detection(prediction: Prediction, stamp: str | None = None) -> fo.Detection:
    """A prediction about one face of a picture, tied by ``face`` to the Detection that was asked about, if any."""
    face, parts = prediction.face, _parts(prediction, stamp)
    # Detections have no logits of FiftyOne's own: an array is stored as those of Classifications are.
    parts["logits"] = None if prediction.log_probs is None else np.array(prediction.log_probs)
    return fo.Detection(bounding_box=list(face.box_xywh_rel or ()), face=face.label_id, small=face.small, **parts)


def _parts(prediction: Prediction, stamp: str | None) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "logits": prediction.log_probs,
        "outcome": prediction.outcome,
        "reason": prediction.reason,
        "coverage": prediction.coverage,
        "text": prediction.text,
        "run": stamp,
    }


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
