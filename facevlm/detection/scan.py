"""A picture searched as a whole and in tiles: sizes, overlaps, and which of several boxes are one face. NumPy alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevlm.detection import FoundFace, Search

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
OVERLAP = 0.25
"""Of neighbouring tiles, as a share of a tile: a face smaller than this is whole in one of them."""
FAR = 1e6
"""Pixels beyond which no picture reaches."""
BORDER = 2
"""Pixels from a tile's border within which a face is taken for cut."""
SAME = 0.4
"""Intersection over the smaller box from which on two boxes are one face."""
MANY, SMALL = 10, 24
"""Faces in the whole picture, or the shorter side of one in pixels as it is searched, from which on tiles are worth
their time."""
LARGE = 2.0
"""A picture so many times larger than it is searched at may hide faces where none was found: ``benchmarks/crowds.py``
has crowds of which the whole shows nobody and tiles nine in ten."""


@dataclass(frozen=True)
class _Spotted:
    """Raw faces in pixels of what was searched: boxes (n, 4) as x, y, w, h, scores (n,), landmarks (n, 5, 2) if any."""

    boxes: Array
    scores: Array
    landmarks: Array | None = None

    def moved(self, scale: float, left: float = 0.0, top: float = 0.0) -> _Spotted:
        """In pixels of a picture of which what was searched is the part at (left, top), scaled by ``scale``."""
        shift = np.array([left, top])
        boxes = self.boxes / scale
        boxes[:, :2] += shift
        return _Spotted(boxes, self.scores, None if self.landmarks is None else self.landmarks / scale + shift)

    def take(self, rows: NDArray[np.int64]) -> _Spotted:
        return _Spotted(self.boxes[rows], self.scores[rows], None if self.landmarks is None else self.landmarks[rows])


Find = Callable[[Pixels], _Spotted]
"""Searches RGB pixels (height, width, 3)."""


def scan(picture: Image.Image, find: Find, side: int, search: Search, *, scored: bool = True) -> list[FoundFace]:
    """The faces of a picture, the most confident first; where scores are no confidences, it is None.

    ``side`` is the longer side in pixels at which a detector searches best, also that of a tile.
    """
    scale = min(1.0, side / max(picture.size))
    spotted = [find(_pixels(picture, scale)).moved(scale)]
    if scale < 1 and (search.tiles == "on" or (search.tiles == "auto" and _worth_tiles(spotted[0], scale))):
        spotted += [_in_tile(picture, find, tile) for tile in tiles(*picture.size, side)]
    merged = joined(spotted)
    kept = merged.take(suppressed(merged.boxes, merged.scores))
    return _faces(kept, picture.size, search, scored)


def _in_tile(picture: Image.Image, find: Find, tile: tuple[int, int, int, int]) -> _Spotted:
    """The faces that are whole in a tile: one that its border cuts is whole in the next tile, or in the picture."""
    spotted = find(np.asarray(picture.crop(tile))).moved(1.0, *tile[:2])
    low, high = spotted.boxes[:, :2], spotted.boxes[:, :2] + spotted.boxes[:, 2:]
    at_start = (low <= np.array(tile[:2]) + BORDER) & (np.array(tile[:2]) > 0)
    at_end = (high >= np.array(tile[2:]) - BORDER) & (np.array(tile[2:]) < np.array(picture.size))
    return spotted.take(np.flatnonzero(~(at_start | at_end).any(1)))


def _pixels(picture: Image.Image, scale: float) -> Pixels:
    if scale == 1:
        return np.asarray(picture)
    size = [max(1, round(side * scale)) for side in picture.size]
    # A box filter in steps, as detectors were trained on pictures without aliasing.
    return np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _worth_tiles(spotted: _Spotted, scale: float) -> bool:
    if not len(spotted.boxes):
        return scale * LARGE <= 1
    return len(spotted.boxes) >= MANY or float(spotted.boxes[:, 2:].min() * scale) < SMALL


def tiles(width: int, height: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Squares of ``side`` pixels that cover a picture and overlap; smaller ones where the picture is."""
    rows, columns = (_starts(full, side) for full in (height, width))
    for top, left in itertools.product(rows, columns):
        yield left, top, min(left + side, width), min(top + side, height)


def _starts(full: int, side: int) -> list[int]:
    if full <= side:
        return [0]
    count = int(np.ceil((full - side) / (side * (1 - OVERLAP)))) + 1
    return [round(start) for start in np.linspace(0, full - side, count)]


def joined(spotted: list[_Spotted]) -> _Spotted:
    """All of several searches, those without landmarks where any has none."""
    boxes, scores = (np.concatenate([getattr(f, name) for f in spotted]) for name in ("boxes", "scores"))
    marked = [f.landmarks for f in spotted if f.landmarks is not None]
    return _Spotted(boxes, scores, np.concatenate(marked) if len(marked) == len(spotted) else None)


def suppressed(boxes: Array, scores: Array) -> NDArray[np.int64]:
    """Which of boxes that lie on one another to keep, the highest score first (greedy non-maximum suppression).

    Over the smaller of two boxes, not over their union: half a face at a tile's border lies within the whole one.
    Boxes that are not finite, smaller than a pixel, or beyond all pictures are left out.
    """
    usable = (np.abs(boxes) < FAR).all(1) & (boxes[:, 2:] >= 1).all(1) & np.isfinite(scores)
    order = np.flatnonzero(usable)[np.argsort(-scores[usable], kind="stable")]
    kept: list[int] = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        order = rest[_shared(boxes[first], boxes[rest]) < SAME]
    return np.array(kept, dtype=np.int64)


def _shared(box: Array, others: Array) -> Array:
    """The intersection of a box with others, as a share of the smaller one."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    share: Array = both / np.minimum(box[2:].prod(), others[:, 2:].prod(1))
    return share


def _faces(spotted: _Spotted, size: tuple[int, int], search: Search, scored: bool) -> list[FoundFace]:
    full = np.array(size, dtype=np.float64)
    faces = []
    for k, (box, score) in enumerate(zip(spotted.boxes, spotted.scores, strict=True)):
        low, high = np.clip(box[:2], 0, full), np.clip(box[:2] + box[2:], 0, full)
        if (high <= low).any() or (search.min_face_px is not None and (high - low).min() < search.min_face_px):
            continue
        points: Any = None if spotted.landmarks is None else spotted.landmarks[k] / full
        faces.append(
            FoundFace(
                tuple(float(v) for v in (*(low / full), *((high - low) / full))),  # type: ignore[arg-type]
                float(min(1.0, score)) if scored else None,
                None if points is None else tuple((float(x), float(y)) for x, y in points),
            )
        )
    return faces[: search.max_faces]
