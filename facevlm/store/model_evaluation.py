"""Results back to where the App shows them: evaluations for the Model Evaluation panel, and views of the errors.

Every attribute becomes a FiftyOne evaluation with our figures as custom metrics, and a saved view of its errors, the
most confident first. The panel compares fields as they are. Where ground truth is spelled or grouped otherwise than
the predictions, the mapped labels are therefore written to a field ``<field>_as_<attribute>``. Attributes on faces get
a field ``<key>_<attribute>_faces``: the ground truth's boxes with the true label, what was said, and how surely.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.evaluation import EvaluationMethod
from fiftyone.utils.eval import base as eval_base
from fiftyone.utils.eval.classification import ClassificationResults, SimpleEvaluationConfig

from facevlm.evaluation import figures
from facevlm.evaluation.evaluate import AttributeEvaluation
from facevlm.evaluation.readings import Reading
from facevlm.store import columns, predictions
from facevlm.store.evaluations import MAPPED
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import (
    BOUNDING_BOX,
    CONFIDENCE,
    COVERAGE,
    DETECTIONS,
    FACE,
    JUDGED_FACE,
    LABEL,
    LOGITS,
    OUTCOME,
    PREDICTED,
    REASON,
)
from facevlm.store.targets import Collection, document_of
from facevlm.types import Attribute

PLUGIN = "@facevlm/face-attributes"


@dataclass(frozen=True)
class JudgedFields:
    """Where the App finds an attribute: paths of the true label and of what was said on the common label set.

    ``predicted`` is the document with outcome, coverage and logits, ``sure`` the path of the confidence of what was
    said, and ``faces`` the field of judged faces, None for whole pictures.
    """

    truth: str
    said: str
    sure: str
    predicted: str
    faces: str | None = None


def save(
    rows: PictureRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> tuple[dict[str, dict[str, str | None]], dict[str, str]]:
    """Store all results as FiftyOne evaluations; returns the fields and the saved views of errors by attribute."""
    keep_custom_metrics()
    dataset = rows.target._dataset
    for attribute, _, _ in judged:
        _forget(rows, f"{eval_key}_{attribute.name}")
    fields = _on_faces(rows, eval_key, judged) if isinstance(rows, FaceRows) else _on_pictures(rows, eval_key, judged)
    views = {}
    for attribute, reading, _ in judged:
        name = f"{eval_key}_{attribute.name}_errors"
        what = f"Errors of {reading.field}, the most confident first"
        dataset.save_view(name, _errors(rows, fields[attribute.name]), description=what, overwrite=True)
        views[attribute.name] = name
    return {name: asdict(found) for name, found in fields.items()}, views


def _forget(rows: PictureRows, key: str) -> None:
    """Delete an evaluation of the same key. Its field is cleared only where not all of it is written anew."""
    dataset = rows.target._dataset
    if dataset.has_evaluation(key):
        whole = not isinstance(rows, FaceRows) and len(rows.ids()) == len(dataset)
        EvaluationMethod.delete_run(dataset, key, cleanup=not whole)


def judged_faces(target: Collection, fields: JudgedFields) -> Collection:
    """The samples, or the patches of faces, that have ground truth and an outcome."""
    places = target if fields.faces is None else target.to_patches(fields.faces)
    return places.match((F(fields.truth) != None) & (F(f"{fields.predicted}.{OUTCOME}") != None))  # noqa: E711


def _errors(rows: PictureRows, fields: JudgedFields) -> Collection:
    wrong = judged_faces(rows.target, fields).match(F(fields.said) != F(fields.truth))
    return wrong.sort_by(fields.sure, reverse=True)


def _on_pictures(
    rows: PictureRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> dict[str, JudgedFields]:
    dataset, fields = rows.target._dataset, {}
    written: dict[str, Sequence[Any]] = {}
    for attribute, reading, _ in judged:
        truth = _truth_field(rows, reading, written)
        predicted = _predicted_field(rows, reading, written)
        fields[attribute.name] = JudgedFields(
            f"{truth}.label", f"{predicted}.label", f"{predicted}.confidence", reading.field
        )
        right: list[bool | None] = [None] * len(reading.labels)
        for k in reading.judged:
            right[k] = reading.labels[k] == reading.predicted[k]
        written[f"{eval_key}_{attribute.name}"] = right
    predictions.add(dataset, {f"{eval_key}_{a.name}": fo.BooleanField(null=True) for a, _, _ in judged})
    columns.write(dataset, rows.ids(), written)
    for attribute, reading, result in judged:
        _register(rows, f"{eval_key}_{attribute.name}", fields[attribute.name], reading, result)
    return fields


def _register(rows: PictureRows, key: str, fields: JudgedFields, reading: Reading, result: AttributeEvaluation) -> None:
    """What ``evaluate_classifications`` leaves behind, from the labels that are read already."""
    truth, predicted = (path.removesuffix(".label") for path in (fields.truth, fields.said))
    view, kept = judged_faces(rows.target, fields), reading.judged
    config = SimpleEvaluationConfig(predicted, truth)
    method = config.build()
    method.register_run(view, key)
    ids = [rows.values(f"{name}.id") for name in (truth, predicted)]
    results = ClassificationResults(
        view,
        config,
        key,
        [reading.labels[k] for k in kept],
        [reading.predicted[k] for k in kept],
        confs=[reading.confidence[k] for k in kept],
        ytrue_ids=[ids[0][k] for k in kept],
        ypred_ids=[ids[1][k] for k in kept],
        classes=[row.label for row in result.classes],
        backend=method,
        custom_metrics=_metrics(result),
    )
    method.save_run_results(view, key, results)
    method.add_fields_to_sidebar_group(view, key, omit_fields=(predicted, truth))


def _metrics(result: AttributeEvaluation) -> dict[str, dict[str, Any]]:
    """What FiftyOne's panel shows beside its own metrics; those that are not for this attribute are left out."""
    values = {figure: figure.value(result.overall.figures) for figure in figures.shown("fiftyone")}
    return {
        f"{PLUGIN}/{figure.key}": {
            "key": figure.key,
            "value": value,
            "label": figure.title[:1].upper() + figure.title[1:],
            "lower_is_better": figure.lower_is_better,
        }
        for figure, value in values.items()
        if value is not None
    }


def _truth_field(rows: PictureRows, reading: Reading, written: dict[str, Sequence[Any]]) -> str:
    """The field itself if it holds Classifications spelled as the common label set, else a mapped copy."""
    truth, common = reading.truth, reading.truth.alignment.common.name
    if document_of(rows.target.get_field(truth.field)) is not None and list(truth.values) == list(reading.labels):
        return truth.field
    name = _copy(rows, truth.field, common)
    written[name] = [columns.classification(label) for label in reading.labels]
    return name


def _predicted_field(rows: PictureRows, reading: Reading, written: dict[str, Sequence[Any]]) -> str:
    """The predictions themselves, or where labels become one a copy with their summed probability as confidence."""
    alignment = reading.truth.alignment
    if all(k == v for k, v in alignment.predicted.items()):
        return reading.field
    name = _copy(rows, reading.field, alignment.common.name)
    pairs = zip(reading.predicted, reading.confidence, strict=True)
    written[name] = [columns.classification(label, confidence=sure) for label, sure in pairs]
    return name


def _copy(rows: PictureRows, field_name: str, common: str) -> str:
    """Declare the field of a mapped copy."""
    name, dataset = f"{field_name}_as_{common}", rows.target._dataset
    if dataset.get_field(name) is None:
        what = f"{field_name}, brought onto the labels of {common}"
        dataset.add_sample_field(
            name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification, description=what, info={MAPPED: what}
        )
    return name


def _on_faces(
    rows: FaceRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> dict[str, JudgedFields]:
    dataset, written, fields = rows.target._dataset, {}, {}
    boxes, sample_ids = rows.values(f"{rows.faces}.{DETECTIONS}.{BOUNDING_BOX}"), rows.target.values("id")
    predicted = {attribute.name: _predicted_boxes(rows, reading) for attribute, reading, _ in judged}
    _declare_faces(dataset, rows.faces, eval_key, predicted)
    for attribute, reading, _ in judged:
        name = f"{eval_key}_{attribute.name}_faces"
        more = rows.answers(reading.field, COVERAGE, REASON)
        documents = [
            _judged_face(reading, k, box, face_id, coverage, reason)
            for k, (box, face_id, coverage, reason) in enumerate(zip(boxes, rows.face_ids, *more, strict=True))
        ]
        written[name] = rows.per_picture(documents)
        fields[attribute.name] = JudgedFields(
            f"{name}.{LABEL}", f"{name}.{PREDICTED}", f"{name}.{CONFIDENCE}", name, name
        )
    columns.write(dataset, sample_ids, {n: [_detections(d) for d in column] for n, column in written.items()})
    for attribute, _, result in judged:
        key, faces = f"{eval_key}_{attribute.name}", fields[attribute.name].faces
        native = rows.target.evaluate_detections(
            predicted[attribute.name],
            gt_field=faces,
            eval_key=key,
            classwise=False,
            classes=[row.label for row in result.classes],
            progress=False,
        )
        native.custom_metrics = _metrics(result)
        native.save()
    return fields


def _declare_faces(dataset: fo.Dataset, source: str, eval_key: str, predicted: Mapping[str, str]) -> None:
    """Fields of judged faces, and what ``evaluate_detections`` would add one by one; ``predicted`` has the boxes."""
    fields: dict[str, fo.Field] = {}
    for attribute, boxes in predicted.items():
        key = f"{eval_key}_{attribute}"
        name, what = f"{key}_faces", f"Faces of {source} with their perceived {attribute}, judged"
        fields |= {name: predictions.document(fo.Detections, what, {MAPPED: what})}
        fields |= predictions.parts_of(f"{name}.{DETECTIONS}", JUDGED_FACE)
        fields |= {f"{key}_{count}": fo.IntField(null=True) for count in ("tp", "fp", "fn")}
        match = {key: str, f"{key}_id": str, f"{key}_iou": float}
        for place in (name, boxes):
            fields |= predictions.parts_of(f"{place}.{DETECTIONS}", match)
    predictions.add(dataset, fields)


def _judged_face(
    reading: Reading, row: int, box: Sequence[float], face_id: str, coverage: float | None, reason: str | None
) -> fo.Detection:
    scores = None if reading.log_probs is None else reading.log_probs[row]
    parts = {
        LABEL: reading.labels[row],
        BOUNDING_BOX: list(box),
        CONFIDENCE: reading.confidence[row],
        PREDICTED: reading.predicted[row],
        OUTCOME: reading.outcomes[row],
        COVERAGE: coverage,
        REASON: reason,
        LOGITS: scores,
        FACE: face_id,
    }
    return fo.Detection(**parts)


def _detections(faces: Sequence[fo.Detection]) -> dict[str, Any]:
    found: dict[str, Any] = fo.Detections(detections=list(faces)).to_dict()
    return found


def _predicted_boxes(rows: FaceRows, reading: Reading) -> str:
    """The predictions themselves, or where labels become one a copy with the common labels."""
    mapped = reading.truth.alignment.predicted
    if all(k == v for k, v in mapped.items()):
        return reading.field
    name, dataset = f"{reading.field}_as_{reading.truth.alignment.common.name}", rows.target._dataset
    labels = {k: v for k, v in mapped.items() if k != v}
    if dataset.get_field(name) is not None:
        dataset.delete_sample_field(name)
    dataset.clone_sample_field(reading.field, name)
    changed = rows.target.map_labels(name, labels)
    changed.save(name)
    return name


def keep_custom_metrics() -> None:
    """Let custom metrics of multi-class results survive a reload, which FiftyOne 1.22 drops.

    ``BaseClassificationResults._from_dict`` does not hand ``custom_metrics`` on. The wrapper puts them back and does
    nothing where FiftyOne does it itself.
    """
    original = eval_base.BaseClassificationResults.__dict__["_from_dict"].__func__
    if getattr(original, "_facevlm", False):
        return

    @functools.wraps(original)
    def restored(cls: Any, d: Any, *args: Any, **kwargs: Any) -> Any:
        results = original(cls, d, *args, **kwargs)
        if results.custom_metrics is None:
            results.custom_metrics = d.get("custom_metrics")
        return results

    restored._facevlm = True  # type: ignore[attr-defined]
    eval_base.BaseClassificationResults._from_dict = classmethod(restored)
