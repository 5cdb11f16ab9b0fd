"""What somebody decided about faces: reviewed labels, who decided, when, on seeing what, and what stood there before.

About pictures a field holds a Classification each, with :data:`facevlm.store.schema.REVIEWED` on it. About faces in
pictures the label stands on the Detection of the face, as a string, and those parts in a document beside it, whose name
ends in ``RECORD``: a Classification there would keep FiftyOne from making a label schema of the boxes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fom
from bson import ObjectId, json_util
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.faces.images import BOX
from facevlm.store import boxes, columns, predictions
from facevlm.store.columns import of_faces
from facevlm.store.documents import Document
from facevlm.store.rows import IN_FACES, FaceRows, PictureRows, flat
from facevlm.store.schema import (
    ACT,
    CHOSEN,
    CONFIDENCE,
    DECIDED,
    DECISION,
    DETECTIONS,
    LABEL,
    OUTCOME,
    PREVIOUS,
    REVIEWED,
    REVIEWED_AT,
    REVIEWED_BY,
    REVIEWS,
    RUN,
    SHOWN_RUN,
)
from facevlm.store.targets import Collection, all_pictures, holds, holds_answers, with_ids
from facevlm.store.updates import Change, Updates, require_writable
from facevlm.types import Attribute, digest

RECORD = "_record"
ENDING = "_reviewed"
APPROVED, CHANGED, UNCLEAR, DISCARDED, SKIPPED = "approved", "changed", "unclear", "discarded", "skipped"
EDITED, LABELLED = "edited", "labelled"
"""Decisions that no review made: a reviewed label that was changed elsewhere since, and one that was there before."""
BULK, RANDOM = "bulk", "random"
DECISIONS = (APPROVED, CHANGED, UNCLEAR, DISCARDED, SKIPPED)


@dataclass(frozen=True, slots=True)
class Standing:
    """A face as it stands: what was predicted about it, by which run, and what was decided.

    ``id`` is that of the picture, or of the Detection where faces are reviewed; ``said`` the predicted label, None for
    no answer. ``label`` is the reviewed one, ``chosen`` how the face came to be decided about, ``act`` the mark of
    all that was decided at once; ``decision`` is None as long as nothing was.
    """

    id: str
    sample_id: str
    outcome: str
    said: str | None
    confidence: float | None
    run: str | None
    label: str | None
    decision: str | None
    by: str | None
    at: datetime | None
    chosen: str | None
    act: str | None

    @property
    def token(self) -> str:
        """Eight hex digits of what is seen of a face on being asked about it: a decision holds for just that."""
        return digest([self.act, self.label, self.run, self.said, self.confidence])

    @property
    def waits(self) -> bool:
        """Whether the face is still to be decided about."""
        return self.decision in (None, SKIPPED)

    @property
    def looked_at(self) -> bool:
        """Whether somebody looked at the face and gave it a label."""
        return self.decision in (APPROVED, CHANGED, EDITED) and self.chosen != BULK


@dataclass(frozen=True)
class Shelf:
    """Where the reviewed labels of an attribute are: in a field of pictures, or on the Detections of ``faces``."""

    dataset: fo.Dataset
    name: str
    faces: str | None = None

    @property
    def root(self) -> str:
        """The list in which the labels are; empty for pictures."""
        return "" if self.faces is None else f"{self.faces}{IN_FACES}"

    @property
    def field(self) -> str:
        """The path by which FiftyOne and :func:`facevlm.evaluate` know the field."""
        return f"{self.root}{self.name}"

    @property
    def record(self) -> str:
        """The path under which the parts of a review are."""
        return self.field if self.faces is None else f"{self.field}{RECORD}"

    @property
    def written(self) -> str:
        """The top-level field that a decision changes."""
        return self.faces or self.name


def place_of(rows: PictureRows, attribute: str, field: str | None = None, *, agreed: bool = False) -> Shelf:
    """Where reviews of an attribute are kept, by default in ``<attribute>_reviewed``.

    Raises :class:`~facevlm.errors.FieldError` for a field of another kind, one with predictions or with reviews of
    another attribute, one that is read-only, and unless ``agreed`` for one that no review made.
    """
    faces = rows.faces if isinstance(rows, FaceRows) else None
    name = (field or f"{attribute}{ENDING}").removeprefix(f"{faces}{IN_FACES}")
    if not name.isidentifier() or name.startswith("_"):
        raise FieldError(
            f"Got the field '{name}', expected letters, digits and underscores, such as 'gender_reviewed'."
        )
    place = Shelf(rows.target._dataset, name, faces)
    require_writable(place.dataset, [place.field, place.record])
    found = place.dataset.get_field(place.field)
    if found is not None:
        _check_there(place, found, attribute, agreed)
    return place


def _check_there(place: Shelf, found: fo.Field, attribute: str, agreed: bool) -> None:
    right = isinstance(found, fo.StringField) if place.faces else holds(found, fo.Classification)
    reviewed = (found.info or {}).get(REVIEWS)
    if holds_answers(place.dataset, place.field, OUTCOME) or not right:
        got = "predictions of a model" if right else f"no {'strings' if place.faces else 'Classifications'}"
        raise FieldError(f"Field '{place.field}' is there and holds {got}, expected reviewed labels. Choose another.")
    if reviewed not in (None, attribute):
        raise FieldError(
            f"Field '{place.field}' holds reviews of {reviewed}, not of {attribute}. Choose another field."
        )
    if reviewed is None and not agreed:
        raise FieldError(
            f"Field '{place.field}' is there and was not made by a review: labels would be written into a field of "
            "yours. Choose another name, or agree to it (agreed=True, --agree): labels that are there stay, unless "
            "somebody decides about just that face, and undo brings them back."
        )


def declare(place: Shelf, attribute: Attribute) -> None:
    """Add the field and the parts of a review to the dataset, and where it is a field of pictures a label schema with
    the attribute's labels, so that it can be edited by FiftyOne's own annotation, too.

    Nothing is changed where all is there.
    """
    dataset, info = place.dataset, {REVIEWS: attribute.name}
    what = f"Perceived {attribute.name}, reviewed by eye"
    added: dict[str, fo.Field] = predictions.parts_of(place.record, REVIEWED)
    if place.faces is None:
        kind: Any = fo.Classification
        added = {place.field: fo.EmbeddedDocumentField(kind, null=True, description=what, info=info)} | added
    else:
        kind = fo.DynamicEmbeddedDocument
        label = fo.StringField(null=True, description=what, info=info)
        record = fo.EmbeddedDocumentField(kind, null=True, description=f"{what}: who, when, on seeing what")
        added = {place.field: label, place.record: record} | added
    predictions.add(dataset, added)
    found = dataset.get_field(place.field)
    if REVIEWS not in (found.info or {}):
        found.info = {**(found.info or {}), **info}
        found.save()
    if place.faces is None:
        _offer(dataset, place.field, attribute)


def _offer(dataset: fo.Dataset, field: str, attribute: Attribute) -> None:
    """Let FiftyOne's annotation offer the labels; a label schema that is there stays."""
    if dataset.media_type != fom.IMAGE or field in dataset.label_schemas:
        return
    parts = [
        {"name": part, "type": "str", "component": "text", "read_only": True}
        for part in (DECISION, REVIEWED_BY, CHOSEN)
    ]
    schema = {"type": "classification", "component": "radio", "classes": list(attribute.labels), "attributes": parts}
    dataset.update_label_schema(field, schema)
    dataset.activate_label_schemas([field])


def read(rows: PictureRows, predicted: str, place: Shelf) -> list[Standing | None]:
    """Every face as it stands, row by row; None for one that no run was asked about."""
    answers = rows.answers(predicted, LABEL, OUTCOME, CONFIDENCE, RUN)
    parts = (DECISION, REVIEWED_BY, REVIEWED_AT, CHOSEN, ACT, DECIDED)
    labels, records = _stored(rows, place, parts)
    told = zip(*answers, strict=True)
    kept = zip(labels, *records, strict=True)
    return [_standing(*row) for row in zip(face_ids(rows), rows.ids(), told, kept, strict=True)]


def face_ids(rows: PictureRows) -> list[str]:
    """By which id a decision names every row: that of the picture, or of the Detection."""
    return rows.face_ids if isinstance(rows, FaceRows) else rows.ids()


def _standing(face: str, sample_id: str, told: tuple[Any, ...], kept: tuple[Any, ...]) -> Standing | None:
    """``told`` is label, outcome, confidence, run; ``kept`` the label, and the parts of the record in their order."""
    said, outcome, confidence, run = told
    label, decision, by, at, chosen, act, decided = kept
    if outcome is None:
        return None
    if act is None and label is not None:
        decision = LABELLED
    elif act is not None and label != decided:
        # Changed by FiftyOne's annotation or a program, which leave the record as it was.
        decision, by, at, chosen = EDITED, None, None, None
    return Standing(face, sample_id, outcome, said, confidence, run, label, decision, by, at, chosen, act)


def _stored(rows: PictureRows, place: Shelf, parts: Sequence[str]) -> tuple[list[Any], list[list[Any]]]:
    """The reviewed labels and parts of the records, row by row, as the database holds them."""
    if place.faces is None:
        paths = [f"{place.field}.{LABEL}", *(f"{place.record}.{part}" for part in parts)]
        # A view may show only some labels; what it leaves out is decided all the same.
        stored = columns.known(rows.target, paths)
        labels, *records = ([row[k] for row in stored] for k in range(len(paths)))
        return labels, records
    root = place.root.removesuffix(".")
    kept = [flat(of_faces(rows.target, root, part)) for part in (place.name, f"{place.name}{RECORD}")]
    return kept[0], [[(record or {}).get(part) for record in kept[1]] for part in parts]


@dataclass(frozen=True)
class Decision:
    """What is decided about a face that stands so, with the parts that its record gets."""

    face: Standing
    label: str | None
    parts: Mapping[str, Any]


def write(place: Shelf, decisions: Sequence[Decision], act: str) -> set[str]:
    """Write decisions, each only where its face still stands as it was seen; returns the ids of those deleted.

    A decision that somebody else made meanwhile is thus left as it is: :func:`standing_of` tells which.
    """
    before = _before(place, [d.face for d in decisions])
    by_sample: dict[str, list[tuple[Standing, Document]]] = defaultdict(list)
    for one in decisions:
        earlier = _history(place, before.get(one.face.id))
        parts = {**one.parts, ACT: act, DECIDED: one.label, PREVIOUS: earlier}
        by_sample[one.face.sample_id].append((one.face, _document(place, one.label, parts)))
    updates = Updates(place.dataset, [place.written])
    updates.change({sample_id: _change(place, faces) for sample_id, faces in by_sample.items()})
    return updates.gone


def _document(place: Shelf, label: str | None, parts: Mapping[str, Any]) -> Document:
    """What is written: a Classification, or of a face what its Detection gets."""
    if place.faces is None:
        return {"_id": ObjectId(), "_cls": "Classification", "tags": [], LABEL: label, **parts}
    return {place.name: label, f"{place.name}{RECORD}": {"_cls": "DynamicEmbeddedDocument", **parts}}


def _history(place: Shelf, stored: Document | None) -> list[str]:
    """What stood there, step by step, with what stands there now."""
    if stored is None:
        return []
    return [*_record(place, stored).get(PREVIOUS, ()), json_util.dumps(_without_history(place, stored))]


def _restored(place: Shelf, stored: Document | None) -> Document | None:
    """What stood there one step before; None for nothing."""
    *earlier, last = _record(place, stored or {}).get(PREVIOUS) or [None]
    if last is None:
        return None
    document: Document = json_util.loads(last)
    if record := _record(place, document):
        record[PREVIOUS] = earlier
    return document


def _record(place: Shelf, stored: Document) -> Document:
    """The parts of the review in a stored document; empty where no review made it."""
    record = stored if place.faces is None else stored.get(f"{place.name}{RECORD}")
    return record if record and record.get(ACT) is not None else {}


def _without_history(place: Shelf, stored: Document) -> Document:
    if place.faces is None:
        return {part: value for part, value in stored.items() if part != PREVIOUS}
    record = stored.get(f"{place.name}{RECORD}") or {}
    return {**stored, f"{place.name}{RECORD}": {k: v for k, v in record.items() if k != PREVIOUS} or None}


def _before(place: Shelf, faces: Iterable[Standing]) -> dict[str, Document]:
    """What the database holds about faces that have a label or a decision, in the form of :func:`_document`."""
    held = {face.id: face.sample_id for face in faces if face.act is not None or face.label is not None}
    if not held:
        return {}
    pictures = with_ids(place.dataset, set(held.values()))
    if place.faces is None:
        stored = zip(*columns.read(pictures, ["id", place.field]).values(), strict=True)
        return {i: document for i, document in stored if document is not None}
    names = (place.name, f"{place.name}{RECORD}")
    detections = flat(columns.read(pictures, [f"{place.faces}.{DETECTIONS}"])[f"{place.faces}.{DETECTIONS}"])
    return {str(d["_id"]): {name: d.get(name) for name in names} for d in detections if str(d["_id"]) in held}


def _change(place: Shelf, faces: Sequence[tuple[Standing, Document | None]]) -> Change:
    """One picture's update; a document of None takes away what stands there."""
    if place.faces is None:
        [(face, document)] = faces
        stands = _stands(face, f"${place.record}.{ACT}", f"${place.field}.{LABEL}")
        sets = {place.field: {"$cond": [stands, {"$literal": document}, f"${place.field}"]}}
    else:
        root = place.root.removesuffix(".")
        branches = [_branch(place, face, document) for face, document in faces]
        each = {"$map": {"input": f"${root}", "in": {"$switch": {"branches": branches, "default": "$$this"}}}}
        sets = {root: {"$cond": [{"$isArray": f"${root}"}, each, f"${root}"]}}
    return [{"$set": {**sets, "last_modified_at": "$$NOW"}}]


def _branch(place: Shelf, face: Standing, document: Document | None) -> Document:
    name = place.name
    is_this = {"$eq": ["$$this._id", ObjectId(face.id)]}
    stands = _stands(face, f"$$this.{name}{RECORD}.{ACT}", f"$$this.{name}")
    made = document or {name: None, f"{name}{RECORD}": None}
    return {"case": {"$and": [is_this, stands]}, "then": {"$mergeObjects": ["$$this", {"$literal": made}]}}


def _stands(face: Standing, act: str, label: str) -> Document:
    """Whether nobody decided about a face since it was read."""
    pairs = ((act, face.act), (label, face.label))
    return {"$and": [{"$eq": [{"$ifNull": [path, None]}, {"$literal": value}]} for path, value in pairs]}


def undo(place: Shelf, faces: Sequence[Standing]) -> set[str]:
    """Bring back what stood there before the decisions about these faces; returns the ids of pictures deleted.

    As :func:`write`, only where a face still stands so.
    """
    changes: dict[str, list[tuple[Standing, Document | None]]] = defaultdict(list)
    now = _before(place, faces)
    for face in faces:
        changes[face.sample_id].append((face, _restored(place, now.get(face.id))))
    updates = Updates(place.dataset, [place.written])
    updates.change({sample_id: _change(place, some) for sample_id, some in changes.items()})
    return updates.gone


def standing_of(place: Shelf, faces: Sequence[Standing]) -> dict[str, Mapping[str, Any]]:
    """The records of these faces as the database holds them now, by id; those that are gone are left out."""
    pictures = with_ids(place.dataset, {face.sample_id for face in faces})
    if place.faces is None:
        stored = zip(*columns.read(pictures, ["id", place.field]).values(), strict=True)
        return {i: document or {} for i, document in stored}
    detections = flat(columns.read(pictures, [f"{place.faces}.{DETECTIONS}"])[f"{place.faces}.{DETECTIONS}"])
    return {str(d["_id"]): d.get(f"{place.name}{RECORD}") or {} for d in detections}


def view_of(place: Shelf, target: Collection, ids: Sequence[str]) -> Collection:
    """Just these faces in this order: pictures, or the patches of their boxes."""
    pictures = target if place.faces is None else target.to_patches(place.faces)
    return pictures.select(list(ids), ordered=True)


def drawn_view(place: Shelf, target: Collection) -> Collection:
    """The faces that were decided about because they were drawn at random, and in a picture only these."""
    if place.faces is None:
        return target.match(F(f"{place.record}.{CHOSEN}") == RANDOM)
    return target.filter_labels(place.faces, F(f"{place.name}{RECORD}.{CHOSEN}") == RANDOM)


def whereabouts(place: Shelf, face: Standing) -> tuple[str, BOX | None] | None:
    """File and box of a face, [x, y, w, h] in shares of the picture; None where it was deleted."""
    pictures = with_ids(place.dataset, [face.sample_id])
    paths = columns.read(pictures, ["filepath", *([] if place.faces is None else [f"{place.faces}.{DETECTIONS}"])])
    if not paths["filepath"]:
        return None
    path = paths["filepath"][0]
    if place.faces is None:
        return path, None
    held = flat(paths[f"{place.faces}.{DETECTIONS}"])
    return next(((path, boxes.place(d)) for d in held if str(d["_id"]) == face.id), None)


def pictures_of(dataset: fo.Dataset) -> Collection:
    """All pictures of a dataset, of whatever slice."""
    return all_pictures(dataset)


def reviews_in(rows: PictureRows, field: str) -> Counter[tuple[str, str | None, str | None]] | None:
    """Labels of a reviewed field by decision, by how the face was chosen and by the run that was shown.

    None for a field that holds no reviews.
    """
    found = rows.target.get_field(field)
    if found is None or REVIEWS not in (found.info or {}):
        return None
    on_faces = isinstance(rows, FaceRows) and field.startswith(f"{rows.faces}{IN_FACES}")
    name, faces = (field.rpartition(".")[2], rows.faces) if on_faces and isinstance(rows, FaceRows) else (field, None)
    place = Shelf(rows.target._dataset, name, faces)
    labels, records = _stored(rows, place, (DECISION, CHOSEN, SHOWN_RUN, ACT, DECIDED))
    counts = Counter[tuple[str, str | None, str | None]]()
    for label, decision, chosen, run, act, decided in zip(labels, *records, strict=True):
        if label is not None:
            kind = LABELLED if act is None else EDITED if label != decided else str(decision)
            counts[kind, chosen if kind not in (LABELLED, EDITED) else None, run] += 1
    return counts


def now() -> datetime:
    """The time that a record gets, in UTC; MongoDB keeps milliseconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
