"""Pictures from real files: read rightly, or refused with the reason."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops, PngImagePlugin, features

from facevlm.errors import ImageError
from facevlm.faces import images

Pixels = NDArray[np.uint8]

PHOTO: Pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ORIENTATION = 274
STORED = {
    1: PHOTO,
    2: PHOTO[:, ::-1],
    3: PHOTO[::-1, ::-1],
    4: PHOTO[::-1],
    5: PHOTO.transpose(1, 0, 2),
    6: np.rot90(PHOTO),
    7: np.rot90(PHOTO, 2).transpose(1, 0, 2),
    8: np.rot90(PHOTO, -1),
}
"""What lies in the file, by EXIF orientation, if the upright picture is PHOTO."""


def read(path: Path) -> Pixels:
    picture = images.load(str(path))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def save(pixels: NDArray[np.generic] | Image.Image, path: Path, **options: Any) -> Path:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    picture.save(path, **options)
    return path


def png_with_header(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes whose header claims a size that its data do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 64)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff(pixels: bytes, width: int, height: int, bits: int, photometric: int, *, orientation: int = 1) -> bytes:
    """An uncompressed grey TIFF; ``photometric`` 0 says that zero is white."""
    sizes = {256: width, 257: height, 258: bits, 259: 1, 262: photometric}
    tags = sizes | {273: 8 + 2 + 12 * 10 + 4, ORIENTATION: orientation, 277: 1, 278: height, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + pixels


def exif_with_artist(kind: int, value: bytes) -> bytes:
    """EXIF with orientation 6 and an artist's name that is stored as a number of that TIFF type."""
    at = 8 + 2 + 2 * 12 + 4
    orientation = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0)
    artist = struct.pack("<HHII", 315, kind, 1, at) if len(value) > 4 else struct.pack("<HHI4s", 315, kind, 1, value)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + artist + struct.pack("<I", 0) + value


TEXT_AS_NUMBERS = {
    "rational": exif_with_artist(5, struct.pack("<II", 1, 2)),
    "float": exif_with_artist(11, struct.pack("<f", 1.5)),
    "double": exif_with_artist(12, struct.pack("<d", 1.5)),
}


# Read rightly


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_a_plain_picture_comes_as_it_is(suffix: str, tmp_path: Path) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(read(save(PHOTO, tmp_path / f"a.{suffix}", **options)), PHOTO)


def test_the_name_of_a_file_does_not_decide_its_format(tmp_path: Path) -> None:
    assert np.array_equal(read(save(PHOTO, tmp_path / "a.jpg", format="PNG")), PHOTO)


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_picture_is_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(STORED[orientation], tmp_path / f"a.{suffix}", exif=exif)
    assert np.array_equal(read(path), PHOTO)


def test_a_jpeg_is_turned_upright(tmp_path: Path) -> None:
    halves = np.zeros((16, 32, 3), dtype=np.uint8)
    halves[:, 16:] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = read(save(halves, tmp_path / "a.jpg", exif=exif, quality=95))
    assert upright.shape == (32, 16, 3)
    assert upright[:15].max() < 20
    assert upright[17:].min() > 235


@pytest.mark.parametrize("kind", sorted(TEXT_AS_NUMBERS))
def test_a_text_tag_that_holds_a_number_does_not_hinder_the_turning(kind: str, tmp_path: Path) -> None:
    path = save(STORED[6], tmp_path / "a.png", exif=TEXT_AS_NUMBERS[kind])
    assert np.array_equal(read(path), PHOTO)


def turned_by_xmp() -> bytes:
    space = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    tag = '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{space}">{tag}</rdf:RDF></x:xmpmeta>'.encode()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_xmp_alone_turns_no_picture(suffix: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"xmp": turned_by_xmp()}
    if suffix == "png":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", turned_by_xmp().decode())
    if suffix == "tif":
        options = {"tiffinfo": {700: turned_by_xmp()}}
    assert read(save(PHOTO, tmp_path / f"a.{suffix}", **options)).shape == PHOTO.shape


def test_a_tiff_that_says_so_twice_is_turned_once(tmp_path: Path) -> None:
    path = save(STORED[6], tmp_path / "a.tif", tiffinfo={700: turned_by_xmp(), ORIENTATION: 6})
    assert np.array_equal(read(path), PHOTO)


def test_the_exif_of_a_webp_turns_nothing(tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / "a.webp", lossless=True, exif=TEXT_AS_NUMBERS["rational"])
    assert np.array_equal(read(path), PHOTO)


def test_exif_behind_the_pixels_or_in_a_text_turns_no_png(tmp_path: Path) -> None:
    exif = TEXT_AS_NUMBERS["rational"]
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    assert np.array_equal(read(save(PHOTO, tmp_path / "text.png", pnginfo=text)), PHOTO)
    path = save(PHOTO, tmp_path / "behind.png")
    whole, body = path.read_bytes(), b"eXIf" + exif[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(whole[:-12] + chunk + whole[-12:])
    assert np.array_equal(read(path), PHOTO)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_is_turned_by_what_stands_beside_its_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    halves = np.zeros((16, 32, 3), dtype=np.uint8)
    halves[:, 16:] = 255
    # Pillow writes the orientation beside the pixels, and takes it out of the EXIF.
    upright = read(save(halves, tmp_path / "a.avif", exif=exif, quality=95))
    assert upright.shape == (32, 16, 3)
    assert upright[:15].max() < 20
    assert upright[17:].min() > 235


# Without an end


def smooth(width: int = 96, height: int = 400) -> Image.Image:
    """A picture whose rows all have data of their own."""
    noise = np.random.default_rng(1).normal(0, 12, (height, width, 3))
    slope = np.linspace(40, 200, height)[:, None, None] + np.linspace(0, 40, width)[None, :, None]
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("lacking", [1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_the_mark_of_its_end_is_read(mode: str, progressive: bool, lacking: int, tmp_path: Path) -> None:
    path = save(smooth().convert(mode), tmp_path / "a.jpg", quality=92, progressive=progressive)
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-lacking])
    assert np.array_equal(read(path), whole)


def test_a_jpeg_that_goes_on_with_zeros_instead_of_its_end_is_read(tmp_path: Path) -> None:
    path = save(smooth(), tmp_path / "a.jpg")
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-2] + b"\0" * 5000)
    assert np.array_equal(read(path), whole)


def test_a_jpeg_without_its_last_rows_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = save(smooth(), tmp_path / "a.jpg", quality=92)
    whole, data = read(path), path.read_bytes()
    path.write_bytes(data[: -len(data) // 50])
    shown = read(path)
    assert np.array_equal(shown[: int(400 * 0.95)], whole[: int(400 * 0.95)])
    assert not np.array_equal(shown, whole)


def test_a_turned_jpeg_without_its_end_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(smooth(), tmp_path / "a.jpg", exif=exif)
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-2])
    assert np.array_equal(read(path), whole)
    assert whole.shape == (96, 400, 3)


@pytest.mark.parametrize(
    ("progressive", "said"),
    [(False, r"\d+ of 400 rows of pixels are lacking"), (True, "a part of the pixels is lacking")],
)
def test_a_jpeg_that_lacks_much_is_refused_with_what_is_lacking(progressive: bool, said: str, tmp_path: Path) -> None:
    path = save(smooth(), tmp_path / "a.jpg", progressive=progressive)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"cannot read a\.jpg: it is cut short, {said}"):
        images.load(str(path))


@pytest.mark.parametrize(("suffix", "end"), [("png", 16), ("gif", 1)])
def test_a_png_and_a_gif_may_lack_what_stands_behind_the_pixels(suffix: str, end: int, tmp_path: Path) -> None:
    path = save(smooth(), tmp_path / f"a.{suffix}")
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-end])
    assert np.array_equal(read(path), whole)


@pytest.mark.parametrize("suffix", ["webp", "avif", "tif", "bmp"])
def test_other_formats_are_read_whole_or_not_at_all(suffix: str, tmp_path: Path) -> None:
    path = save(smooth(), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ImageError, match=rf"cannot read a\.{suffix}"):
        images.load(str(path))


@pytest.mark.parametrize("kind", sorted(TEXT_AS_NUMBERS))
def test_a_jpeg_with_a_number_for_a_text_tag_is_turned(kind: str, tmp_path: Path) -> None:
    path = save(STORED[6], tmp_path / "a.jpg", exif=TEXT_AS_NUMBERS[kind])
    assert read(path).shape == PHOTO.shape


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0no TIFF header",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        TEXT_AS_NUMBERS["rational"][:21],
        TEXT_AS_NUMBERS["rational"][:40],
    ],
    ids=["empty", "no header", "no directory", "directory outside", "cut in a tag", "cut before the number"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_picture(exif: bytes, tmp_path: Path) -> None:
    pixels = read(save(PHOTO, tmp_path / "a.png", exif=exif))
    assert pixels.shape in (PHOTO.shape, PHOTO.transpose(1, 0, 2).shape)
    assert np.array_equal(np.sort(pixels, axis=None), np.sort(PHOTO, axis=None))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_does_not_exist_turns_nothing(value: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    assert np.array_equal(read(save(PHOTO, tmp_path / "a.png", exif=exif)), PHOTO)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (24, 8), (0, 0, 0, 0))
    inks.paste((0, 255, 255, 0), (8, 0, 16, 8))
    inks.paste((0, 0, 0, 255), (16, 0, 24, 8))
    pixels = read(save(inks, tmp_path / "a.jpg", quality=95)).astype(int)
    for column, colour in ((4, (255, 255, 255)), (12, (255, 0, 0)), (20, (0, 0, 0))):
        assert np.abs(pixels[4, column] - colour).max() <= 6


def test_grey_is_the_same_in_all_three_channels(tmp_path: Path) -> None:
    pixels = read(save(PHOTO[..., 0], tmp_path / "a.png"))
    assert np.array_equal(pixels, np.repeat(PHOTO[..., :1], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_and_not_cut(suffix: str, tmp_path: Path) -> None:
    values = np.array([[0, 128, 200, 257 * 100, 32768, 65300, 65535]], dtype=np.uint16)
    path = save(values, tmp_path / f"a.{suffix}")
    assert read(path)[0, :, 0].tolist() == [0, 0, 1, 100, 128, 254, 255]


def test_sixteen_bit_grey_of_the_other_byte_order(tmp_path: Path) -> None:
    picture = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 257 * 7, 65535))
    assert read(save(picture, tmp_path / "a.tif"))[0, :, 0].tolist() == [7, 255]


def test_twelve_bit_grey_is_scaled_by_its_own_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(bytes.fromhex("fff000800101"), 4, 1, 12, 1))
    assert read(path)[0, :, 0].tolist() == [255, 0, 128, 16]


@pytest.mark.parametrize(("photometric", "levels"), [(0, [255, 248, 127, 0]), (1, [0, 7, 128, 255])])
def test_sixteen_bit_grey_is_inverted_where_zero_is_white(photometric: int, levels: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(struct.pack("<4H", 0, 257 * 7, 257 * 128, 65535), 4, 1, 16, photometric))
    assert read(path)[0, :, 0].tolist() == levels


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_tiff_is_turned_upright(dtype: type[np.unsignedinteger], orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    factor = 257 if dtype is np.uint16 else 1
    path = save(STORED[orientation][..., 0].astype(dtype) * dtype(factor), tmp_path / "a.tif", exif=exif)
    assert np.array_equal(read(path)[..., 0], PHOTO[..., 0])


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = Image.new("1", (9, 2), 0)
    bits.putpixel((8, 1), 1)
    pixels = read(save(bits, tmp_path / "a.png"))
    assert pixels[1, 8].tolist() == [255] * 3
    assert pixels.sum() == 3 * 255


def palette() -> Image.Image:
    picture = Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata([0, 1, 2])
    return picture


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    assert read(save(palette(), tmp_path / "a.png")).tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_the_transparent_colour_of_a_palette_is_laid_on_white(suffix: str, tmp_path: Path) -> None:
    pixels = read(save(palette(), tmp_path / f"a.{suffix}", transparency=1))
    assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]


def test_the_alphas_of_a_palette_are_laid_on_white(tmp_path: Path) -> None:
    pixels = read(save(palette(), tmp_path / "a.png", transparency=bytes([255, 0, 51]))).astype(int)
    assert pixels[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    assert np.abs(pixels[0, 2] - [218, 220, 222]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str, tmp_path: Path) -> None:
    colour = (0, 0, 0) if mode == "RGBA" else (0,)
    picture = Image.new(mode, (3, 1))
    picture.putdata([(*colour, alpha) for alpha in (0, 102, 255)])
    pixels = read(save(picture, tmp_path / "a.png")).astype(int)
    assert np.abs(pixels[0, :, 0] - [255, 153, 0]).max() <= 1
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_grey_with_a_transparent_level_is_laid_on_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[5, 6]], dtype=np.uint8))
    assert read(save(picture, tmp_path / "a.png", transparency=5))[0, :, 0].tolist() == [255, 6]


def test_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    path = save(
        np.array([[[1, 2, 3], [3, 2, 1], [0, 0, 0]]], dtype=np.uint8), tmp_path / "a.png", transparency=(1, 2, 3)
    )
    assert read(path).tolist() == [[[255, 255, 255], [3, 2, 1], [0, 0, 0]]]


def test_a_transparent_colour_is_laid_on_white_in_a_turned_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    stored = np.array([[[1, 2, 3], [3, 2, 1]]], dtype=np.uint8)
    assert read(save(stored, tmp_path / "a.png", transparency=(1, 2, 3), exif=exif)).tolist() == [
        [[3, 2, 1], [255, 255, 255]]
    ]


# Refused


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_without_a_defined_white_are_refused(dtype: type[np.generic], tmp_path: Path) -> None:
    path = save(np.full((2, 2), 200, dtype=dtype), tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"pixels of mode '[FI]' have no defined white here"):
        images.load(str(path))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_picture_that_is_cut_short_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(noise, tmp_path / f"a.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"a\.(jpg|png)"):
        images.load(str(path))


def test_a_png_with_damaged_data_is_refused(tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 8
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"cannot read a\.png"):
        images.load(str(path))


@pytest.mark.parametrize(
    ("start", "damage"),
    [(80, b"\0\0\0\0"), (80, struct.pack("<I4s", 4, b"ABCD")), (8, b"\xff" * 100)],
    ids=["pixel format flags", "unknown compression", "whole header"],
)
def test_a_damaged_dds_is_refused(start: int, damage: bytes, tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / "a.dds")
    data = bytearray(path.read_bytes())
    data[start : start + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.dds|too large"):
        images.load(str(path))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("box", [b"iloc", b"iinf", b"pitm", b"av01"])
def test_a_damaged_avif_is_refused(box: bytes, tmp_path: Path) -> None:
    path = save(np.zeros((16, 16, 3), dtype=np.uint8), tmp_path / "a.avif")
    path.write_bytes(path.read_bytes().replace(box, b"xxxx", 1))
    with pytest.raises(ImageError, match=r"cannot read a\.avif"):
        images.load(str(path))


@pytest.mark.parametrize("encoding", [b"\x58", b"\0"])
def test_a_damaged_blp_is_refused(encoding: bytes, tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).convert("P")
    path = save(picture, tmp_path / "a.blp")
    data = bytearray(path.read_bytes())
    data[8:9] = encoding
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.blp"):
        images.load(str(path))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "dds", "ico", "tga", "ppm", "jp2"])
def test_damaged_bytes_give_a_picture_or_an_image_error(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = save(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), tmp_path / f"a.{suffix}")
    whole = path.read_bytes()
    for k in range(40):
        data = bytearray(whole if k % 2 else whole[: int(rng.integers(1, len(whole)))])
        for place in rng.integers(0, min(len(data), 120), 4):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        with contextlib.suppress(ImageError):
            assert images.load(str(path), max_pixels=10_000).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"a letter, not a picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"not a picture, or of an unknown format: a\.jpg"):
        images.load(str(path))


def test_a_missing_file_is_refused_by_its_name_alone(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        images.load(str(tmp_path / "nowhere.png"))
    assert str(caught.value) == "file not found: nowhere.png"


@pytest.mark.parametrize("read_it", [images.load, images.size])
def test_what_is_no_file_is_refused_and_not_waited_for(read_it: Callable[[str], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a named pipe", "folder": "a folder", "link": "a device"}.items():
        with pytest.raises(ImageError, match=rf"^cannot read {name}\.png: it is {kind}, expected a file$"):
            read_it(str(tmp_path / f"{name}.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_file_of_100_gb_is_refused_unread(suffix: str, tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / f"a.{suffix}")
    os.truncate(path, 100 * 10**9)
    with pytest.raises(ImageError, match=r"it has 100,000,000,000 bytes, expected at most 536,870,912"):
        images.load(str(path))


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(width: int, height: int, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        images.load(str(png_with_header(tmp_path / "a.png", width, height)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_unread(side: int, tmp_path: Path) -> None:
    path = png_with_header(tmp_path / "a.png", side, side)
    with pytest.raises(ImageError, match=r"^too large: "):
        images.load(str(path))


def test_a_bomb_is_refused_where_warnings_are_errors(tmp_path: Path) -> None:
    path = png_with_header(tmp_path / "a.png", 10_000, 10_000)
    with pytest.raises(ImageError, match=r"^too large: "):
        images.load(str(path))


def test_the_largest_picture_can_be_set(tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / "a.png")
    assert images.load(str(path), max_pixels=35).size == (7, 5)
    with pytest.raises(ImageError, match="too large: 7 x 5 is 35 pixels, the limit is 34"):
        images.load(str(path), max_pixels=34)


# Sizes


def test_a_picture_is_resized_as_asked(tmp_path: Path) -> None:
    path = save(np.array([[0, 255]], dtype=np.uint8), tmp_path / "a.png")
    nearest = np.asarray(images.load(str(path), size_wh=(4, 2), resample=Image.Resampling.NEAREST))
    assert nearest[..., 0].tolist() == [[0, 0, 255, 255]] * 2
    smooth = np.asarray(images.load(str(path), size_wh=(4, 2), resample=Image.Resampling.BILINEAR))
    assert smooth[..., 0].tolist() == [[0, 64, 191, 255]] * 2


def test_a_picture_of_the_right_size_is_not_touched(tmp_path: Path) -> None:
    path = save(PHOTO, tmp_path / "a.png")
    assert np.array_equal(np.asarray(images.load(str(path), size_wh=(7, 5))), PHOTO)


def test_numbers_are_drawn_on_the_faces_and_nowhere_else() -> None:
    grey = Image.new("RGB", (400, 200), (90, 90, 90))
    boxes = [(0.1, 0.4, 0.1, 0.3), (0.6, 0.0, 0.2, 0.5)]
    marked = images.numbered(grey, boxes)
    assert grey.getcolors() == [(400 * 200, (90, 90, 90))]
    changed = np.asarray(ImageChops.difference(grey, marked)).max(axis=2) > 0
    assert changed[:, :39].sum() == changed[:, 90:239].sum() == changed[:, 330:].sum() == 0
    assert marked.getpixel((40, 100)) == marked.getpixel((240, 50)) == images.MARK
    assert marked.getpixel((60, 110)) == (90, 90, 90)
    assert changed[60:80, 40:60].any()
    assert changed[100:116, 240:256].any()


def test_a_number_stays_in_the_picture_and_a_box_outside_is_refused() -> None:
    grey = Image.new("RGB", (400, 200), (90, 90, 90))
    marked = images.numbered(grey, [(-0.1, 0.5, 0.2, 0.2), (0.99, 0.5, 0.2, 0.2)])
    assert marked.getpixel((0, 99)) == marked.getpixel((399, 99)) == images.MARK
    for box in ((1.1, 0.0, 0.1, 0.1), (0.1, math.nan, 0.1, 0.1), (0.1, 0.1, 0.0, 0.1)):
        with pytest.raises(ImageError, match="the box"):
            images.numbered(grey, [box])
