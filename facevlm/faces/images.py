"""Pictures: opened, turned upright, made RGB, resized, marked. A picture is read rightly or not at all.

What is seen is what the App shows, which is what Chromium does with the file:

- It is turned by the EXIF of a JPEG, by that of a PNG that stands before its pixels, by what an AVIF says beside its
  pixels, and by a TIFF's own tag. XMP turns nothing, nor does the EXIF of a WebP.
- A file may lack its end as long as its pixels are there: a PNG without its last chunk, a GIF without its last byte, a
  JPEG without the mark of its end, or without its last rows of pixels, at most :data:`~facevlm.faces.endings.LACKING`
  of its height. A browser shows the rest of a JPEG, PNG or BMP that was cut in the middle beside nothing; here it is
  refused, as a face that is half there would count as a whole one. A WebP, AVIF or TIFF that was cut is shown nowhere.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, UnidentifiedImageError

from facevlm import folders
from facevlm.errors import ImageError
from facevlm.faces import endings

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: Pillow's own line for a decompression bomb."""

TURNED_BY_EXIF = frozenset({"JPEG", "MPO", "PNG", "AVIF"})
"""Formats, as Pillow names them, whose EXIF browsers obey. Pillow turns a TIFF itself, and gives the boxes ``irot`` and
``imir`` of an AVIF as EXIF, in place of the file's own, which browsers do not look at."""
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
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg"),
    **dict.fromkeys((".tif", ".tiff"), "image/tiff"),
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
}
"""Endings, in small letters, of files that are taken for pictures where a folder is read, and what each stands for."""
BACKGROUND = (255, 255, 255)
BOX = tuple[float, float, float, float]
MARK, MARK_TEXT = (255, 221, 0), (0, 0, 0)
TAG = 0.035
"""Height of a drawn number as a share of the picture's longer side."""
SMALLEST_TAG = 12


def load(
    filepath: str,
    size_wh: tuple[int, int] | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    *,
    max_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An upright RGB picture, 8 bits a channel, resized if asked.

    ``max_side`` is the most that its longer side may have, in pixels. Raises :class:`~facevlm.errors.ImageError`
    with the reason for a file that is missing, no picture, damaged, cut short, too large, or of a kind whose values
    have no defined brightness.
    """
    with _said(filepath):
        # The bytes, not the path: Pillow maps files opened by path and then misreads turned TIFFs.
        picture = _decoded(folders.read_bytes(filepath), max_pixels)
    if max_side is not None:
        picture = shrunk(picture, max_side)
    if size_wh is not None and picture.size != size_wh:
        picture = picture.resize(size_wh, resample)
    return picture


def is_named_so(name: str) -> bool:
    """Whether a file's name ends as those of pictures do."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def size(filepath: str) -> tuple[int, int]:
    """Width and height in pixels as the file stores them, from its head, for tables that count pixels of it.

    Raises :class:`~facevlm.errors.ImageError` as :func:`load` does.
    """
    with _said(filepath), folders.opened(filepath) as handle, Image.open(handle) as opened:
        _check_size(opened, MAX_PIXELS)
    width, height = opened.size
    return width, height


@contextlib.contextmanager
def _said(filepath: str) -> Iterator[None]:
    """Whatever goes wrong with a file as an :class:`~facevlm.errors.ImageError` that names it without its folder."""
    name = os.path.basename(filepath)
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"file not found: {name}") from None
    except UnidentifiedImageError:
        raise ImageError(f"not a picture, or of an unknown format: {name}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too large: {error}") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot read {name}: {reason}") from error


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        _check_size(opened, max_pixels)
        # Before the pixels are read: EXIF that stands behind them is not obeyed by browsers.
        turn = _turn(opened)
        # Pillow turns a TIFF without an orientation as its XMP says.
        opened.info.pop("xmp", None)
        try:
            opened.load()
            whole: Image.Image = opened
        except OSError as error:
            whole = endings.completed(opened, data, error)
        return to_rgb(whole if turn is None else whole.transpose(turn))


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


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """How the picture has to be turned by its EXIF; damaged EXIF counts as none, as in browsers."""
    if picture.format not in TURNED_BY_EXIF:
        return None
    # Not getexif(), which looks into XMP and into PNG's texts, too.
    exif = Image.Exif()
    try:
        exif.load(picture.info.get("exif") or b"")
        orientation = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001  damaged tags must not cost the picture
        return None
    return TURNS.get(orientation) if isinstance(orientation, int) else None


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


def side_px(box_xywh_rel: BOX, width: int, height: int) -> float:
    """The shorter side of a box in pixels.

    Raises :class:`~facevlm.errors.ImageError` for a box that is not finite, has no area, or lies outside.
    """
    x, y, w, h = box_xywh_rel
    if not np.isfinite(box_xywh_rel).all():
        raise ImageError(f"the box {_shown(box_xywh_rel)} is not finite")
    if w <= 0 or h <= 0:
        raise ImageError(f"the box {_shown(box_xywh_rel)} has no area")
    if x >= 1 or y >= 1 or x + w <= 0 or y + h <= 0:
        raise ImageError(f"the box {_shown(box_xywh_rel)} lies outside of the picture")
    return min(w * width, h * height)


def _shown(box: BOX) -> str:
    return f"[{', '.join(f'{v:.4g}' for v in box)}]"


def numbered(picture: Image.Image, boxes_xywh_rel: Sequence[BOX]) -> Image.Image:
    """A copy with every box drawn and its number, from 1 on, on a tag above it, or below where there is no room.

    Raises :class:`~facevlm.errors.ImageError` for a box that is not finite or lies outside of the picture.
    """
    for box in boxes_xywh_rel:
        side_px(box, *picture.size)
    marked, size = picture.copy(), max(SMALLEST_TAG, round(TAG * max(picture.size)))
    draw, font, line = ImageDraw.Draw(marked), ImageFont.load_default(size), max(1, size // 8)
    for number, (x, y, w, h) in enumerate(boxes_xywh_rel, 1):
        left, top = x * picture.width, y * picture.height
        right, bottom = left + w * picture.width, top + h * picture.height
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=MARK, width=line)
        _tag(draw, str(number), left, top - size if top >= size else min(bottom, picture.height - size), size, font)
    return marked


def _tag(draw: ImageDraw.ImageDraw, text: str, left: float, top: float, size: int, font: Any) -> None:
    width = draw.textlength(text, font) + size // 3
    left = max(0.0, min(left, draw.im.size[0] - width))
    draw.rectangle((left, top, left + width, top + size), fill=MARK)
    draw.text((left + width / 2, top + size / 2), text, MARK_TEXT, font, anchor="mm")
