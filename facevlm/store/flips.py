"""How much the answers about each face depend on how it was asked, where the App can sort and colour by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.errors import FieldError
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
    target: Collection,
    field: str,
    rates: Mapping[str, float],
    prefixes: Sequence[str],
    stamps: Sequence[str | None] = (),
) -> str:
    """Store the rates by sample id, nan as none, and a saved view of those of the target above 0, highest first.

    ``prefixes`` are those of the answers that the rates were found from, ``stamps`` those of their runs. Rates of other
    samples are kept where they are of the same runs. Returns the name of the view.
    """
    check(target, field)
    dataset = target._dataset
    if dataset.get_field(field) is None:
        what = "Share of wordings whose answer is not the most frequent one"
        dataset.add_sample_field(field, fo.FloatField, description=what, info={MAPPED: ", ".join(prefixes)})
    take_over(dataset, field, list(rates), digest(list(stamps)))
    Updates(dataset, [field]).set({one: {field: None if math.isnan(rate) else rate} for one, rate in rates.items()})
    name = f"{field.removesuffix(ENDING)}most_sensitive"
    view = target.match(F(field) > 0).sort_by(field, reverse=True)
    return views.keep(dataset, name, view, "Answers that depend on the wording, the most first")
