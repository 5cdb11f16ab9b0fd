"""Which of two lists of boxes mean the same face: by the id of the face, else by how much they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from facevlm.evaluation.metrics import Floats

MIN_IOU = 0.5
"""Least overlap of a predicted and a true box without ids, as in Pascal VOC."""


Boxes = Sequence[Sequence[float]]
"""Boxes of one picture, each [x, y, w, h] in shares of it."""


def match_pictures(
    ids: Sequence[str],
    true: Sequence[Boxes | None],
    named: Sequence[Sequence[str | None] | None],
    predicted: Sequence[Boxes | None],
) -> list[int]:
    """For every true box of all pictures the index of its prediction among those of all pictures, or -1.

    ``ids`` are the faces of all pictures one after the other; the rest is a list per picture, None for no box.
    """
    faces, at, earlier = iter(ids), list[int](), 0
    for boxes, names, others in zip(true, named, predicted, strict=True):
        known = [next(faces) for _ in boxes or ()]
        met = match_faces(known, boxes or (), names or (), others or ())
        at += [k if k < 0 else k + earlier for k in met]
        earlier += len(others or ())
    return at


def match_faces(ids: Sequence[str], true: Boxes, named: Sequence[str | None], predicted: Boxes) -> list[int]:
    """For every true box of a picture the index of its prediction or -1: by face id, the others by overlap.

    ``named`` has the face id that a prediction carries, and may be shorter than ``predicted`` where none does.
    """
    place = {face: k for k, face in enumerate(named) if face is not None}
    at = [place.get(i, -1) for i in ids]
    taken = set(at)
    rows = [r for r, k in enumerate(at) if k < 0]
    # A second prediction that names a face of this picture is nobody else's.
    free = [k for k in range(len(predicted)) if k not in taken and (k >= len(named) or named[k] not in ids)]
    if rows and free:
        mine, others = [true[r] for r in rows], [predicted[k] for k in free]
        overlap = iou(np.array(mine, dtype=float), np.array(others, dtype=float))
        # What overlaps too little counts as nothing: else many small overlaps could outweigh a pair that meets.
        overlap[overlap < MIN_IOU] = 0
        # The assignment has the least sum, here of negative overlaps.
        for r, k in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[r, k]:
                at[rows[r]] = free[k]
    return at


def is_about(box: Sequence[float] | None, asked: Sequence[float] | None) -> bool:
    """Whether what was said of the box ``asked`` is about the face in a box; also where one of them is not known."""
    if box is None or asked is None or list(box) == list(asked) or not len(box) == len(asked) == 4:
        return True
    return bool(iou(np.array([box], dtype=float), np.array([asked], dtype=float))[0, 0] >= MIN_IOU)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4) as [x, y, w, h], (n, m); 0 where a box has no area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    union = a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1)[None] - both
    return np.asarray(np.nan_to_num(np.divide(both, union, out=np.zeros_like(both), where=union > 0)))
