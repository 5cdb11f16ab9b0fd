"""How the App shows a dataset whenever it is opened: which fields are ticked, and in which colours.

A page that is loaded anew ticks every label field unless the dataset says which. What somebody set here stays: what is
ours is noted beside it, so that the next run can take just that away again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import fiftyone as fo

OWN = "facevlm"
"""The key of our notes among the App's settings of a dataset."""
ACTIVE = "active_fields"
TRUTH, PREDICTED, RIGHT, WRONG, NONE = "#00897b", "#1e88e5", "#2e7d32", "#d32f2f", "#757575"
"""Colours of ground truth, of what a model said, and of its right and wrong answers and no answer."""


def tick(dataset: fo.Dataset, fields: Sequence[str]) -> None:
    """Have these fields ticked when the dataset is opened, in the place of those that we ticked before."""
    config = dataset.app_config
    noted = set((config.plugins.get(OWN) or {}).get(ACTIVE) or ())
    theirs = config.active_fields or fo.ActiveFields()
    if theirs.exclude:
        # They say what is hidden, so that whatever else there is is ticked, ours too.
        theirs.paths = [path for path in theirs.paths if path not in fields]
    else:
        kept = [path for path in theirs.paths if path not in noted]
        ours = [name for name in fields if name not in kept]
        theirs.paths = [*kept, *ours]
        config.plugins[OWN] = {**(config.plugins.get(OWN) or {}), ACTIVE: ours}
    config.active_fields = theirs
    dataset.save()


def paint(dataset: fo.Dataset, colours: Sequence[Mapping[str, Any]]) -> None:
    """Keep colours of fields, each a dict of FiftyOne's ``ColorScheme.fields``; a field that has some keeps them."""
    config = dataset.app_config
    scheme = config.color_scheme or fo.ColorScheme()
    changes = added(scheme.fields, scheme.color_by, None, colours)
    if changes:
        config.color_scheme = scheme
        for name, value in changes.items():
            setattr(scheme, name, value)
        dataset.save()


def added(
    known: Sequence[Mapping[str, Any]] | None,
    goes_by: str | None,
    usual: str | None,
    colours: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """What changes in a colour scheme that gets colours of fields: those that have none yet.

    One that nobody has changed goes by values from then on: by fields, right and wrong would look the same.
    """
    fields = [dict(entry) for entry in known or ()]
    painted = {entry.get("path") for entry in fields}
    new = [dict(entry) for entry in colours if entry["path"] not in painted]
    if not new:
        return {}
    return {"fields": [*fields, *new]} | ({} if fields or goes_by != usual else {"color_by": "value"})


def in_one(path: str, colour: str, values: Iterable[str]) -> dict[str, Any]:
    """One colour for a field, whatever of these labels it holds."""
    same = [{"value": value, "color": colour} for value in values]
    return {"path": path, "fieldColor": colour, "colorByAttribute": "label", "valueColors": same}


def by_attribute(path: str, attribute: str, values: Mapping[str, str], usual: str) -> dict[str, Any]:
    """A colour for each value of an attribute of a field's labels; ``usual`` where colours go by fields."""
    each = [{"value": value, "color": colour} for value, colour in values.items()]
    return {"path": path, "fieldColor": usual, "colorByAttribute": attribute, "valueColors": each}
