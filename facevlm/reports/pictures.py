"""Small pictures as data URLs."""

from __future__ import annotations

import base64
import io

from PIL import Image

from facevlm.errors import ImageError
from facevlm.faces import images
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
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    # Saved from the pixels alone: EXIF data, such as a place, stays behind.
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    held = io.BytesIO()
    bare.save(held, "JPEG", quality=QUALITY)
    return EmbeddedPicture(f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode('ascii')}", caption)
