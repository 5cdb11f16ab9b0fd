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
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.errors import FieldError, TargetError
from facevlm.faces.matching import is_about
from facevlm.faces.selection import NOTHING, Selection, State, lacking
from facevlm.store import columns, documents, predictions, runs, summaries
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
from facevlm.store.targets import Collection, check, patches_field, size, with_ids
from facevlm.store.updates import Change, Updates
from facevlm.types import Face, Prediction

FACES = "faces"
HOW_TO_FIND = "Run 'Detect faces' first."
NEAR = 20
"""Pictures in which the first face is looked for."""
CHANGING = (
    *(fo.FilterField, fo.FilterLabels, fo.LimitLabels, fo.MapLabels, fo.SelectLabels, fo.ExcludeLabels),
    *(fo.SetField, fo.Mongo),
)
"""Stages after which a view shows other labels than the dataset has."""


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
        return [(outcome, run) for outcome, run in columns.known(self.target, [f"{name}.{OUTCOME}", f"{name}.{RUN}"])]

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
        self._samples = target if target is self.dataset else with_ids(self.dataset, self._pictures)
        face_ids = f"{selection.field}.{DETECTIONS}.{ID}"
        for sample_id, known in zip(*self._samples.values(["id", face_ids]), strict=True):
            self._pictures[sample_id].known = known or []
        for face in _read(target, ids, selection):
            self._pictures[face.sample_id].asked.append(face)
        self.faces = [face for picture in self._pictures.values() for face in picture.asked]
        self.without = [i for i, picture in self._pictures.items() if not picture.known]

    def states(self, name: str) -> list[State]:
        """What is stored about each face, nothing where its box was moved so far that another face is meant."""
        parts = [f"{name}.{DETECTIONS}.{part}" for part in (FACE, BOUNDING_BOX, OUTCOME, RUN)]
        stored: dict[str, tuple[Any, State]] = {}
        for row in zip(*self._samples.values(parts), strict=True):
            said = zip(*(part or () for part in row), strict=True)
            stored.update({i: (box, (outcome, run)) for i, box, outcome, run in said})
        none = (None, NOTHING)
        held = [(face.box_xywh_rel, *stored.get(str(face.label_id), none)) for face in self.faces]
        return [state if is_about(box, asked) else NOTHING for box, asked, state in held]

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
    parts = [ID, BOUNDING_BOX, LABEL, CONFIDENCE]
    paths, *found = target.values(["filepath", *(f"{root}.{part}" for part in parts)])
    if target.get_field(f"{root}.{LANDMARKS}") is not None:
        # As the database holds them: what was stored once as points is to the schema no list of numbers.
        whole = columns.read(target, [f"{root}.{LANDMARKS}"]) if patches else None
        found.append(columns.of_faces(target, root, LANDMARKS) if whole is None else whole[f"{root}.{LANDMARKS}"])
    faces = []
    for sample_id, path, *row in zip(ids, paths, *found, strict=True):
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
        self._fields, self._stamps, self._known = fields, stamps, known
        self._summary = summary.stages()
        self._updates = Updates(dataset, [*fields.values(), summary.name, summary.faces])
        self.gone = self._updates.gone

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
        changes: dict[str, Change] = {}
        for sample_id, by_field in by_picture.items():
            sets = {name: self._merged(name, new, self._known[sample_id]) for name, new in by_field.items()}
            changes[sample_id] = [{"$set": sets | {"last_modified_at": "$$NOW"}}, *self._summary]
        self._updates.change(changes)

    def _merged(self, name: str, new: Sequence[fo.Detection], known: Sequence[str]) -> dict[str, Any]:
        kept = sorted(set(known) - {str(detection[FACE]) for detection in new})
        rest = {
            "$filter": {
                "input": {"$ifNull": [f"${name}.{DETECTIONS}", []]},
                # A box that is about no face and ended nowhere was drawn by somebody.
                "cond": {"$or": [{"$in": [f"$$this.{FACE}", kept]}, {"$and": [_none(FACE), _none(OUTCOME)]}]},
            }
        }
        # As literals: a text that begins with a dollar sign must not be read as the name of a field.
        made = {"$literal": [detection.to_mongo() for detection in new]}
        parts = {"_cls": "Detections", DETECTIONS: {"$concatArrays": [rest, made]}}
        return {"$mergeObjects": [{"$ifNull": [f"${name}", {}]}, parts]}


def _none(part: str) -> dict[str, Any]:
    """Whether a Detection has no value in a part, or lacks it."""
    return {"$eq": [{"$ifNull": [f"$$this.{part}", None]}, None]}


def subjects(target: Collection, selection: Selection | None = None) -> Subjects:
    """What is asked about: the pictures of a target, or its faces where a field is chosen or the target shows patches.

    Raises :class:`~facevlm.errors.TargetError` for a target that holds no pictures, and
    :class:`~facevlm.errors.FieldError` where the field holds no Detections, or where no face is selected.
    """
    target = check(target, patches=True)
    shown = patches_field(target)
    if selection is None and shown is None:
        return PictureSubjects(target)
    chosen = selection or Selection(str(shown))
    _check_field(target, chosen.field, shown)
    asked = FaceSubjects(target, chosen)
    if not asked.faces:
        said, how = _nothing(asked, chosen)
        raise FieldError(f"{said} {how or 'facevlm.detect finds faces.'}", app=f"{said} {how or HOW_TO_FIND}")
    return asked


def count(target: Collection, selection: Selection | None = None) -> int:
    """How many faces :func:`subjects` would find, at less cost; raises as that does, but not for none."""
    target = check(target, patches=True)
    shown = patches_field(target)
    if selection is None:
        return size(target)
    _check_field(target, selection.field, shown)
    root = selection.field if shown else f"{selection.field}.{DETECTIONS}"
    if not selection.labels and selection.min_confidence is None:
        return int(target.count(root))
    stored = zip(*target.values([f"{root}.{LABEL}", f"{root}.{CONFIDENCE}"], unwind=True), strict=True)
    return sum(selection.takes(label, confidence) for label, confidence in stored)


def first(target: Collection, selection: Selection | None = None) -> Face:
    """The first face that :func:`subjects` finds, looked for in the first pictures that have any.

    Raises :class:`~facevlm.errors.FieldError` where there is none, and as :func:`subjects` does.
    """
    target = check(target, patches=True)
    near = target
    if selection is not None and patches_field(target) is None:
        _check_field(target, selection.field, None)
        near = target.match(F(f"{selection.field}.{DETECTIONS}").length() > 0)
    with suppress(FieldError, TargetError):
        return subjects(near.limit(NEAR), selection).faces[0]
    # None of the first is meant: all are looked at, for one that is or for the reason why there is none.
    return subjects(target, selection).faces[0]


def progress(
    target: Collection, selection: Selection | None, fields: Mapping[str, str], stamps: Mapping[str, str]
) -> tuple[int, int]:
    """How many faces a target has, and how many of them lack an answer to any of these attributes.

    ``fields`` maps attributes to fields, ``stamps`` those that were asked before to the stamp that their answers carry.
    One pass of the database, unless a view shows patches or changes labels. Raises as :func:`count` does.
    """
    target = check(target, patches=True)
    if fields.keys() != stamps.keys():
        total = count(target, selection)
        return total, total
    if patches_field(target) or any(isinstance(stage, CHANGING) for stage in getattr(target, "_all_stages", ())):
        asked = subjects(target, selection)
        return len(asked.faces), sum(len(faces) for faces in asked.pending(fields, stamps).values())
    if selection is not None:
        _check_field(target, selection.field, None)
    stages, samples = target.view()._pipeline(), target._dataset._sample_collection
    if selection is None and not stages:
        # By conditions alone the database counts several times as fast as by expressions, and all by its index.
        known = {f"{name}.{OUTCOME}": "ok" for name in fields.values()}
        known |= {f"{name}.{RUN}": stamps[attribute] for attribute, name in fields.items()}
        total = samples.count_documents({}, hint="_id_")
        return total, total - samples.count_documents(known)
    about = _picture_counts(fields, stamps) if selection is None else _face_counts(selection, fields, stamps)
    sums = {name: {"$sum": expression} for name, expression in about.items()}
    stages = [*stages, {"$group": {"_id": None, **sums}}]
    found: dict[str, int] = next(iter(samples.aggregate(stages, allowDiskUse=True)), {})
    return found.get("faces", 0), found.get("lacking", 0)


def _picture_counts(fields: Mapping[str, str], stamps: Mapping[str, str]) -> dict[str, Any]:
    """Of one picture, how many faces it is and how many of them lack an answer, as the database counts."""
    answered = [
        {"$eq": [f"${name}.{part}", value]}
        for attribute, name in fields.items()
        for part, value in ((OUTCOME, "ok"), (RUN, stamps[attribute]))
    ]
    return {"faces": 1, "lacking": {"$cond": [{"$and": answered}, 0, 1]}}


def _face_counts(selection: Selection, fields: Mapping[str, str], stamps: Mapping[str, str]) -> dict[str, Any]:
    """As :func:`_picture_counts`, of the faces in a field of Detections."""
    ids = _map(f"{selection.field}.{DETECTIONS}", {"$toString": "$$this._id"}, _takes(selection))
    sets = [
        _map(
            f"{name}.{DETECTIONS}",
            f"$$this.{FACE}",
            [{"$eq": [f"$$this.{OUTCOME}", "ok"]}, {"$eq": [f"$$this.{RUN}", stamps[attribute]]}],
        )
        for attribute, name in fields.items()
    ]
    return {"faces": {"$size": ids}, "lacking": {"$size": {"$setDifference": [ids, {"$setIntersection": sets}]}}}


def _map(path: str, what: Any, conditions: Sequence[Any]) -> dict[str, Any]:
    """Something of each of those documents in a list that fulfil all conditions; an empty list where there is none."""
    kept = {"$filter": {"input": {"$ifNull": [f"${path}", []]}, "cond": {"$and": list(conditions)}}}
    return {"$map": {"input": kept, "in": what}}


def _takes(selection: Selection) -> list[Any]:
    """:meth:`~facevlm.faces.selection.Selection.takes` as conditions of the database."""
    labels = [{"$in": [f"$$this.{LABEL}", list(selection.labels)]}] if selection.labels else []
    if selection.min_confidence is None:
        return labels
    known = {"$ifNull": [f"$$this.{CONFIDENCE}", selection.min_confidence]}
    return [*labels, {"$gte": [known, selection.min_confidence]}]


def _check_field(target: Collection, name: str, shown: str | None) -> None:
    if shown is not None and name != shown:
        raise FieldError(
            f"Got faces='{name}' and a view of the patches of '{shown}', expected faces='{shown}' or none."
        )
    known = detections_fields(target._root_dataset)
    if name not in known:
        there = f"expected a field of Detections: {', '.join(known) or 'none is there'}."
        raise FieldError(
            f"Got faces='{name}', {there} facevlm.detect finds faces and makes one.",
            app=f"'{name}' holds no faces, {there} Choose another, or run 'Detect faces'.",
        )


def _nothing(asked: FaceSubjects, selection: Selection) -> tuple[str, str]:
    """Why there is no face to ask about, and what to do; nothing where faces are still to be found."""
    known = sum(len(picture.known) for picture in asked._pictures.values())
    if not known:
        return f"Field '{selection.field}' holds no face in this target.", ""
    wanted = [f"label {' or '.join(selection.labels)}"] if selection.labels else []
    wanted += [f"confidence from {selection.min_confidence}"] if selection.min_confidence is not None else []
    having = " and ".join(wanted) or "passed the view"
    return (
        f"None of the {known:,} faces of field '{selection.field}' has {having}.",
        "Choose a wider view, other labels or a lower confidence.",
    )
