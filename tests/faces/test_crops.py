"""Faces cut out of pictures: the right pixels, the edge where there are none, and no box that breaks anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from facevlm.datasets import samples
from facevlm.errors import ImageError, InputError
from facevlm.faces import crops, images
from facevlm.faces.crops import Crop
from facevlm.faces.images import BOX

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
PLAIN = Crop(margin=0, square=False)
INSIDE: BOX = (0.25, 0.25, 0.5, 0.5)
numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-3, 3))


def pixels(picture: Image.Image) -> Any:
    return np.asarray(picture).astype(int)


def padded(left: int, top: int, right: int, bottom: int) -> Any:
    """What NumPy makes of a region in pixels that may leave the picture by up to 200 on every side."""
    wide = np.pad(np.asarray(NOISE), ((200, 200), (200, 200), (0, 0)), mode="edge")
    return wide[top + 200 : bottom + 200, left + 200 : right + 200].astype(int)


def test_a_crop_inside_is_pillows_own() -> None:
    assert np.array_equal(pixels(crops.cut(NOISE, INSIDE, PLAIN)), pixels(NOISE.crop((20, 15, 60, 45))))


@pytest.mark.parametrize(
    ("crop", "region"),
    [
        (Crop(margin=0.25, square=False), (10, 8, 70, 53)),
        (Crop(margin=0.25), (10, 0, 70, 60)),
        (Crop(margin=1.25), (-30, -40, 110, 100)),
        (Crop(margin=0), (20, 10, 60, 50)),
    ],
)
def test_margin_and_square_are_around_the_middle(crop: Crop, region: tuple[int, int, int, int]) -> None:
    face = crops.cut(NOISE, INSIDE, crop)
    left, top, right, bottom = region
    assert face.size == (right - left, bottom - top)
    assert np.array_equal(pixels(face), padded(*region))


@pytest.mark.parametrize("box", [(-0.25, 0.5, 0.5, 0.75), (0.75, -0.5, 1.0, 0.75), (-1.0, -1.0, 3.0, 3.0)])
def test_where_the_picture_ends_its_edge_goes_on(box: BOX) -> None:
    x, y, w, h = (round(v * side) for v, side in zip(box, (80, 60, 80, 60), strict=True))
    assert np.array_equal(pixels(crops.cut(NOISE, box, PLAIN)), padded(x, y, x + w, y + h))


@settings(deadline=None)
@given(
    st.floats(-0.4, 0.9),
    st.floats(-0.4, 0.9),
    st.floats(0.01, 1.5),
    st.floats(0.01, 1.5),
    st.sampled_from([0, 0.25, 1]),
)
def test_squares_are_square_and_in_the_middle(x: float, y: float, w: float, h: float, margin: float) -> None:
    if x + w <= 0 or y + h <= 0:
        return
    side = max(w * 80, h * 60) * (1 + 2 * margin)
    face = crops.cut(NOISE, (x, y, w, h), Crop(margin=margin))
    assert face.width == face.height == max(1, round(side))
    left, top = ((a + b / 2) * full - side / 2 for a, b, full in ((x, w, 80), (y, h, 60)))
    if left >= 1 and left + side <= 79 and top >= 1 and top + side <= 59:
        near = [
            padded(a, b, a + face.width, b + face.height)
            for a in (math.floor(left), math.ceil(left))
            for b in (math.floor(top), math.ceil(top))
        ]
        assert any(np.array_equal(pixels(face), region) for region in near)


@settings(deadline=None)
@given(st.tuples(numbers, numbers, numbers, numbers), st.booleans(), st.sampled_from([0, 0.25, 1.25]), st.booleans())
def test_any_box_gives_a_face_or_the_reason(box: BOX, square: bool, margin: float, align: bool) -> None:
    said, face = "", None
    try:
        face = crops.cut(NOISE, box, Crop(margin, square, align), ((0.3, 0.4), (0.6, 0.5)), (8, 8))
    except ImageError as error:
        said = str(error)
    x, y, w, h = box
    is_there = w > 0 and h > 0 and x < 1 and y < 1 and x + w > 0 and y + h > 0
    assert said.startswith("the box ") if face is None else face.size == (8, 8)
    assert is_there or said
    assert face is not None or not is_there or "too large" in said or "not finite" in said


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((math.nan, 0, 1, 1), "not finite"),
        ((0, 0, math.inf, 1), "not finite"),
        ((0.5, 0.5, 0, 0.1), "has no area"),
        ((0.5, 0.5, 0.1, -0.1), "has no area"),
        ((1.0, 0.5, 0.1, 0.1), "lies outside"),
        ((0.5, -0.2, 0.1, 0.2), "lies outside"),
        ((-1e6, -1e6, 2e6, 2e6), "too large"),
        ((0.0, 0.0, 1e308, 1e308), "too large"),
    ],
)
def test_a_box_that_cannot_be_cut_says_why(box: BOX, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        crops.cut(NOISE, box, Crop())


@pytest.mark.parametrize("margin", [-0.1, 11, math.nan, "wide", True, None])
def test_a_margin_that_is_none_is_refused(margin: Any) -> None:
    with pytest.raises(InputError, match=r"expected a (share of the box from 0 to 10|number)"):
        Crop(margin=margin)


def test_size_is_that_of_the_shorter_side() -> None:
    assert images.side_px((0.1, 0.1, 0.5, 0.25), 80, 60) == 15
    assert images.side_px((0.1, 0.1, 0.1, 0.25), 80, 60) == 8


def turned(picture: Image.Image, degrees: float, points: Sequence[tuple[float, float]]) -> tuple[Image.Image, Any]:
    """A square picture turned clockwise around its middle, and where points (in shares) come to lie."""
    angle = math.radians(degrees)
    moved = [
        (
            0.5 + (x - 0.5) * math.cos(angle) - (y - 0.5) * math.sin(angle),
            0.5 + (x - 0.5) * math.sin(angle) + (y - 0.5) * math.cos(angle),
        )
        for x, y in points
    ]
    return picture.rotate(-degrees, Image.Resampling.BICUBIC), tuple(moved)


@pytest.mark.parametrize("degrees", [-40, -10, 0, 7, 25, 90, 170])
def test_aligned_faces_look_as_if_they_had_never_been_turned(degrees: float) -> None:
    face = images.load(next(iter(samples.read("single"))).filepath, size_wh=(200, 200))
    eyes = ((0.35, 0.45), (0.65, 0.45))
    leaning, leaning_eyes = turned(face, degrees, eyes)
    assert crops.roll_deg(leaning_eyes, 200, 200) == pytest.approx(degrees, abs=1e-9)
    box = (0.3, 0.3, 0.4, 0.4)
    straight = crops.cut(face, box, Crop(margin=0, align=True), eyes)
    level = crops.cut(leaning, box, Crop(margin=0, align=True), leaning_eyes)
    assert level.size == straight.size == (80, 80)
    assert np.abs(pixels(level) - pixels(straight)).mean() < 3
    unturned = np.abs(pixels(crops.cut(leaning, box, Crop(margin=0))) - pixels(straight)).mean()
    assert degrees == 0 or unturned > 6


def test_without_eyes_a_face_is_not_turned() -> None:
    aligned, plain = (crops.cut(NOISE, INSIDE, Crop(align=align)) for align in (True, False))
    assert np.array_equal(pixels(aligned), pixels(plain))
    broken = crops.cut(NOISE, INSIDE, Crop(align=True), ((math.nan, 0.4), (0.6, 0.5)))
    assert np.array_equal(pixels(broken), pixels(plain))


@pytest.mark.parametrize("margin", [0.0, 0.25, 1.25])
def test_faces_are_resized_as_the_models_processor_does(margin: float) -> None:
    processor = SiglipImageProcessorPil(size={"height": 112, "width": 112})
    for record in samples.read("group")[:12]:
        picture = images.load(record.filepath)
        whole = crops.cut(picture, record.box_xywh_rel, Crop(margin=margin))
        ours = crops.cut(picture, record.box_xywh_rel, Crop(margin=margin), None, (112, 112), processor.resample)
        theirs = processor(whole, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"][0]
        assert np.abs(theirs.transpose(1, 2, 0) - pixels(ours)).max() == 0
