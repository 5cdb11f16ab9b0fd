"""Other pictures of the same face. None changes a label: no part of a face is hidden, and nothing is turned far.

Colours move no further than another lamp moves them, since perceived race and age hang on them.
"""

from __future__ import annotations

import io
import random

from PIL import Image, ImageEnhance, ImageFilter

MOST_TURN_DEG = 8.0
LEAST_CROP = 0.9
"""Side of what is cut out of a picture, as a share of it, at least."""
COLOUR = 0.2
JPEG = (45, 95)
MOST_BLUR = 0.01
"""Radius of the blur as a share of the picture's shorter side, at most."""


def augmented(picture: Image.Image, seed: int) -> Image.Image:
    """An RGB picture of the same size, flipped, turned, cut, coloured, compressed or blurred as ``seed`` draws it."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = _framed(picture, draw)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(draw.uniform(1 - COLOUR, 1 + COLOUR))
    if draw.random() < 0.3:
        picture = _compressed(picture, draw.randint(*JPEG))
    if draw.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(0, MOST_BLUR) * min(picture.size)))
    return picture


def _framed(picture: Image.Image, draw: random.Random) -> Image.Image:
    """Turned a little and cut a little, at the size that it had; what a turn bares shows the picture as it stood."""
    degrees, share = draw.uniform(-MOST_TURN_DEG, MOST_TURN_DEG), draw.uniform(LEAST_CROP, 1.0)
    turned = picture.rotate(degrees, Image.Resampling.BICUBIC)
    covered = Image.new("L", picture.size, 255).rotate(degrees)
    filled = Image.composite(turned, picture, covered)
    width, height = (share * side for side in picture.size)
    left, top = draw.uniform(0, picture.width - width), draw.uniform(0, picture.height - height)
    return filled.resize(picture.size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _compressed(picture: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")
