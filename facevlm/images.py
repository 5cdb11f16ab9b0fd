"""Pictures: opened, turned upright, made RGB, cropped, resized. A picture is read rightly or not at all."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from facevlm.errors import ImageError

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: Pillow's own line for a decompression bomb."""

BITS_PER_SAMPLE, PHOTOMETRIC, ZERO_IS_WHITE = 258, 262, 0
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACKGROUND = (255, 255, 255)
BOX = tuple[float, float, float, float]


def load(
    filepath: str,
    box_xywh_rel: BOX | None = None,
    size_wh: tuple[int, int] | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    *,
    max_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An upright RGB picture, 8 bits a channel, cropped to a box and resized if asked.

    ``box_xywh_rel`` is in shares of the upright picture; ``max_side`` is the most that its longer side may have, in
    pixels. Raises :class:`~facevlm.errors.ImageError` with the
    reason for a file that is missing, no picture, damaged, cut short, too large, or of a kind whose values
    have no defined brightness.
    """
    try:
        # A handle, not the path: Pillow maps files opened by path and then misreads turned TIFFs.
        with open(filepath, "rb") as handle, Image.open(handle) as opened:
            _check_size(opened, max_pixels)
            opened.load()
            picture = to_rgb(upright(opened))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"file not found: {os.path.basename(filepath)}") from None
    except UnidentifiedImageError:
        raise ImageError(f"not a picture, or of an unknown format: {os.path.basename(filepath)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too large: {error}") from None
    except Exception as error:
        raise ImageError(f"cannot read {os.path.basename(filepath)}: {str(error) or type(error).__name__}") from error
    if box_xywh_rel is not None:
        picture = crop(picture, box_xywh_rel)
    if max_side is not None:
        picture = shrunk(picture, max_side)
    if size_wh is not None and picture.size != size_wh:
        picture = picture.resize(size_wh, resample)
    return picture


def shrunk(picture: Image.Image, max_side: int) -> Image.Image:
    """The picture with its longer side at most ``max_side`` pixels; a smaller one as it is."""
    size = fitted(picture.width, picture.height, max_side)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def fitted(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height in pixels after shrinking the longer side to ``max_side``."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        raise ImageError(
            f"too large: {picture.width} x {picture.height} is {pixels:,} pixels, the limit is {max_pixels:,}"
        )
    if pixels == 0:
        raise ImageError("the picture has no pixels")


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; damaged EXIF counts as none, as in browsers."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001  as above: damaged tags must not cost the picture
        orientation = None
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def to_rgb(picture: Image.Image) -> Image.Image:
    """RGB with 8 bits a channel: 16-bit grey is scaled, transparency laid on white, CMYK and palettes converted.

    Raises :class:`~facevlm.errors.ImageError` for 32-bit and float pictures, whose white is not defined.
    """
    see_through = "transparency" in picture.info
    if picture.mode == "RGB" and not see_through:
        return picture
    if picture.mode.startswith("I;16") and not see_through:
        return Image.fromarray(_sixteen_to_eight(picture)).convert("RGB")
    if picture.mode.startswith("I;16"):
        raise ImageError("16-bit grey with a transparent colour is not supported; save it as an 8-bit picture")
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        raise ImageError(f"pixels of mode '{picture.mode}' have no defined white here; save it as an 8-bit picture")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or see_through:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def _sixteen_to_eight(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """TIFF says how many bits are used, and whether zero is white."""
    tags = getattr(picture, "tag_v2", {})
    white = 2 ** int(tags.get(BITS_PER_SAMPLE, (16,))[0]) - 1
    values = np.minimum(np.asarray(picture).astype(np.uint32), white)
    if tags.get(PHOTOMETRIC) == ZERO_IS_WHITE:
        values = white - values
    eight: np.ndarray[Any, np.dtype[np.uint8]] = ((values * 255 + white // 2) // white).astype(np.uint8)
    return eight


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
