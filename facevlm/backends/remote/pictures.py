"""What leaves the machine of a picture: its pixels, made small, as a JPEG file without any metadata."""

from __future__ import annotations

import io

from PIL import Image

from facevlm.faces.images import shrunk


def encode(picture: Image.Image, max_side: int, quality: int) -> bytes:
    """JPEG bytes of an RGB picture, its longer side at most ``max_side`` pixels, without EXIF, profile or comment.

    The pixels are copied into a new picture first, so nothing that clings to the old one is written along.
    """
    small = shrunk(picture, max_side)
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    out = io.BytesIO()
    bare.save(out, "JPEG", quality=quality)
    return out.getvalue()
