"""Faces that a detector found, as Detections: written by picture in chunks, gone on with by what is there.

Every Detection has the label ``face``, a box, a confidence, landmarks and, if wanted, numbers of quality. The
Detections of a picture as a whole carry its outcome (``ok``, ``no_face``, ``unparsed`` or ``failed``), reason and run.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import fiftyone as fo
from bson import ObjectId
from fiftyone import ViewField as F

from facevlm.detection import Searched
from facevlm.errors import FieldError
from facevlm.faces.images import BOX
from facevlm.faces.quality import Quality
from facevlm.store import boxes, columns, documents, predictions
from facevlm.store.database import patiently
from facevlm.store.documents import Document
from facevlm.store.schema import BOXES, DETECTIONS, FOUND, FOUND_FACE, OUTCOME, RUN, SEARCHED_PICTURE, WRITTEN
from facevlm.store.targets import Collection, with_ids
from facevlm.store.updates import Change, Updates, require_writable
from facevlm.types import Face

METHOD = "facevlm_detection"
MEASURED = boxes.QUALITY[0]
"""A number that every box has whose quality was measured."""


def check_field(dataset: fo.Dataset, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a name that is none, or a field that no detector wrote."""
    if not name.isidentifier() or name.startswith("_"):
        raise FieldError(f"Got the field '{name}', expected letters, digits and underscores, such as 'faces'.")
    field = dataset.get_field(name)
    parts = [f"{name}.{part}" for part in SEARCHED_PICTURE]
    if field is not None and not predictions.is_written_here(dataset, field, parts, BOXES):
        raise FieldError(
            f"Field '{name}' is already there and was not written by a detector. Choose another field; it is left as "
            "it is."
        )
    require_writable(dataset, [name])


def pending(target: Collection, pictures: Sequence[Face], field: str) -> list[Face]:
    """The pictures that no detector has looked at yet, or that could not be read."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return list(pictures)
    states = zip(pictures, columns.known(target, [f"{field}.{OUTCOME}"]), strict=True)
    # A file that could not be read may be there by now; nobody in a picture is an answer.
    return [picture for picture, (outcome,) in states if outcome in (None, "failed")]


def stamps(target: Collection, field: str) -> set[str]:
    """The stamps of the runs that looked at pictures of the target, whatever they found."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return set()
    looked = (F(f"{field}.{OUTCOME}") != None) & (F(f"{field}.{OUTCOME}") != "failed")  # noqa: E711
    return set(target.match(looked).distinct(f"{field}.{RUN}"))


def outcome_counts(target: Collection, field: str) -> dict[str, int]:
    """Pictures per outcome, as the dataset holds them now."""
    return predictions.counts(target, field)


@dataclass(frozen=True)
class KnownBox:
    """A stored box of a picture, with its five landmarks where it has them."""

    label_id: str
    box_xywh_rel: BOX
    landmarks_xy_rel: Sequence[tuple[float, float]] | None


def unmeasured(target: Collection, field: str) -> dict[str, list[KnownBox]]:
    """Boxes without numbers of quality, by the sample of their picture."""
    if target._dataset.get_field(f"{field}.{OUTCOME}") is None:
        return {}
    stored = columns.read(target, ["id", f"{field}.{DETECTIONS}"])
    lacking = {
        sample_id: [_known(box) for box in held or () if box.get(MEASURED) is None]
        for sample_id, held in zip(*stored.values(), strict=True)
    }
    return {sample_id: known for sample_id, known in lacking.items() if known}


def _known(box: Document) -> KnownBox:
    return KnownBox(str(box["_id"]), boxes.place(box), boxes.landmarks(box))


class DetectionWriter:
    """Declares the field, and writes chunks of searched pictures and of measured boxes to it by id.

    Where ``replace`` is set, boxes that are as a detector left them are replaced, as by
    :func:`facevlm.store.boxes.merge`.
    ``counts`` has how many boxes were kept, replaced, removed and added.
    """

    def __init__(self, dataset: fo.Dataset, field: str, stamp: str, *, quality: bool, replace: bool = False) -> None:
        self._dataset, self._field, self._stamp, self._replace = dataset, field, stamp, replace
        self.counts = Counter[str]()
        measured = dict.fromkeys(boxes.QUALITY, float) if quality else {}
        predictions.add(
            dataset,
            {field: predictions.document(fo.Detections, f"Faces that a detector found; run {stamp}", {WRITTEN: BOXES})}
            | predictions.parts_of(f"{field}.{DETECTIONS}", {**FOUND_FACE, **measured})
            | predictions.parts_of(field, SEARCHED_PICTURE),
        )
        self._updates = Updates(dataset, [field])
        self.gone = self._updates.gone

    def __call__(self, searched: Sequence[Searched]) -> None:
        stored = self._stored([s.picture.sample_id for s in searched])
        made = {s.picture.sample_id: self._merged(s, stored.get(s.picture.sample_id) or {}) for s in searched}
        self._updates.change({sample_id: _set({self._field: {"$literal": one}}) for sample_id, one in made.items()})

    def _stored(self, ids: Sequence[str]) -> dict[str, Document]:
        """What the pictures hold now; nothing of those that were deleted."""
        read = functools.partial(columns.read, with_ids(self._dataset, ids), ["id", self._field])
        return dict(zip(*patiently(read, seconds=None).values(), strict=True))

    def _merged(self, searched: Searched, stored: Document) -> Document:
        # Where the search failed nothing is known about the boxes that are there.
        replace = self._replace and searched.outcome in ("ok", "no_face")
        merged = boxes.merge(
            stored.get(DETECTIONS) or [], [_found(f) for f in documents.found_faces(searched)], replace=replace
        )
        self.counts += merged.counts
        made = {"_cls": "Detections", **stored, DETECTIONS: merged.boxes}
        return made | documents.searched_picture(searched, self._stamp)

    def measured(self, numbers: Mapping[str, Mapping[str, Quality]]) -> None:
        """Add numbers of quality to stored boxes: sample -> box -> numbers; nothing else of a box is changed.

        A sample none of whose boxes could be measured stays as it is.
        """
        some = {sample_id: by_box for sample_id, by_box in numbers.items() if by_box}
        self._updates.change({sample_id: self._with_numbers(by_box) for sample_id, by_box in some.items()})

    def _with_numbers(self, by_box: Mapping[str, Quality]) -> Change:
        root = f"{self._field}.{DETECTIONS}"
        numbers = [
            {"case": {"$eq": ["$$this._id", ObjectId(label_id)]}, "then": {"$literal": asdict(quality)}}
            for label_id, quality in by_box.items()
        ]
        box = {"$mergeObjects": ["$$this", {"$switch": {"branches": numbers, "default": {}}}]}
        return _set({root: {"$map": {"input": f"${root}", "in": box}}})


def _set(sets: Document) -> Change:
    return [{"$set": sets | {"last_modified_at": "$$NOW"}}]


def _found(face: Document) -> Document:
    """A found face as the database holds it, marked as a detector left it."""
    made: Document = fo.Detection(**face, **{FOUND: boxes.mark(face)}).to_mongo().to_dict()
    return made
