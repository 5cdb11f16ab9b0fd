"""How well a face can be seen: size, sharpness, brightness, contrast, and how the head is turned.

Plain numbers, so that errors of a model can be grouped by them. They describe the picture, not the person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from facevlm.errors import ImageError
from facevlm.faces.crops import Crop, cut
from facevlm.faces.images import BOX, side_px

SIDE = 128
"""Pixels of the square at which sharpness is measured, so that faces of all sizes compare."""
HEAD = np.array([(-31.5, -37.4, 30.0), (31.5, -37.4, 30.0), (0.0, 0.0, 0.0), (-27.0, 28.0, 24.0), (27.0, 28.0, 24.0)])
"""A head in millimetres around the tip of the nose, looking into the camera: right eye, left eye, nose, right and left
corner of the mouth; x to the picture's right, y down, z away from the camera. x and y are the mean of YuNet's
landmarks on the shipped faces, with eyes 63 mm apart (Dodgson 2004); the depths are rough."""


@dataclass(frozen=True)
class Quality:
    """What can be measured of a face in a picture.

    Sizes are in pixels. ``sharpness`` is the variance of the Laplacian of the grey levels (Pech-Pacheco et al., ICPR
    2000) at a common size: below about 50 a face looks blurred. ``brightness`` is the mean luma (Rec. 601) and
    ``contrast`` its standard deviation, both from 0 to 1. Angles are in degrees and approximate, 0 for a face that
    looks into the camera: ``roll`` is positive clockwise in the picture, ``yaw`` where the nose points to the picture's
    right, ``pitch`` where it points up; None without landmarks.
    """

    width_px: float
    height_px: float
    sharpness: float
    brightness: float
    contrast: float
    roll: float | None = None
    yaw: float | None = None
    pitch: float | None = None


def measure(
    picture: Image.Image, box_xywh_rel: BOX, landmarks_xy_rel: Sequence[tuple[float, float]] | None = None
) -> Quality:
    """The quality of the face in a box.

    ``landmarks_xy_rel`` are right eye, left eye, nose, right and left corner of the mouth. Raises
    :class:`~facevlm.errors.ImageError` for a box that cannot be used.
    """
    side_px(box_xywh_rel, *picture.size)
    _, _, w, h = box_xywh_rel
    face = cut(picture, box_xywh_rel, Crop(margin=0, square=False))
    grey = np.asarray(face.convert("L"))
    common = np.asarray(face.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return Quality(
        w * picture.width,
        h * picture.height,
        float(cv2.Laplacian(common, cv2.CV_64F).var()),
        float(grey.mean() / 255),
        float(grey.std() / 255),
        *_angles(landmarks_xy_rel, *picture.size),
    )


def _angles(
    landmarks_xy_rel: Sequence[tuple[float, float]] | None, width: int, height: int
) -> tuple[float | None, float | None, float | None]:
    try:
        return (None, None, None) if landmarks_xy_rel is None else pose_deg(landmarks_xy_rel, width, height)
    except ImageError:
        return None, None, None


def pose_deg(landmarks_xy_rel: Sequence[tuple[float, float]], width: int, height: int) -> tuple[float, float, float]:
    """Roll, yaw and pitch of a head in degrees, by scaled orthographic projection (DeMenthon and Davis, IJCV 1995).

    Exact where the head has the proportions of ``HEAD`` and is far away. Raises
    :class:`~facevlm.errors.ImageError` for landmarks that are not five finite points, or all one.
    """
    shares = np.array(landmarks_xy_rel, dtype=np.float64)
    if shares.shape != (len(HEAD), 2) or not np.isfinite(shares).all():
        raise ImageError(f"got the landmarks {list(landmarks_xy_rel)}, expected five points x, y")
    points = shares * (width, height)
    head, seen = HEAD - HEAD.mean(0), points - points.mean(0)
    across, down = np.linalg.lstsq(head, seen, rcond=None)[0].T
    scale = (np.linalg.norm(across) + np.linalg.norm(down)) / 2
    if not scale > 0:
        raise ImageError("the landmarks are all at one place")
    # The rotation that is nearest to what least squares found.
    left, _, right = np.linalg.svd(np.stack([across, down, np.cross(across, down) / scale]) / scale)
    turned = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    nose = turned @ np.array([0.0, 0.0, -1.0])
    angles = (
        math.atan2(turned[1, 0], turned[0, 0]),
        math.atan2(nose[0], -nose[2]),
        math.asin(float(np.clip(-nose[1], -1, 1))),
    )
    roll, yaw, pitch = (math.degrees(angle) for angle in angles)
    return roll, yaw, pitch
