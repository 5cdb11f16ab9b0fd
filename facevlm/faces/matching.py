"""Which of two lists of boxes mean the same face: by the id of the face, else by how much they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from facevlm.evaluation.metrics import Floats

MIN_IOU = 0.5
"""Least overlap of a predicted and a true box without ids, as in Pascal VOC."""


def match_faces(
    ids: Sequence[str], true: Sequence[Sequence[float]], named: Sequence[str | None], said: Sequence[Sequence[float]]
) -> list[int]:
    """For every true box of a picture the index of its prediction or -1: by face id, the others by overlap.

    Boxes are [x, y, w, h] in shares of the picture.
    """
    place = {face: k for k, face in enumerate(named) if face is not None}
    at = [place.get(i, -1) for i in ids]
    taken = set(at)
    rows = [r for r, k in enumerate(at) if k < 0]
    free = [k for k in range(len(said)) if k not in taken and (k >= len(named) or named[k] not in ids)]
    if rows and free:
        overlap = iou(np.array([true[r] for r in rows], dtype=float), np.array([said[k] for k in free], dtype=float))
        for r, k in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[r, k] >= MIN_IOU:
                at[rows[r]] = free[k]
    return at


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4) as [x, y, w, h], (n, m); 0 where a box has no area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    union = a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1)[None] - both
    return np.asarray(np.nan_to_num(np.divide(both, union, out=np.zeros_like(both), where=union > 0)))
