"""Saved views of chosen rows, which the App offers by name."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence

import numpy as np
from fiftyone import ViewField as F

from facevlm.evaluation.comparison import Flags
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import CONFIDENCE
from facevlm.store.targets import Collection


def save(rows: PictureRows, name: str, chosen: Flags, predicted: Sequence[str], description: str) -> str:
    """Save the chosen rows as a view of samples or of patches of faces; returns its name.

    It is sorted by the sum of the confidences in the fields ``predicted``, highest first; rows without one come last.
    A view of the same name is overwritten.
    """
    view = _faces(rows, chosen, predicted) if isinstance(rows, FaceRows) else _samples(rows, chosen, predicted)
    rows.target._dataset.save_view(name, view, description=description, overwrite=True)
    return name


def _samples(rows: PictureRows, chosen: Flags, predicted: Sequence[str]) -> Collection:
    sure = functools.reduce(operator.add, [F(f"{field}.{CONFIDENCE}") for field in predicted])
    ids = list(itertools.compress(rows.ids(), chosen.tolist()))
    return rows.target.select(ids).sort_by(sure, reverse=True)


def _faces(rows: FaceRows, chosen: Flags, predicted: Sequence[str]) -> Collection:
    """A patch has the id of its face, and of predictions on it only what its field holds: so it is ordered by ids."""
    sure = list(zip(*(rows.answers(field, CONFIDENCE)[0] for field in predicted), strict=True))
    kept = np.flatnonzero(chosen).tolist()
    kept.sort(key=lambda k: (None in sure[k], -sum(value or 0.0 for value in sure[k])))
    return rows.target.to_patches(rows.faces).select([rows.face_ids[k] for k in kept], ordered=True)
