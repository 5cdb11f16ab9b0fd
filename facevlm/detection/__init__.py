"""What finds faces in pictures: one protocol, opened by name. Knows nothing of FiftyOne.

Classes are named by strings, so that importing this package loads no model library. A package of somebody else adds a
detector by an entry point of the group ``facevlm.detectors``: a function that is given a :class:`Search` and gives a
:class:`Detector`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from PIL.Image import Image

from facevlm import arguments, doors
from facevlm.detection import weights
from facevlm.doors import Addition
from facevlm.errors import InputError, ModelError, UnknownName
from facevlm.faces.images import BOX
from facevlm.types import Face, Outcome

if TYPE_CHECKING:
    # Measuring takes OpenCV, which is not loaded for a name.
    from facevlm.faces.quality import Quality

POINT = tuple[float, float]
AUTO = "auto"
FAR = 1000.0
"""Widths of a picture in which nothing is to be found any more."""
FIELD = "faces"
"""Where faces go that are found."""
DETECTORS = {
    "yunet": "facevlm.detection.yunet:open_yunet",
    "haar": "facevlm.detection.haar:open_haar",
    "paligemma": "facevlm.detection.grounding:open_paligemma",
    "florence-2": "facevlm.detection.grounding:open_florence2",
}
GROUNDED = ("paligemma", "florence-2")
"""Those that are models which answer with places."""
TILES = ("auto", "on", "off")


@dataclass(frozen=True)
class FoundFace:
    """One face as a detector saw it, in shares of the upright picture.

    ``confidence`` is None where a detector gives none that can be read as one. ``landmarks_xy_rel`` are the person's
    right eye, left eye, nose tip, right and left corner of the mouth, None where a detector finds none.
    """

    box_xywh_rel: BOX
    confidence: float | None = None
    landmarks_xy_rel: tuple[POINT, ...] | None = None


@dataclass(frozen=True)
class DetectorInfo:
    """Facts about a detector for run records; no secret. ``identity`` is a digest of all that decides what it finds;
    ``notes`` are sentences a user should read."""

    name: str
    identity: str
    licence: str
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """How pictures are searched.

    ``min_confidence`` keeps faces of at least this confidence, by default the detector's own line. ``min_face_px``
    keeps faces whose shorter side has so many pixels, ``max_faces`` the most confident ones. ``tiles`` looks at large
    pictures piece by piece, too, for small faces in a crowd: ``on``, ``off``, or ``auto`` where the picture as a whole
    shows many or small faces, or is very large and shows none. ``weights`` is a file with the detector's weights, or
    for a vision-language model its name, as ``hf:ID-or-folder``.
    """

    min_confidence: float | None = None
    min_face_px: int | None = None
    max_faces: int | None = None
    tiles: str = "auto"
    weights: str | None = None

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise InputError(f"Got min_confidence={self.min_confidence}, expected a share between 0 and 1.")
        for name in ("min_face_px", "max_faces"):
            got = getattr(self, name)
            if got is not None and (type(got) is not int or got < 1):
                raise InputError(f"Got {name}={got!r}, expected a whole number from 1 on.")
        if self.tiles not in TILES:
            raise InputError(f"Got tiles='{self.tiles}', expected one of {', '.join(TILES)}.")


class Detector(Protocol):
    """Anything that finds faces."""

    @property
    def info(self) -> DetectorInfo:
        """Facts for the run record."""

    def detect(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """The faces of every picture (upright, RGB, any size), the most confident first; none is an empty list.

        Raises :class:`~facevlm.errors.ModelError` where it cannot work at all.
        """


@dataclass(frozen=True)
class Looked:
    """What came of one picture: ``ok``, ``no_face``, ``unparsed`` or ``failed``, and why.

    ``text`` is what a model said. ``ok`` with a ``reason`` means that a part of the answer could not be used.
    """

    faces: tuple[FoundFace, ...]
    outcome: Outcome
    reason: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Searched:
    """A picture with the faces that were found in it; ``quality`` has one entry per face where it was measured."""

    picture: Face
    faces: tuple[FoundFace, ...]
    outcome: Outcome
    reason: str | None = None
    quality: tuple[Quality, ...] = ()


@runtime_checkable
class Explaining(Protocol):
    """A detector that can fail on one picture, and then says why."""

    def look(self, images: Sequence[Image]) -> list[Looked]:
        """What came of every picture, in order."""


def look(detector: Detector, images: Sequence[Image]) -> list[Looked]:
    """What came of every picture, whether or not the detector explains itself.

    Detectors come from elsewhere, too: a picture with a face that is none, such as one at nan, has ``failed``.
    """
    if isinstance(detector, Explaining):
        return [_checked(looked) for looked in detector.look(images)]
    return [_checked(found(faces)) for faces in (detector.detect(images) if images else [])]


def _checked(looked: Looked) -> Looked:
    odd = [face for face in looked.faces if not _is_face(face)]
    if not odd:
        return looked
    got = f"{getattr(odd[0], 'box_xywh_rel', odd[0])!r:.80} with confidence {getattr(odd[0], 'confidence', None)!r:.20}"
    return Looked((), "failed", f"the detector gave the box {got}, expected four finite numbers with an area")


def _is_face(face: object) -> bool:
    if not isinstance(face, FoundFace):
        return False
    box, marks = tuple(face.box_xywh_rel), [*(face.landmarks_xy_rel or ())]
    points = [number for mark in marks for number in mark]
    numbers = [*box, *points, *([] if face.confidence is None else [face.confidence])]
    return len(box) == 4 and all(map(_is_number, numbers)) and box[2] > 0 and box[3] > 0


def _is_number(value: object) -> bool:
    """Whether a value is a number of a picture's order. Compared, not converted: it may be larger than any float."""
    return isinstance(value, Real) and not isinstance(value, bool) and -FAR <= cast(float, value) <= FAR


def found(faces: Sequence[FoundFace]) -> Looked:
    """The faces of a picture whose search went well."""
    return Looked(tuple(faces), "ok") if faces else Looked((), "no_face", "no face was found")


@functools.cache
def added() -> Mapping[str, Addition[Callable[[Search], Detector]]]:
    """What opens the detectors of installed packages, by name."""
    return doors.admit("detectors", _opener, (AUTO, *DETECTORS))


def _opener(addition: Addition[object]) -> Callable[[Search], Detector]:
    if not callable(addition.value):
        raise TypeError(f"got {addition.value!r}, expected a function of a Search that gives a detector")
    return cast(Callable[[Search], Detector], addition.value)


def names() -> list[str]:
    """The names under which :func:`open_detector` knows detectors."""
    return [AUTO, *DETECTORS, *added()]


def open_detector(name: str = AUTO, search: Search | None = None) -> Detector:
    """The detector of a name; ``auto`` is YuNet where its weights can be had, else the one that comes with OpenCV.

    Raises :class:`~facevlm.errors.UnknownName`, or :class:`~facevlm.errors.ModelError` where its weights are missing.
    """
    search = search or Search()
    if name in DETECTORS:
        return _opened(DETECTORS[name], search)
    if name != AUTO:
        if name not in added():
            raise UnknownName("detector", name, names())
        return added()[name].value(search)
    try:
        return _opened(DETECTORS["yunet"], search)
    except ModelError as error:
        if search.weights is not None:
            raise
        return _opened(DETECTORS["haar"], search, (f"This is the simple detector that comes with OpenCV. {error}",))


def check(name: str, search: Search) -> None:
    """Raise as :func:`open_detector` would, as far as that is known before anything is fetched or loaded."""
    if name not in names():
        raise UnknownName("detector", name, names())
    if name == "yunet" or (name == AUTO and search.weights is not None):
        weights.check_yunet(search.weights)
    elif name in GROUNDED:
        importlib.import_module("facevlm.detection.grounding").check(search.weights or name, search)


def _opened(path: str, search: Search, notes: tuple[str, ...] = ()) -> Detector:
    module, name = path.split(":")
    made: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return cast(Detector, made(search, notes))
