"""What a form begins with: what was chosen the last time on this dataset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fiftyone.operators as foo

from facevlm.store import settings

from . import _forms, _remote, _trust, choose_attributes

MODEL = ("model", "checkpoint", "prefix")
OTHERS = ("about", "framing", "face_labels", "face_confidence", "min_face_px", "margin", "align", "batch_size")
"""No server, no name of a key, no code, no file: what a visitor may name is looked at when it is named."""
TITLES = {"model": "model", "attributes": "attributes", "prefix": "field prefix", "batch_size": "batch size"}


def keep(ctx: foo.ExecutionContext, form: str) -> None:
    """Remember what the form says, for the next time."""
    # Without its server a model would be asked at another one.
    elsewhere = ctx.params.get("model") == _remote.API or _trust.told(ctx, "base_url")
    names = OTHERS if elsewhere else (*MODEL, *OTHERS)
    chosen = {name: ctx.params[name] for name in names if ctx.params.get(name) not in (None, "")}
    settings.remember(ctx.dataset, form, chosen | {choose_attributes.CHOSEN: choose_attributes.names(ctx)})


@contextmanager
def begun(ctx: foo.ExecutionContext, form: str, inputs: Any) -> Iterator[None]:
    """A form that is drawn with what was chosen the last time, until something is chosen in it.

    A run is never begun with what is remembered: a form sends all that it shows, and a script says what it means.
    """
    known = settings.recall(ctx.dataset, form) if ctx.executor is None else {}
    given, is_new = ctx.params, not ctx.params
    if known and is_new:
        ctx.params = dict(known)
        said = ", ".join(title for name, title in TITLES.items() if known.get(name))
        _forms.notice(inputs, "as_before", f"As in the last run on this dataset: {said}.")
    try:
        yield
    finally:
        ctx.params = given
    for name, value in known.items():
        # Also when something else was chosen: a default that changes is taken for a choice by the App.
        if name in inputs.properties and name != choose_attributes.CHOSEN:
            inputs.properties[name].default = value
