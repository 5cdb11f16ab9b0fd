"""A face cut out of its picture: with a margin, square, level if wanted; where the picture ends its edge goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facevlm import arguments
from facevlm.errors import ImageError, InputError
from facevlm.faces.images import BOX, MAX_PIXELS, side_px

EYES = tuple[tuple[float, float], tuple[float, float]]
MOST = 10.0
"""Largest margin that is taken, as a share of the box."""


@dataclass(frozen=True)
class Crop:
    """How a face is cut out of its picture.

    ``margin`` is left on every side of the box, as a share of its size: 0.25 as in FairFace's pictures of that name,
    or 1.25 as in its other edition (the ``padding`` of dlib's face chips; Karkkainen and Joo, WACV 2021). ``square``
    widens the shorter side around the middle. ``align`` turns the face so that its eyes are level, where they are
    known.
    """

    margin: float = 0.25
    square: bool = True
    align: bool = False

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if not 0 <= self.margin <= MOST:
            raise InputError(
                f"Got margin={self.margin!r}, expected a share of the box from 0 to {MOST:g}, such as 0.25 or 1.25."
            )


def cut(
    picture: Image.Image,
    box_xywh_rel: BOX,
    crop: Crop,
    eyes_xy_rel: EYES | None = None,
    size_wh: tuple[int, int] | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """The face in a box (x, y, width, height in shares of the picture), resized with antialiasing if a size is given.

    ``eyes_xy_rel`` are the person's right and left eye. What lies outside of the picture repeats its edge. Raises
    :class:`~facevlm.errors.ImageError` for a box that is not finite, has no area, lies outside, or is far too large.
    """
    side_px(box_xywh_rel, *picture.size)
    x, y, w, h = (v * side for v, side in zip(box_xywh_rel, picture.size * 2, strict=True))
    size, middle = _sides(w, h, crop), (x + w / 2, y + h / 2)
    if crop.align and eyes_xy_rel is not None:
        face = _level(picture, middle, size, roll_deg(eyes_xy_rel, *picture.size))
    else:
        face = _region(picture, middle, size)
    return face if size_wh is None or face.size == size_wh else face.resize(size_wh, resample)


def _sides(w: float, h: float, crop: Crop) -> tuple[int, int]:
    """Width and height in pixels of what is cut out around a box."""
    wide = 1 + 2 * crop.margin
    width, height = (max(w, h) * wide,) * 2 if crop.square else (w * wide, h * wide)
    _check_size(width, height)
    return max(1, round(width)), max(1, round(height))


def _check_size(width: float, height: float) -> None:
    # Not "greater than": a product that overflows must not pass.
    if not max(1.0, width) * max(1.0, height) <= MAX_PIXELS:
        raise ImageError(f"the box is too large: {width:.4g} x {height:.4g} pixels are to be cut out")


def roll_deg(eyes_xy_rel: EYES, width: int, height: int) -> float:
    """How far a face is turned in the plane of the picture, in degrees, clockwise: 0 where the eyes are level."""
    (x, y), (to_x, to_y) = eyes_xy_rel
    if not np.isfinite(eyes_xy_rel).all():
        return 0.0
    return math.degrees(math.atan2((to_y - y) * height, (to_x - x) * width))


def _level(picture: Image.Image, middle: tuple[float, float], size: tuple[int, int], roll_deg: float) -> Image.Image:
    """A region turned around its middle. Only its surroundings are turned, not the whole picture."""
    around = math.ceil(math.hypot(*size)) + 2
    _check_size(around, around)
    around += (around - size[0]) % 2
    turned = _region(picture, middle, (around, around)).rotate(roll_deg, Image.Resampling.BICUBIC)
    left, top = ((around - side) // 2 for side in size)
    return turned.crop((left, top, left + size[0], top + size[1]))


def _region(picture: Image.Image, middle: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """The pixels around a point, the picture's edge repeated where it ends."""
    starts = [round(centre - side / 2) for centre, side in zip(middle, size, strict=True)]
    ends = [start + side for start, side in zip(starts, size, strict=True)]
    # A rounded region may miss the picture by a pixel: the edge itself is then all there is.
    inner = [
        (min(max(0, start), full - 1), max(min(full, end), 1))
        for start, end, full in zip(starts, ends, picture.size, strict=True)
    ]
    part = picture.crop((inner[0][0], inner[1][0], inner[0][1], inner[1][1]))
    before = [max(0, low - start) for (low, _), start in zip(inner, starts, strict=True)]
    after = [max(0, side - b - p) for side, b, p in zip(size, before, part.size, strict=True)]
    if not any((*before, *after)):
        return part
    pixels = np.pad(np.asarray(part), ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    return Image.fromarray(pixels).crop((0, 0, *size))
