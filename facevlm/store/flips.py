"""How much the answers about each face depend on how it was asked, where the App can sort and colour by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation.metrics import Floats
from facevlm.store import views
from facevlm.store.evaluations import MAPPED
from facevlm.store.predictions import field_name
from facevlm.store.provenance import take_over
from facevlm.store.targets import Collection
from facevlm.store.updates import Updates, require_writable
from facevlm.types import digest

ENDING = "flip_rate"


def field_of(prefix: str, attribute: str) -> str:
    """The field of an attribute's flip rates."""
    return f"{field_name(prefix, attribute)}_{ENDING}"


def check(target: Collection, field: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field of this name is there that facevlm did not write."""
    stored = target._dataset.get_field(field)
    if stored is not None and not (isinstance(stored, fo.FloatField) and MAPPED in (stored.info or {})):
        raise FieldError(
            f"Field '{field}' is already there and was not written by facevlm. Choose another prefix; your field is "
            "left as it is."
        )
    require_writable(target._dataset, [field])


def save(
    target: Collection, field: str, rates: Floats, prefixes: Sequence[str], stamps: Sequence[str | None] = ()
) -> str:
    """Store the rate of every sample of the target, nan as none, and a saved view of those above 0, highest first.

    ``prefixes`` are those of the answers that the rates were found from, ``stamps`` those of their runs. Rates of other
    samples are kept where they are of the same runs. Returns the name of the view.
    """
    check(target, field)
    dataset = target._dataset
    if dataset.get_field(field) is None:
        what = "Share of wordings whose answer is not the most frequent one"
        dataset.add_sample_field(field, fo.FloatField, description=what, info={MAPPED: ", ".join(prefixes)})
    values = [None if math.isnan(rate) else rate for rate in rates.tolist()]
    ids = target.values("id")
    take_over(dataset, field, ids, digest(list(stamps)))
    Updates(dataset, [field]).set({i: {field: v} for i, v in zip(ids, values, strict=True)})
    name = f"{field.removesuffix(ENDING)}most_sensitive"
    view = target.match(F(field) > 0).sort_by(field, reverse=True)
    return views.keep(dataset, name, view, "Answers that depend on the wording, the most first")
