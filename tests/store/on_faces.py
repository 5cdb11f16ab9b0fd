"""Predictions of the demo model on the faces of the shipped group pictures, stored as Detections."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo
from PIL import Image

from facevlm import parsing
from facevlm.backends import Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.choice import resolve_attributes
from facevlm.faces import crops
from facevlm.faces.crops import Crop
from facevlm.store import predictions, runs
from facevlm.types import Face, Prediction

MARGIN = 0.125
"""Around a face, as a share of its box."""


def answers(dataset: fo.Dataset, names: Sequence[str]) -> dict[str, dict[str, Prediction]]:
    """Attribute -> id of the face -> what the demo model says about its crop."""
    backend = open_backend("demo", Options(device="cpu"))
    questions = questions_for(find("demo"), resolve_attributes(names))
    said: dict[str, dict[str, Prediction]] = {name: {} for name in names}
    for sample in dataset:
        picture = Image.open(sample.filepath).convert("RGB")
        faces = sample.faces.detections
        shown = [crops.cut(picture, d.bounding_box, Crop(margin=MARGIN)) for d in faces]
        replies = backend.answer(shown, questions)
        for face, row in zip(faces, replies, strict=True):
            for question, reply in zip(questions, row, strict=True):
                about = Face(sample.id, sample.filepath, tuple(face.bounding_box), face.id)
                said[question.attribute.name][face.id] = parsing.predict(about, question, reply)
    return said


def store(dataset: fo.Dataset, prefix: str, said: dict[str, dict[str, Prediction]], *, by_id: bool = True) -> None:
    """One Detections field per attribute; without ids, boxes are a little off and in another order."""
    for name, found in said.items():
        field = predictions.field_name(prefix, name)
        dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
        for sample in dataset.iter_samples(autosave=True):
            made = [_detection(d, found[d.id], by_id) for d in sample.faces.detections if d.id in found]
            sample[field] = fo.Detections(detections=made if by_id else made[::-1])
    dataset.add_dynamic_sample_fields()
    labels = {name: {"labels": list(resolve_attributes([name])[0].labels)} for name in said}
    runs.write(
        dataset,
        runs.run_key(prefix),
        {"prefix": prefix, "questions": labels, "time": "2000-01-01T00:00:00+00:00"},
    )


def _detection(face: fo.Detection, said: Prediction, by_id: bool) -> fo.Detection:
    x, y, w, h = face.bounding_box
    label = predictions.to_label(said, "run")
    return fo.Detection(
        bounding_box=[x, y, w, h] if by_id else [x + 0.1 * w, y, w, h],
        label=label.label,
        confidence=label.confidence,
        logits=label.logits,
        outcome=said.outcome,
        coverage=said.coverage,
        reason=said.reason,
        face=face.id if by_id else None,
    )
