"""Pictures: opened, turned upright, made RGB, cropped, resized. A picture is read rightly or not at all."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from facevlm.errors import ImageError

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: Pillow's own line for a decompression bomb."""

BACKGROUND = (255, 255, 255)
BOX = tuple[float, float, float, float]


def load(
    filepath: str,
    box_xywh_rel: BOX | None = None,
    size_wh: tuple[int, int] | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An upright RGB picture, 8 bits a channel, cropped to a box and resized if asked.

    ``box_xywh_rel`` is in shares of the upright picture. Raises :class:`~facevlm.errors.ImageError` with the
    reason for a file that is missing, no picture, damaged, cut short, too large, or of a kind whose values
    have no defined brightness.
    """
    try:
        with Image.open(filepath) as opened:
            _check_size(opened, max_pixels)
            opened.load()
            picture = to_rgb(ImageOps.exif_transpose(opened))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"file not found: {os.path.basename(filepath)}") from None
    except UnidentifiedImageError:
        raise ImageError(f"not a picture, or of an unknown format: {os.path.basename(filepath)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError) as error:
        raise ImageError(f"cannot read {os.path.basename(filepath)}: {str(error) or type(error).__name__}") from error
    if box_xywh_rel is not None:
        picture = crop(picture, box_xywh_rel)
    if size_wh is not None and picture.size != size_wh:
        picture = picture.resize(size_wh, resample)
    return picture


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        raise ImageError(
            f"too large: {picture.width} x {picture.height} is {pixels:,} pixels, the limit is {max_pixels:,}"
        )
    if pixels == 0:
        raise ImageError("the picture has no pixels")


def to_rgb(picture: Image.Image) -> Image.Image:
    """RGB with 8 bits a channel: 16-bit grey is scaled, transparency laid on white, CMYK and palettes converted.

    Raises :class:`~facevlm.errors.ImageError` for 32-bit and float pictures, whose white is not defined.
    """
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I;16"):
        return Image.fromarray(_sixteen_to_eight(picture)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ImageError(f"pixels of mode '{picture.mode}' (32 bits) have no defined white; save it with 8 or 16 bits")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def _sixteen_to_eight(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.asarray(picture).astype(np.uint32)
    return ((values * 255 + 32767) // 65535).astype(np.uint8)


def crop(picture: Image.Image, box_xywh_rel: BOX) -> Image.Image:
    """The part of the picture inside the box; what lies outside of the picture is left out.

    Raises :class:`~facevlm.errors.ImageError` for a box that is not finite or holds no pixel.
    """
    if not np.isfinite(box_xywh_rel).all():
        raise ImageError(f"the box {box_xywh_rel} is not finite")
    x, y, w, h = box_xywh_rel
    left, right = (round(min(1.0, max(0.0, v)) * picture.width) for v in (x, x + w))
    top, bottom = (round(min(1.0, max(0.0, v)) * picture.height) for v in (y, y + h))
    if right <= left or bottom <= top:
        raise ImageError(f"the box {box_xywh_rel} holds no pixel of a {picture.width} x {picture.height} picture")
    return picture.crop((left, top, right, bottom))
