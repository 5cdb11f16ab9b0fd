"""A target as rows: one per picture, or one per face where attributes are on Detections.

Everything that reads labels reads rows, so that pictures and faces are evaluated by the same code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation.metrics import Codes, Floats
from facevlm.faces.matching import match_pictures
from facevlm.store import columns
from facevlm.store.schema import BOUNDING_BOX, DETECTIONS, FACE, ID, LABEL, LOGITS, NATIVE, OUTCOME
from facevlm.store.targets import Collection, document_of, holds, holds_answers

SKIPPED = {"id", "filepath", "media_type", "sample_id"}
IN_FACES = f".{DETECTIONS}."


class PictureRows:
    """One row per sample that was there when something was first read; of those deleted since, what is read later is
    None."""

    _own: tuple[str, ...] = ()
    """Path of the Detections that are the rows, if they are."""

    def __init__(self, target: Collection) -> None:
        self.target = target
        self._columns: dict[str, list[Any]] = {}
        self._ids: list[str] | None = None
        self._distinct: dict[str, list[Any]] = {}

    def load(self, paths: Iterable[str]) -> None:
        """Read what will be asked for, all in one pass; what was not is read when it is."""
        missing = [path for path in dict.fromkeys(paths) if path not in self._columns]
        if missing:
            read = columns.read(self.target, list(dict.fromkeys([*missing, ID])))
            self._columns.update({path: self._in_order(read[ID], read[path]) for path in missing})

    def _in_order(self, ids: list[str], values: list[Any]) -> list[Any]:
        """Values of the samples with the ids, one per row."""
        self._ids = ids if self._ids is None else self._ids
        if ids == self._ids:
            return values
        by_id = dict(zip(ids, values, strict=True))
        return [by_id.get(one) for one in self._ids]

    def ids(self) -> list[str]:
        """The sample of every row."""
        return self.values("id")

    def values(self, path: str) -> list[Any]:
        """One value per row; of what is known about faces, that of the picture's only face."""
        if IN_FACES in path:
            listed = self._in_order(*self.target.values([ID, path]))
            return [faces[0] if faces and len(faces) == 1 else None for faces in listed]
        self.load([path])
        return self._columns[path]

    def distinct(self, path: str) -> list[Any]:
        """The different values of a path, of what is loaded or else by the database, once."""
        if path not in self._distinct:
            read = self._columns.get(path)
            found = self.target.distinct(path) if read is None else sorted({v for v in read if v is not None}, key=str)
            self._distinct[path] = list(found)
        return self._distinct[path]

    def tags(self) -> list[list[str]]:
        return [tags or [] for tags in self.values("tags")]

    def value_path(self, name: str) -> str:
        """Where a field keeps its value: the label of a Classification, or the field itself."""
        return f"{name}.{LABEL}" if document_of(self.target.get_field(name)) is not None else name

    def candidates(self, kinds: tuple[type, ...]) -> list[str]:
        """Fields of these kinds, and Classifications."""
        schema = self.target.get_field_schema()
        return [n for n, f in schema.items() if n not in SKIPPED and _is_one(f, kinds)]

    def elsewhere(self, kinds: tuple[type, ...]) -> list[str]:
        """What other fields of Detections than that of the rows know about faces, such as their sharpness."""
        roots = tuple(f"{name}{IN_FACES}" for name in detections_fields(self.target))
        return [n for n in _face_attributes(self.target, roots, kinds) if not n.startswith(self._own)]

    def answers(self, name: str, *parts: str) -> list[list[Any]]:
        """Parts of the predictions in a field, one list per part; all None in a row that was not asked about."""
        paths = [f"{name}.{part}" for part in parts]
        self.load(paths)
        return [self._columns[path] for path in paths]

    def scores(self, name: str, width: int) -> Floats:
        """The predictions' log-probabilities, (rows, width), nan where there are none."""
        return columns.vectors(self.values(f"{name}.{LOGITS}"), width)

    def extra(self, name: str) -> int:
        """Predictions that belong to no row."""
        return 0


class FaceRows(PictureRows):
    """One row per face: per Detection of the field ``faces``, which holds ground truth.

    A prediction belongs to the face whose id it carries, else to the one it overlaps most, at least by ``MIN_IOU``,
    each face getting one at most (Hungarian method, over the intersection over union). A face without a prediction in a
    picture that was asked about has the outcome ``no_face``.
    """

    def __init__(self, target: Collection, faces: str) -> None:
        super().__init__(target)
        self.faces, self._root = faces, f"{faces}{IN_FACES}"
        self._own = (self._root,)
        face_ids = target.values(f"{self._root}{ID}")
        self._sizes = [len(ids or ()) for ids in face_ids]
        self.face_ids: list[str] = flat(face_ids)
        self._at: dict[str, Codes] = {}

    def values(self, path: str) -> list[Any]:
        if path.startswith(self._root):
            return flat(self.target.values(path))
        name, in_faces, _ = path.partition(IN_FACES)
        if in_faces:
            [values] = self._met(name, [flat(self.target.values(path))])
            return values
        return self._spread(super().values(path))

    def _spread(self, values: Sequence[Any]) -> list[Any]:
        return [value for value, n in zip(values, self._sizes, strict=True) for _ in range(n)]

    def per_picture(self, values: Sequence[Any]) -> list[list[Any]]:
        """One value per row, picture by picture."""
        ends = np.cumsum([0, *self._sizes]).tolist()
        return [list(values[a:b]) for a, b in itertools.pairwise(ends)]

    def candidates(self, kinds: tuple[type, ...]) -> list[str]:
        own = _face_attributes(self.target, self._own, kinds)
        return [*own, f"{self._root}{LABEL}", *super().candidates(kinds)]

    def answers(self, name: str, *parts: str) -> list[list[Any]]:
        stored = [flat(v) for v in self.target.values([f"{name}{IN_FACES}{part}" for part in parts])]
        rows = self._met(name, stored)
        if OUTCOME in parts:
            # A list without a face means that the picture was asked about, None that it was not.
            asked = self._spread([v is not None for v in self.target.values(f"{name}{IN_FACES}{ID}")])
            outcomes = rows[parts.index(OUTCOME)]
            for row, (k, was_asked) in enumerate(zip(self._matched(name).tolist(), asked, strict=True)):
                if k < 0 and was_asked:
                    outcomes[row] = "no_face"
        return rows

    def scores(self, name: str, width: int) -> Floats:
        stored = flat(self.target.values(F(f"{name}.{DETECTIONS}").map(F(LOGITS))))
        # The last row is that of faces without a prediction, whose place is -1.
        table = np.concatenate([columns.vectors(stored, width), np.full((1, width), np.nan)])
        return np.asarray(table[self._matched(name)])

    def extra(self, name: str) -> int:
        return len(flat(self.target.values(f"{name}{IN_FACES}{ID}"))) - int((self._matched(name) >= 0).sum())

    def _met(self, name: str, stored: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Of values about all Detections of a field those that belong to the rows, None where none does."""
        at = self._matched(name).tolist()
        return [[values[k] if k >= 0 else None for k in at] for values in stored]

    def _matched(self, name: str) -> Codes:
        """For every row the place of its Detection among all of another field, such as its prediction, or -1."""
        if name not in self._at:
            root = f"{name}{IN_FACES}"
            boxes, named = self.target.values([f"{root}{BOUNDING_BOX}", _attribute(self.target, f"{root}{FACE}")])
            true = self.target.values(f"{self._root}{BOUNDING_BOX}")
            self._at[name] = np.array(match_pictures(self.face_ids, true, named, boxes), dtype=np.int64)
        return self._at[name]


def flat(values: Iterable[Sequence[Any] | None]) -> list[Any]:
    """The items of lists, of which some may be None, one after the other."""
    return [value for items in values for value in items or ()]


def _face_attributes(target: Collection, roots: tuple[str, ...], kinds: tuple[type, ...]) -> list[str]:
    """Attributes of Detections, by their full paths, that hold these kinds or Classifications."""
    paths = []
    for path, field in target.get_field_schema(flat=True).items():
        _, _, part = path.partition(IN_FACES)
        if path.startswith(roots) and "." not in part and part not in NATIVE and _is_one(field, kinds):
            paths.append(path)
    return paths


def _is_one(field: fo.Field, kinds: tuple[type, ...]) -> bool:
    """Whether a field is of one of these kinds, or of Classifications."""
    return isinstance(field, kinds) or holds(field, fo.Classification)


def _attribute(target: Collection, path: str) -> Any:
    """A path, or where the schema does not know it an expression that is None in every place."""
    if target.get_field(path) is not None:
        return path
    root, _, _ = path.rpartition(".")
    nothing: Callable[[Any], Any] = F(root).map
    return nothing(F(FACE))


def rows_of(target: Collection, predicted: Sequence[str], faces: str | None = None) -> PictureRows:
    """The rows that fields of predictions are about: pictures, or faces where they are Detections.

    ``faces`` is as in :func:`choose_faces`.

    Raises :class:`~facevlm.errors.FieldError` where that is not known, or where predictions are on pictures and on
    faces.
    """
    names = list(dict.fromkeys(predicted))
    on_faces = [name for name in names if holds(target.get_field(name), fo.Detections)]
    if faces is None and not on_faces:
        return PictureRows(target)
    if len(on_faces) < len(names):
        rest = ", ".join(name for name in names if name not in on_faces)
        raise FieldError(
            f"The predictions {rest} are on whole pictures, expected Detections as faces='{faces}' needs.",
            app=f"The predictions {rest} are on whole pictures, the others on faces. Choose another field prefix.",
        )
    return FaceRows(target, choose_faces(target, faces))


def choose_faces(target: Collection, faces: str | None = None) -> str:
    """The Detections field with ground truth, by default the only one that holds no predictions.

    Raises :class:`~facevlm.errors.FieldError` where it is not known.
    """
    known = detections_fields(target)
    chosen = faces or (known[0] if len(known) == 1 else None)
    if chosen is None or chosen not in known:
        got = f"'{faces}', which is no field of Detections with ground truth" if faces else "no field of faces"
        there = ", ".join(known) or "none is there"
        raise FieldError(
            f"Got {got}, expected faces= one of: {there}.",
            app=f"Got {got}, expected one of: {there}. Choose the field whose faces have ground truth.",
        )
    return chosen


def detections_fields(target: Collection) -> list[str]:
    """Fields of Detections that facevlm did not write."""
    fields = [name for name, field in target.get_field_schema().items() if holds(field, fo.Detections)]
    return [name for name in fields if not holds_answers(target, name, f"{DETECTIONS}.{OUTCOME}")]
