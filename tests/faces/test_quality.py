"""Numbers about how well a face can be seen, on real faces and on heads that are turned by known angles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from facevlm.datasets import samples
from facevlm.errors import ImageError
from facevlm.faces import images, quality
from facevlm.faces.quality import HEAD, measure, pose_deg

RECORDS = samples.read("group")[:6]
ANGLE = st.floats(-50, 50)


def projected(roll: float, yaw: float, pitch: float, scale: float = 1.0) -> list[tuple[float, float]]:
    """Where the points of the mean head lie in a picture of 400 x 300 if it is turned, from far away."""
    r, y, p = (math.radians(angle) for angle in (roll, yaw, pitch))
    around_x = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    around_y = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    around_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    turned = HEAD @ (around_z @ around_y @ around_x).T
    return [((150 + scale * x) / 400, (140 + scale * y) / 300) for x, y, _ in turned]


@settings(deadline=None)
@given(ANGLE, ANGLE, ANGLE, st.floats(0.2, 4))
def test_a_head_that_is_turned_is_seen_as_turned(roll: float, yaw: float, pitch: float, scale: float) -> None:
    said = pose_deg(projected(roll, yaw, pitch, scale), 400, 300)
    assert said[0] == pytest.approx(roll, abs=1e-6)
    nose = _nose(roll, yaw, pitch)
    assert said[1] == pytest.approx(math.degrees(math.atan2(nose[0], -nose[2])), abs=1e-6)
    assert said[2] == pytest.approx(math.degrees(math.asin(-nose[1])), abs=1e-6)


def _nose(roll: float, yaw: float, pitch: float) -> NDArray[np.float64]:
    """The direction in which the nose points."""
    r, y, p = (math.radians(angle) for angle in (roll, yaw, pitch))
    forward = np.array([math.sin(y) * math.cos(p), -math.sin(p), -math.cos(y) * math.cos(p)])
    x, up, z = forward
    return np.array([x * math.cos(r) - up * math.sin(r), x * math.sin(r) + up * math.cos(r), z])


def test_signs_are_as_they_are_described() -> None:
    assert pose_deg(projected(0, 0, 0), 400, 300) == pytest.approx((0, 0, 0), abs=1e-6)
    right, up = projected(0, 20, 0), projected(0, 0, 20)
    level = projected(0, 0, 0)
    # The nose moves to the picture's right, or up, against the eyes.
    assert right[2][0] - (right[0][0] + right[1][0]) / 2 > level[2][0] - (level[0][0] + level[1][0]) / 2
    assert up[2][1] - up[0][1] < level[2][1] - level[0][1]


@pytest.mark.parametrize("record", RECORDS)
def test_blur_darkness_and_dullness_are_measured(record: samples.SampleRecord) -> None:
    picture = images.load(record.filepath)
    plain = measure(picture, record.box_xywh_rel)
    blurred = measure(picture.filter(ImageFilter.GaussianBlur(4)), record.box_xywh_rel)
    dark = measure(ImageEnhance.Brightness(picture).enhance(0.4), record.box_xywh_rel)
    dull = measure(ImageEnhance.Contrast(picture).enhance(0.3), record.box_xywh_rel)
    assert blurred.sharpness < plain.sharpness / 3
    assert dark.brightness == pytest.approx(0.4 * plain.brightness, abs=0.02)
    assert dull.contrast == pytest.approx(0.3 * plain.contrast, abs=0.02)
    assert plain.width_px == pytest.approx(record.box_xywh_rel[2] * picture.width)
    assert plain.height_px == pytest.approx(record.box_xywh_rel[3] * picture.height)
    assert plain.yaw is None


def test_sharpness_compares_faces_of_different_sizes() -> None:
    record = RECORDS[0]
    picture = images.load(record.filepath)
    double = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)
    plain, large = (measure(p, record.box_xywh_rel).sharpness for p in (picture, double))
    assert large == pytest.approx(plain, rel=0.35)


@pytest.mark.parametrize(
    "landmarks", [[(0.1, 0.1)] * 4, [(math.nan, 0.1), *[(0.2, 0.2)] * 4], [(0.5, 0.5)] * 5, [(0.1, 0.1, 0.1)] * 5]
)
def test_landmarks_that_are_none_are_refused(landmarks: list[tuple[float, float]]) -> None:
    with pytest.raises(ImageError, match="landmarks"):
        pose_deg(landmarks, 100, 100)
    assert measure(Image.new("RGB", (100, 100)), (0.1, 0.1, 0.5, 0.5), landmarks).roll is None


def test_a_bad_box_is_refused() -> None:
    with pytest.raises(ImageError, match="no area"):
        quality.measure(Image.new("RGB", (10, 10)), (0.1, 0.1, 0, 0.2))
