"""Small pictures as data URLs."""

from __future__ import annotations

import base64
import io

from PIL import Image

from facevlm.errors import ImageError
from facevlm.faces import crops, images
from facevlm.faces.crops import Crop
from facevlm.faces.images import BOX
from facevlm.reports.source import Mistake
from facevlm.reports.structure import EmbeddedPicture, share

SIDE = 128
QUALITY = 80


def thumbnail(mistake: Mistake) -> EmbeddedPicture:
    """The picture of an error, at most ``SIDE`` pixels wide and high; without one where the file cannot be read."""
    caption = f"said {mistake.predicted}, true {mistake.true}, confidence {share(mistake.confidence)}"
    try:
        picture = images.load(mistake.filepath)
    except ImageError:
        return EmbeddedPicture("", f"{caption} (the picture cannot be read)")
    return EmbeddedPicture(data_url(picture), caption)


def data_url(picture: Image.Image, side_px: int = SIDE) -> str:
    """A picture, at most so many pixels wide and high, as an address that holds it."""
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    # Saved from the pixels alone: EXIF data, such as a place, stays behind.
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    held = io.BytesIO()
    bare.save(held, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode('ascii')}"


def face(filepath: str, box_xywh_rel: BOX, side_px: int) -> str:
    """The face in a box of a picture as an address that holds it. Raises :class:`~facevlm.errors.ImageError`."""
    return data_url(crops.cut(images.load(filepath), box_xywh_rel, Crop()), side_px)
