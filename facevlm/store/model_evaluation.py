"""Results back to where the App shows them: evaluations for the Model Evaluation panel, and views of the errors.

Every attribute becomes a FiftyOne evaluation with our figures as custom metrics, and a saved view of its errors, the
most confident first. The panel compares fields as they are. Where ground truth is spelled or grouped otherwise than
the predictions, the mapped labels are therefore written to a field ``<field>_as_<attribute>``. Attributes on faces get
a field ``<key>_<attribute>_faces``: the ground truth's boxes with the true label, what was said, and how surely.
A tile shows labels and nothing else of them: so a field ``<key>_<attribute>_told`` has labels such as
``Male -> Female 93 %``, on pictures or on boxes, and the views of faces are made of it.
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

from facevlm.errors import FieldError
from facevlm.evaluation import figures
from facevlm.evaluation.evaluate import AttributeEvaluation
from facevlm.evaluation.readings import Reading
from facevlm.store import appearance, columns, predictions, provenance, results, runs, views
from facevlm.store.evaluations import MAPPED
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import (
    BOUNDING_BOX,
    CONFIDENCE,
    COVERAGE,
    DETECTIONS,
    FACE,
    JUDGED_FACE,
    JUDGEMENT,
    LABEL,
    LOGITS,
    OUTCOME,
    PREDICTED,
    REASON,
    RUN,
    TOLD,
    TOLD_FACE,
    TRUTH,
    WRITTEN,
)
from facevlm.store.targets import Collection, document_of, holds_answers
from facevlm.store.updates import require_writable
from facevlm.types import Attribute

PLUGIN = "@facevlm/face-attributes"
FACES_ENDING, TOLD_ENDING = OWN = ("_faces", "_told")
"""Endings of the fields of judged faces, and of those whose labels tell truth and answer in one."""
ABOUT_TOLD = "Ground truth and answer in one, as a tile shows them"
RIGHT, WRONG, NO_ANSWER = JUDGEMENTS = ("right", "wrong", "no answer")


@dataclass(frozen=True)
class JudgedFields:
    """Where the App finds an attribute: paths of the true label and of what was said on the common label set.

    ``predicted`` is the document with outcome, coverage and logits, ``sure`` the path of the confidence of what was
    said, and ``faces`` the field of judged faces, None for whole pictures. ``run`` is the stamp of the answers that
    count, where others are in the same documents. ``told`` is the field whose labels tell truth and answer in one,
    None in evaluations of earlier versions.
    """

    truth: str
    said: str
    sure: str
    predicted: str
    faces: str | None = None
    run: str | None = None
    told: str | None = None


def save(
    rows: PictureRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> tuple[dict[str, dict[str, str | None]], dict[str, str]]:
    """Store all results as FiftyOne evaluations; returns the fields and the saved views of errors by attribute."""
    keep_custom_metrics()
    dataset = rows.target._dataset
    _check_names(rows, eval_key, judged)
    fields = _on_faces(rows, eval_key, judged) if isinstance(rows, FaceRows) else _on_pictures(rows, eval_key, judged)
    saved = {}
    for attribute, reading, _ in judged:
        name = f"{eval_key}_{attribute.name}_errors"
        what = f"Errors of {reading.field}, the most confident first"
        errors = _errors(rows, fields[attribute.name])
        if not isinstance(rows, FaceRows) and (stamp := _stamp(rows, reading)):
            # A part that another model is asked about later is not among these errors.
            errors = errors.match(F(f"{reading.field}.{RUN}") == stamp)
        saved[attribute.name] = views.keep(dataset, name, errors, what)
    told = [found.told for found in fields.values() if found.told is not None]
    # One attribute at a time: chips of all of them cover a face.
    appearance.tick(dataset, told[:1])
    appearance.paint(dataset, _colours(fields, judged))
    return {name: asdict(found) for name, found in fields.items()}, saved


def _colours(
    fields: Mapping[str, JudgedFields], judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> list[dict[str, Any]]:
    """Colours that tell right from wrong, and ground truth from answers."""
    colours: list[dict[str, Any]] = []
    of_judgement = dict(zip(JUDGEMENTS, (appearance.RIGHT, appearance.WRONG, appearance.NONE), strict=True))
    for attribute, _, evaluation in judged:
        found, labels = fields[attribute.name], [row.label for row in evaluation.classes]
        if found.faces is None:
            places = ((found.truth, appearance.TRUTH), (found.said, appearance.PREDICTED))
            colours += [appearance.in_one(path.rpartition(".")[0], colour, labels) for path, colour in places]
        if found.told is not None:
            colours.append(appearance.by_attribute(found.told, JUDGEMENT, of_judgement, appearance.PREDICTED))
    return colours


def _stamp(rows: PictureRows, reading: Reading) -> str | None:
    """The stamp of the answers that were judged."""
    held = [] if reading.run else provenance.runs_in(rows.target, reading.field)
    return reading.run or next((by.run for by in held), None)


def check(rows: PictureRows, eval_key: str, fields: Mapping[str, str]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where what :func:`save` writes is read-only.

    ``fields`` maps attributes to the fields of their predictions.
    """
    dataset = rows.target._dataset
    places = [f"{eval_key}_{attribute}" for attribute in fields]
    if isinstance(rows, FaceRows):
        judged = [f"{place}{ending}" for place in places for ending in (*OWN, "_tp", "_fp", "_fn")]
        # FiftyOne notes there which boxes it matched.
        require_writable(dataset, [*judged, *fields.values()])
    else:
        require_writable(dataset, [*places, *(f"{place}{TOLD_ENDING}" for place in places)])


def of_the_run(target: Collection, fields: JudgedFields) -> Collection:
    """Of a target what the judged run answered, where other runs answered about the rest."""
    return target if fields.run is None else target.match(F(f"{fields.predicted}.{RUN}") == fields.run)


def judged_faces(target: Collection, fields: JudgedFields) -> Collection:
    """The samples, or the patches of faces, that have ground truth and an outcome."""
    places = of_the_run(target, fields) if fields.faces is None else target.to_patches(fields.faces)
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
            f"{truth}.label",
            f"{predicted}.label",
            f"{predicted}.confidence",
            reading.field,
            run=reading.run,
            told=f"{eval_key}_{attribute.name}{TOLD_ENDING}",
        )
        right: list[bool | None] = [None] * len(reading.labels)
        for k in reading.judged:
            right[k] = reading.labels[k] == reading.predicted[k]
        written[f"{eval_key}_{attribute.name}"] = right
        written[f"{eval_key}_{attribute.name}{TOLD_ENDING}"] = _told_pictures(reading)
    judgements = [f"{eval_key}_{attribute.name}" for attribute, _, _ in judged]
    told = [f"{name}{TOLD_ENDING}" for name in judgements]
    wanted: dict[str, fo.Field] = {name: fo.BooleanField(null=True, info={WRITTEN: eval_key}) for name in judgements}
    for name in told:
        wanted |= {name: predictions.document(fo.Classification, ABOUT_TOLD, {MAPPED: ABOUT_TOLD})}
        wanted |= predictions.parts_of(name, TOLD)
    predictions.add(dataset, wanted)
    for _, reading, _ in judged:
        if (copied := _copied(reading)) in written:
            provenance.take_over(dataset, copied, rows.ids(), str(_stamp(rows, reading)))
    columns.write(dataset, rows.ids(), written)
    columns.clear_others(dataset, rows.ids(), [*judgements, *told])
    # What is not read yet, in one pass.
    rows.load(f"{path.removesuffix('.label')}.id" for found in fields.values() for path in (found.truth, found.said))
    for attribute, reading, result in judged:
        _register(rows, f"{eval_key}_{attribute.name}", fields[attribute.name], reading, result)
    return fields


def _register(rows: PictureRows, key: str, fields: JudgedFields, reading: Reading, result: AttributeEvaluation) -> None:
    """What ``evaluate_classifications`` leaves behind, from the labels that are read already."""
    truth, predicted = (path.removesuffix(".label") for path in (fields.truth, fields.said))
    view, kept = judged_faces(rows.target, fields), reading.judged
    config = SimpleEvaluationConfig(predicted, truth)
    method = config.build()
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
    runs.replace(rows.target._dataset, EvaluationMethod, key, results)
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


def _copied(reading: Reading) -> str:
    """The field of predictions that are brought onto the common labels."""
    return f"{reading.field}_as_{reading.truth.alignment.common.name}"


def _copy(rows: PictureRows, field_name: str, common: str) -> str:
    """Declare the field of a mapped copy."""
    name, dataset = f"{field_name}_as_{common}", rows.target._dataset
    what = f"{field_name}, brought onto the labels of {common}"
    predictions.add(dataset, {name: predictions.document(fo.Classification, what, {MAPPED: what})})
    return name


def _check_names(
    rows: PictureRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a field or an evaluation of the user's in the place of ours."""
    dataset = rows.target._dataset
    if eval_key in results.eval_keys(dataset):
        return
    for attribute, reading, _ in judged:
        key, common = f"{eval_key}_{attribute.name}", reading.truth.alignment.common.name
        own = [key, *(f"{key}{ending}" for ending in OWN)]
        copies = [f"{field}_as_{common}" for field in (reading.truth.field, reading.field)]
        strange = [f"Field '{name}'" for name in (*own, *copies) if _is_strange(dataset, name)]
        # One that was killed has left its fields, which say whose they are, and no figures yet.
        if dataset.has_evaluation(key) and not any(dataset.get_field(name) for name in own):
            strange.append(f"Evaluation '{key}'")
        if strange:
            raise FieldError(
                f"{strange[0]} is already there and was not written by facevlm. Rename it, or choose another "
                "eval_key; yours is left as it is."
            )


def _is_strange(dataset: fo.Dataset, name: str) -> bool:
    field = dataset.get_field(name)
    says = field is not None and {WRITTEN, MAPPED} & set(field.info or {})
    return field is not None and not says and not holds_answers(dataset, name, f"{DETECTIONS}.{OUTCOME}")


def _on_faces(
    rows: FaceRows, eval_key: str, judged: Sequence[tuple[Attribute, Reading, AttributeEvaluation]]
) -> dict[str, JudgedFields]:
    dataset, written, fields = rows.target._dataset, {}, {}
    boxes, sample_ids = rows.values(f"{rows.faces}.{DETECTIONS}.{BOUNDING_BOX}"), rows.target.values("id")
    predicted = {attribute.name: _predicted_boxes(rows, reading) for attribute, reading, _ in judged}
    _declare_faces(dataset, rows.faces, eval_key, predicted)
    for attribute, reading, _ in judged:
        name, told = (f"{eval_key}_{attribute.name}{ending}" for ending in OWN)
        more = rows.answers(reading.field, COVERAGE, REASON)
        judged_parts = [
            _judged_face(reading, k, box, face_id, coverage, reason)
            for k, (box, face_id, coverage, reason) in enumerate(zip(boxes, rows.face_ids, *more, strict=True))
        ]
        told_parts = [parts | _told(reading, k) for k, parts in enumerate(judged_parts)]
        for field, faces in ((name, judged_parts), (told, told_parts)):
            written[field] = rows.per_picture([fo.Detection(**parts) for parts in faces])
        fields[attribute.name] = JudgedFields(
            f"{told}.{TRUTH}", f"{told}.{PREDICTED}", f"{told}.{CONFIDENCE}", told, told, told=told
        )
    columns.write(dataset, sample_ids, {n: [_detections(d) for d in column] for n, column in written.items()})
    columns.clear_others(dataset, sample_ids, list(written))
    for attribute, _, result in judged:
        key = f"{eval_key}_{attribute.name}"
        if dataset.has_evaluation(key):
            EvaluationMethod.delete_run(dataset, key, cleanup=True)
        native = rows.target.evaluate_detections(
            predicted[attribute.name],
            gt_field=f"{key}{FACES_ENDING}",
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
        name, what = f"{key}{FACES_ENDING}", f"Faces of {source} with their perceived {attribute}, judged"
        for ending, parts in ((FACES_ENDING, JUDGED_FACE), (TOLD_ENDING, TOLD_FACE)):
            fields |= {f"{key}{ending}": predictions.document(fo.Detections, what, {MAPPED: what})}
            fields |= predictions.parts_of(f"{key}{ending}.{DETECTIONS}", parts)
        fields |= {f"{key}_{count}": fo.IntField(null=True) for count in ("tp", "fp", "fn")}
        match = {key: str, f"{key}_id": str, f"{key}_iou": float}
        for place in (name, boxes):
            fields |= predictions.parts_of(f"{place}.{DETECTIONS}", match)
    predictions.add(dataset, fields)


def _judged_face(
    reading: Reading, row: int, box: Sequence[float], face_id: str, coverage: float | None, reason: str | None
) -> dict[str, Any]:
    scores = None if reading.log_probs is None else reading.log_probs[row]
    return {
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


def _told(reading: Reading, row: int) -> dict[str, Any]:
    """Truth and answer of a face in one label."""
    truth, said = reading.labels[row], reading.predicted[row]
    text = columns.told(truth, said, reading.confidence[row], reading.outcomes[row])
    return {LABEL: text, TRUTH: truth, JUDGEMENT: _judgement(truth, said)}


def _told_pictures(reading: Reading) -> list[dict[str, Any] | None]:
    """Truth and answer of every picture in one label; None where there is no answer to tell of."""
    ids = columns.fresh_ids(len(reading.labels))
    rows = zip(reading.labels, reading.predicted, reading.confidence, reading.outcomes, ids, strict=True)
    return [
        None
        if outcome is None
        else columns.classification(
            columns.told(truth, said, sure, outcome), label_id, **{TRUTH: truth, JUDGEMENT: _judgement(truth, said)}
        )
        for truth, said, sure, outcome, label_id in rows
    ]


def _judgement(truth: str | None, said: str | None) -> str | None:
    """One of ``JUDGEMENTS``; None where there is no ground truth."""
    if truth is None:
        return None
    return NO_ANSWER if said is None else RIGHT if said == truth else WRONG


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
