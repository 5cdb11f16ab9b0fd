"""All that was ever answered about one face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np

from facevlm.faces.images import BOX
from facevlm.faces.matching import match_faces
from facevlm.store import runs
from facevlm.store.boxes import NOWHERE, place
from facevlm.store.model_evaluation import JudgedFields
from facevlm.store.schema import CONFIDENCE, COVERAGE, DETECTIONS, FACE, LABEL, LOGITS, OUTCOME, REASON, TEXT
from facevlm.store.targets import Collection, with_ids


@dataclass(frozen=True)
class StoredAnswer:
    """What one run answered about one face; ``shares`` are probabilities of ``labels``, empty without scores."""

    prefix: str
    attribute: str
    label: str | None
    outcome: str
    reason: str | None
    text: str | None
    confidence: float | None
    coverage: float | None
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Opened:
    """What is looked at: a picture, or where ``box`` is given the face in it, in shares of the picture.

    ``faces`` are ids by which answers and evaluations may know the face.
    """

    picture: fo.Sample
    box: BOX | None = None
    faces: tuple[str, ...] = ()


def opened(dataset: fo.Dataset, view: Collection, sample_id: str, label_id: str | None = None) -> Opened | None:
    """What an id means in a view: a picture or, in a view of patches, a face of one; None where there is no such.

    ``label_id`` names a box in a picture.
    """
    if getattr(view, "_is_patches", False):
        patches = view.select([sample_id])
        if len(patches):
            return _opened_patch(dataset, patches.first(), view._label_fields)
    picture = _picture(dataset, sample_id)
    if picture is None or label_id is None:
        return None if picture is None else Opened(picture)
    boxes = (d for name in picture.field_names for d in _detections(picture[name]) if d.id == label_id)
    box = next(boxes, None)
    return Opened(picture) if box is None else Opened(picture, place(box.to_dict()), _ids_of(box))


def _opened_patch(dataset: fo.Dataset, patch: fo.Sample, fields: Sequence[str]) -> Opened | None:
    picture = _picture(dataset, patch["sample_id"])
    boxes = [d for name in fields for d in _detections(patch[name])]
    if picture is None or not boxes:
        return None if picture is None else Opened(picture)
    return Opened(picture, place(boxes[0].to_dict()), tuple(i for box in boxes for i in _ids_of(box)))


def _picture(dataset: fo.Dataset, sample_id: str) -> fo.Sample | None:
    found = with_ids(dataset, [sample_id])
    return found.first() if len(found) else None


def _detections(value: Any) -> list[fo.Detection]:
    if isinstance(value, fo.Detection):
        return [value]
    return list(value.detections) if isinstance(value, fo.Detections) else []


def _ids_of(box: fo.Detection) -> tuple[str, ...]:
    """Its own and that of the face which it is about."""
    return tuple(i for i in (box.id, box.get_attribute_value(FACE, None)) if i)


def answers(dataset: fo.Dataset, sample_id: str) -> list[StoredAnswer]:
    """All answers about one picture as a whole."""
    picture = _picture(dataset, sample_id)
    return [] if picture is None else answers_about(dataset, Opened(picture))


def answers_about(dataset: fo.Dataset, about: Opened) -> list[StoredAnswer]:
    """All answers about a picture as a whole, or about a face in one, run by run, the oldest first."""
    told = []
    for prefix in runs.prefixes(dataset):
        questions = runs.read(dataset, runs.run_key(prefix)).get("questions") or {}
        for attribute, question in questions.items():
            found = _found(dataset, about, f"{prefix}_{attribute}")
            if found is not None:
                told.append(_answer(prefix, attribute, found, tuple(question["labels"])))
    return told


def _found(dataset: fo.Dataset, about: Opened, name: str) -> fo.Label | None:
    """The label of a field with what was said; None where nothing was asked."""
    if about.box is None:
        label = about.picture[name] if dataset.get_field(f"{name}.{OUTCOME}") is not None else None
        return label if label is not None and label[OUTCOME] is not None else None
    if dataset.get_field(f"{name}.{DETECTIONS}.{OUTCOME}") is None or about.picture[name] is None:
        return None
    at = _met(about, boxes := about.picture[name].detections)
    # A picture that was asked about, in which no answer is about this face.
    found = boxes[at] if at >= 0 else fo.Detection(**{OUTCOME: "no_face"})
    return found if getattr(found, OUTCOME, None) is not None else None


def _met(about: Opened, boxes: Sequence[fo.Detection]) -> int:
    """Which of some boxes is that of the face: by an id of it, else by how much they overlap; -1 for none."""
    named = (k for k, box in enumerate(boxes) if set(_ids_of(box)) & set(about.faces))
    by_place = match_faces([""], [about.box or NOWHERE], (), [place(box.to_dict()) for box in boxes])
    return next(named, by_place[0])


def asked_faces(dataset: fo.Dataset, about: Opened) -> int:
    """How many faces of a picture have answers of their own."""
    names = [f"{p}_{a}" for p in runs.prefixes(dataset) for a in _attributes(dataset, p)]
    found = [n for n in names if dataset.get_field(f"{n}.{DETECTIONS}.{OUTCOME}") is not None]
    return max((len(_detections(about.picture[name])) for name in found), default=0)


def _attributes(dataset: fo.Dataset, prefix: str) -> list[str]:
    return list(runs.read(dataset, runs.run_key(prefix)).get("questions") or {})


def truths(dataset: fo.Dataset, results: Mapping[str, Any], about: Opened) -> dict[str, tuple[str, ...]]:
    """The ground truth by which an evaluation judged a face, as those labels of each attribute that are right."""
    true = {}
    for attribute, fields in results["fields"].items():
        label = _true_label(dataset, JudgedFields(**fields), about)
        if label is not None:
            becomes = results["becomes"].get(attribute) or {}
            true[attribute] = tuple(own for own, common in becomes.items() if common == label) or (label,)
    return true


def _true_label(dataset: fo.Dataset, fields: JudgedFields, about: Opened) -> str | None:
    name = fields.faces or fields.truth.removesuffix(f".{LABEL}")
    if (fields.faces is None) != (about.box is None) or dataset.get_field(name) is None:
        return None
    found = about.picture[name]
    if fields.faces is not None:
        boxes = _detections(found)
        at = _met(about, boxes)
        # The label of a judged face tells truth and answer in one; evaluations of earlier versions name the label.
        found = boxes[at].get_attribute_value(fields.truth.rpartition(".")[2], None) if at >= 0 else None
    label: str | None = found.label if isinstance(found, fo.Label) else found
    return label


def _answer(prefix: str, attribute: str, label: fo.Label, labels: tuple[str, ...]) -> StoredAnswer:
    # A label that was written by older code, or to a dataset of another schema, lacks parts.
    logits = getattr(label, LOGITS, None)
    # Logits of another number of labels are those of another definition of the attribute.
    scores = logits if logits is not None and len(logits) == len(labels) else ()
    return StoredAnswer(
        prefix,
        attribute,
        label=getattr(label, LABEL, None),
        outcome=label[OUTCOME],
        reason=getattr(label, REASON, None),
        text=getattr(label, TEXT, None),
        confidence=getattr(label, CONFIDENCE, None),
        coverage=getattr(label, COVERAGE, None),
        labels=labels if len(scores) else (),
        shares=tuple(float(np.exp(v)) for v in scores),
    )
