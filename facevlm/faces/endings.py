"""JPEGs without their end: those whose pixels are there all the same are read."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

LACKING = 0.05
"""Share of a picture's rows that may be lacking at its lower end, which is about a row of blocks of a small picture."""
END = b"\xff\xd9"
OTHER = b"\x5a" * 64
"""Bits that a picture does not go on with."""


def completed(picture: Image.Image, data: bytes, error: OSError) -> Image.Image:
    """A JPEG that could not be read for its lacking end, with an end.

    Raises ``error`` where it is something else, and OSError that says how much is lacking where pixels are, too.
    """
    if picture.format not in ("JPEG", "MPO") or "truncated" not in str(error):
        raise error
    begun = data.rstrip(b"\0").removesuffix(END).rstrip(b"\xff")
    shown = _read(begun + END)
    lacking = shown.height - _rows(shown, _read(begun + OTHER + END))
    # The last pass over a progressive picture may lack in rows that the earlier ones have: how much, nobody can tell.
    if lacking > (0 if picture.info.get("progressive") else LACKING * shown.height):
        raise OSError(f"it is cut short, {_share(picture, lacking, shown.height)} lacking")
    return shown


def _read(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
    whole: Image.Image = opened
    return whole


def _rows(one: Image.Image, other: Image.Image) -> int:
    """Rows down to the first that depends on what follows upon the data: so many are there."""
    differs = (np.asarray(one) != np.asarray(other)).reshape(one.height, -1).any(axis=1)
    return int(differs.argmax()) if differs.any() else one.height


def _share(picture: Image.Image, lacking: int, height: int) -> str:
    if picture.info.get("progressive"):
        return "a part of the pixels is"
    return f"{lacking} of {height} rows of pixels are"
