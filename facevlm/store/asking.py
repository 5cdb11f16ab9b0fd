"""What is asked about and where the answers go: whole pictures, or the faces of a field of Detections.

About pictures a field holds a Classification each. About faces it holds Detections: one for every face of the field
of faces, on the same box and tied to it by its id. Beside them ``<prefix>_faces`` has all answers about a face on one
box, to be read in the App. Answers are always written to the dataset itself, never to a view of patches, whose new
fields FiftyOne does not carry back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any

import fiftyone as fo
import fiftyone.core.sample as fos
from bson import ObjectId
from pymongo import UpdateOne

from facevlm.errors import FieldError
from facevlm.faces.selection import NOTHING, Selection, State, lacking
from facevlm.store import documents, predictions, runs, summaries
from facevlm.store.rows import detections_fields
from facevlm.store.schema import (
    BOUNDING_BOX,
    CONFIDENCE,
    DETECTIONS,
    FACE,
    FACE_ANSWER,
    ID,
    LABEL,
    LANDMARKS,
    OUTCOME,
    RUN,
)
from facevlm.store.targets import Collection, check, patches_field
from facevlm.types import Face, Prediction

FACES = "faces"


class Subjects(ABC):
    """The faces of a target, what is stored about them already, and a writer of answers.

    ``without`` are ids of pictures in which there is no face to ask about.
    """

    kind: type[fo.Label]
    faces: list[Face]
    without: Sequence[str] = ()
    selection: Selection | None = None

    def __init__(self, target: Collection) -> None:
        self.target, self.dataset = target, target._root_dataset

    @abstractmethod
    def states(self, name: str) -> list[State]:
        """What a field holds, a state per face."""

    @abstractmethod
    def writer(self, prefix: str, fields: Mapping[str, str], stamps: Mapping[str, str]) -> predictions.Write:
        """Declares the fields and writes chunks of predictions; every chunk is safe once written."""

    @abstractmethod
    def outcomes(self, fields: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Faces per outcome and attribute, as the dataset holds them now."""

    @classmethod
    def check_fields(cls, target: Collection, prefix: str, fields: Sequence[str]) -> None:
        """Raise :class:`~facevlm.errors.FieldError` where a field is in the way."""
        predictions.check_fields(target._root_dataset, [*fields, *cls.shown(prefix, ())], cls.kind)

    @classmethod
    def shown(cls, prefix: str, fields: Sequence[str]) -> list[str]:
        """The fields in which the answers are best looked at."""
        return list(fields)

    def pending(self, fields: Mapping[str, str], stamps: Mapping[str, str]) -> dict[tuple[str, ...], list[Face]]:
        """What is still to ask: attributes -> the faces that lack an ``ok`` answer of this run to just these."""
        schema = self.dataset.get_field_schema()
        states = {a: self.states(n) if n in schema else [NOTHING] * len(self.faces) for a, n in fields.items()}
        return lacking(self.faces, states, stamps)

    def facts(self) -> dict[str, Any]:
        """What tells these faces from all, for the record of a run."""
        return {} if self.selection is None else {"about": asdict(self.selection)}


class PictureSubjects(Subjects):
    """One face per picture: the picture itself."""

    kind = fo.Classification

    def __init__(self, target: Collection) -> None:
        super().__init__(target)
        ids, paths = target.values(["id", "filepath"])
        self.faces = [Face(*pair) for pair in zip(ids, paths, strict=True)]

    def states(self, name: str) -> list[State]:
        return list(zip(*self.target.values([f"{name}.{OUTCOME}", f"{name}.{RUN}"]), strict=True))

    def writer(self, prefix: str, fields: Mapping[str, str], stamps: Mapping[str, str]) -> predictions.Write:
        predictions.declare(self.dataset, fields, stamps)
        return predictions.PredictionWriter(self.dataset, fields, stamps)

    def outcomes(self, fields: Mapping[str, str]) -> dict[str, dict[str, int]]:
        return predictions.outcome_counts(self.target, fields)


@dataclass
class _Picture:
    """A picture with faces: ids of all in the field of faces, and those that are asked about."""

    known: list[str] = field(default_factory=list)
    asked: list[Face] = field(default_factory=list)


class FaceSubjects(Subjects):
    """The faces in a field of Detections, or those that a view of its patches shows."""

    kind = fo.Detections
    selection: Selection

    def __init__(self, target: Collection, selection: Selection) -> None:
        super().__init__(target)
        self.selection = selection
        # Of a view of patches, an id is that of the patch; the picture that it is from has another.
        ids: list[str] = target.values("sample_id" if patches_field(target) else "id")
        # In pictures, not in the view: what else is known there must be kept.
        self._pictures = {i: _Picture() for i in ids}
        self._samples = self.dataset if target is self.dataset else self.dataset.select(list(self._pictures))
        face_ids = f"{selection.field}.{DETECTIONS}.{ID}"
        for sample_id, known in zip(*self._samples.values(["id", face_ids]), strict=True):
            self._pictures[sample_id].known = known or []
        for face in _read(target, ids, selection):
            self._pictures[face.sample_id].asked.append(face)
        self.faces = [face for picture in self._pictures.values() for face in picture.asked]
        self.without = [i for i, picture in self._pictures.items() if not picture.known]

    def states(self, name: str) -> list[State]:
        parts = [f"{name}.{DETECTIONS}.{part}" for part in (FACE, OUTCOME, RUN)]
        stored: dict[str, State] = {}
        for row in zip(*self._samples.values(parts), strict=True):
            stored.update({i: (outcome, run) for i, outcome, run in zip(*(part or () for part in row), strict=True)})
        return [stored.get(str(face.label_id), NOTHING) for face in self.faces]

    @classmethod
    def shown(cls, prefix: str, fields: Sequence[str]) -> list[str]:
        return [predictions.field_name(prefix, FACES)]

    def writer(self, prefix: str, fields: Mapping[str, str], stamps: Mapping[str, str]) -> predictions.Write:
        predictions.declare(self.dataset, fields, stamps, fo.Detections, FACE_ANSWER)
        [name] = self.shown(prefix, ())
        questions = runs.read(self.dataset, runs.run_key(prefix)).get("questions") or {}
        # Answers of earlier runs of the prefix are told by the summary, too.
        every = {attribute: predictions.field_name(prefix, attribute) for attribute in [*questions, *fields]}
        answered = {attribute: field for attribute, field in every.items() if self.dataset.get_field(field)}
        summary = summaries.Summary(name, self.selection.field, answered)
        summary.declare(self.dataset)
        known = {i: picture.known for i, picture in self._pictures.items()}
        write = FaceWriter(self.dataset, fields, stamps, known, summary)
        # Before anything is asked: a run that is stopped has looked at these pictures all the same.
        write.empty(self.without)
        return write

    def outcomes(self, fields: Mapping[str, str]) -> dict[str, dict[str, int]]:
        return predictions.outcome_counts(self._samples, fields, fo.Detections)


def _read(target: Collection, ids: Sequence[str], selection: Selection) -> list[Face]:
    """The faces of a target that are asked about, in its order."""
    patches = patches_field(target) is not None
    root = selection.field if patches else f"{selection.field}.{DETECTIONS}"
    marked = target.get_field(f"{root}.{LANDMARKS}") is not None
    parts = [ID, BOUNDING_BOX, LABEL, CONFIDENCE, *([LANDMARKS] if marked else [])]
    paths, *columns = target.values(["filepath", *(f"{root}.{part}" for part in parts)])
    faces = []
    for sample_id, path, *row in zip(ids, paths, *columns, strict=True):
        # A patch has one value where a picture has a list.
        several = [[part] for part in row] if patches else [part or () for part in row]
        for face_id, box, label, confidence, *points in zip(*several, strict=True):
            if selection.takes(label, confidence):
                faces.append(documents.face(sample_id, path, face_id, box, points[0] if points else None))
    return faces


class FaceWriter:
    """Writes answers about faces into the Detections of their pictures; the other faces' answers there are kept.

    ``known`` has the ids of all faces of a picture: answers about faces that are gone are taken away. A picture is
    changed by one update in the database, so that two runs over different faces do not undo each other.
    """

    def __init__(
        self,
        dataset: fo.Dataset,
        fields: Mapping[str, str],
        stamps: Mapping[str, str],
        known: Mapping[str, Sequence[str]],
        summary: summaries.Summary,
    ) -> None:
        self._dataset, self._fields, self._stamps, self._known = dataset, fields, stamps, known
        self._summary = summary.stages()

    def __call__(self, made: Sequence[Prediction]) -> None:
        by_picture: dict[str, dict[str, list[fo.Detection]]] = defaultdict(lambda: defaultdict(list))
        for prediction in made:
            detection = predictions.to_detection(prediction, self._stamps[prediction.attribute])
            by_picture[prediction.face.sample_id][self._fields[prediction.attribute]].append(detection)
        self._update(by_picture)

    def empty(self, sample_ids: Sequence[str]) -> None:
        """Say of pictures without a face that they were looked at."""
        self._update({i: dict(zip(self._fields.values(), repeat([]), strict=False)) for i in sample_ids})

    def _update(self, by_picture: Mapping[str, Mapping[str, Sequence[fo.Detection]]]) -> None:
        if not by_picture:
            return
        changes = []
        for sample_id, by_field in by_picture.items():
            sets = {name: self._merged(name, new, self._known[sample_id]) for name, new in by_field.items()}
            stages = [{"$set": sets | {"last_modified_at": "$$NOW"}}, *self._summary]
            changes.append(UpdateOne({"_id": ObjectId(sample_id)}, stages))
        self._dataset._sample_collection.bulk_write(changes, ordered=False)
        # Samples in memory do not notice what is written past FiftyOne.
        fos.Sample._reload_docs(self._dataset._sample_collection_name, sample_ids=list(by_picture))

    def _merged(self, name: str, new: Sequence[fo.Detection], known: Sequence[str]) -> dict[str, Any]:
        kept = sorted(set(known) - {str(detection[FACE]) for detection in new})
        rest = {
            "$filter": {
                "input": {"$ifNull": [f"${name}.{DETECTIONS}", []]},
                "cond": {"$in": [f"$$this.{FACE}", kept]},
            }
        }
        # As literals: a text that begins with a dollar sign must not be read as the name of a field.
        made = {"$literal": [detection.to_mongo() for detection in new]}
        parts = {"_cls": "Detections", DETECTIONS: {"$concatArrays": [rest, made]}}
        return {"$mergeObjects": [{"$ifNull": [f"${name}", {}]}, parts]}


def subjects(target: Collection, selection: Selection | None = None) -> Subjects:
    """What is asked about: the pictures of a target, or its faces where a field is chosen or the target shows patches.

    Raises :class:`~facevlm.errors.TargetError` for a target that holds no pictures, and
    :class:`~facevlm.errors.FieldError` where the field holds no Detections, or where no face is selected.
    """
    check(target, patches=True)
    shown = patches_field(target)
    if selection is None and shown is None:
        return PictureSubjects(target)
    chosen = selection or Selection(str(shown))
    _check_field(target, chosen.field, shown)
    asked = FaceSubjects(target, chosen)
    if not asked.faces:
        raise FieldError(_nothing(asked, chosen))
    return asked


def count(target: Collection, selection: Selection | None = None) -> int:
    """How many faces :func:`subjects` would find, at less cost; raises as that does, but not for none."""
    shown = patches_field(target)
    if selection is None:
        return len(target)
    _check_field(target, selection.field, shown)
    root = selection.field if shown else f"{selection.field}.{DETECTIONS}"
    if not selection.labels and selection.min_confidence is None:
        return int(target.count(root))
    stored = zip(*target.values([f"{root}.{LABEL}", f"{root}.{CONFIDENCE}"], unwind=True), strict=True)
    return sum(selection.takes(label, confidence) for label, confidence in stored)


def _check_field(target: Collection, name: str, shown: str | None) -> None:
    if shown is not None and name != shown:
        raise FieldError(
            f"Got faces='{name}' and a view of the patches of '{shown}', expected faces='{shown}' or none."
        )
    known = detections_fields(target._root_dataset)
    if name not in known:
        raise FieldError(
            f"Got faces='{name}', expected a field of Detections: {', '.join(known) or 'none is there'}. "
            "facevlm.detect finds faces and makes one."
        )


def _nothing(asked: FaceSubjects, selection: Selection) -> str:
    known = sum(len(picture.known) for picture in asked._pictures.values())
    if not known:
        return f"Field '{selection.field}' holds no face in this target. facevlm.detect finds faces."
    wanted = [f"label {' or '.join(selection.labels)}"] if selection.labels else []
    wanted += [f"confidence from {selection.min_confidence}"] if selection.min_confidence is not None else []
    return (
        f"None of the {known:,} faces of field '{selection.field}' has {' and '.join(wanted) or 'passed the view'}. "
        "Choose a wider view, other labels or a lower confidence."
    )
