"""Saved views of chosen rows, which the App offers by name."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence

import fiftyone as fo
import fiftyone.core.utils as fou
import numpy as np
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation.comparison import Flags
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import CONFIDENCE
from facevlm.store.targets import Collection

SIGN = "(saved by facevlm)"
"""At the end of a description: a view of the same name without it is somebody's own and stays."""
INSTEAD = "_facevlm"
"""At the end of the name that a view gets in the place of one that is taken."""


def keep(dataset: fo.Dataset, name: str, view: Collection, description: str) -> str:
    """Save a view in the place of an earlier one of facevlm's; returns its name, another one where it is taken."""
    free = name + INSTEAD if _is_taken(dataset, name, description) else name
    dataset.save_view(free, view, description=f"{description} {SIGN}".strip(), overwrite=True)
    return free


def drop(dataset: fo.Dataset, name: str, description: str) -> None:
    """Delete what :func:`keep` saved under these words."""
    for saved in (name, name + INSTEAD):
        if dataset.has_saved_view(saved) and not _is_taken(dataset, saved, description):
            dataset.delete_saved_view(saved)


def check_free(dataset: fo.Dataset, name: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where somebody saved a view of this name."""
    if _is_taken(dataset, name):
        raise FieldError(
            f"A view '{name}' is saved already and is not facevlm's, expected another name. Yours is left as it is."
        )


def _is_taken(dataset: fo.Dataset, name: str, description: str | None = None) -> bool:
    """Whether a view of the name, or of one that FiftyOne takes for the same, is none of facevlm's."""
    slug = fou.to_slug(name)
    infos = dataset.list_saved_views(info=True)
    same = [info["description"] or "" for info in infos if fou.to_slug(info["name"]) == slug]
    # Views of versions that did not sign them are known by the words alone.
    return any(words != description and not words.endswith(SIGN) for words in same)


def save(rows: PictureRows, name: str, chosen: Flags, predicted: Sequence[str], description: str) -> str:
    """Save the chosen rows as a view of samples or of patches of faces; returns its name.

    It is sorted by the sum of the confidences in the fields ``predicted``, highest first; rows without one come last.
    An earlier view of facevlm's of the same name is overwritten.
    """
    view = _faces(rows, chosen, predicted) if isinstance(rows, FaceRows) else _samples(rows, chosen, predicted)
    return keep(rows.target._dataset, name, view, description)


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
