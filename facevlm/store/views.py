"""Saved views of chosen faces, which the App offers by name."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from fiftyone import ViewField as F

from facevlm.store.targets import Collection


def save(target: Collection, name: str, ids: Sequence[str], by: Sequence[str], description: str) -> str:
    """Save the samples ``ids`` of a target as a view, sorted by the sum of these number fields, highest first.

    Samples that lack one of the numbers come last. A view of the same name is overwritten. Returns the name.
    """
    total = functools.reduce(operator.add, [F(field) for field in by])
    view = target.select(list(ids)).sort_by(total, reverse=True)
    target._dataset.save_view(name, view, description=description, overwrite=True)
    return name
