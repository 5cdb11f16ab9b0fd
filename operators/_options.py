"""The part of a form about what a model and a service can be told, made from the table of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import fiftyone.operators as foo

from facevlm.backends import Options, Remote, load_class
from facevlm.backends.cards import find
from facevlm.backends.options import Option, described

from . import _forms, _trust
from ._marks import plain

PICK_DEVICE = "facevlm.backends.weights:pick_device"
LOADING = (
    *("device", "devices", "dtype", "revision", "adapter", "merge_adapter", "decode", "decision", "quantize"),
    *("attention", "compile", "memory_gb"),
)
SERVICE = ("base_url", "key_name", "template", "concurrency", "samples", "budget")
"""What a form offers at once; ``MORE`` is behind a box to tick."""
MORE = (
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "attempts",
    "max_failures",
    "temperature",
    "max_tokens",
    "max_side",
    "quality",
    "detail",
    "wording",
    "order",
    "cache",
)


def options(ctx: foo.ExecutionContext, model: str = "", usual: Remote | None = None) -> Options:
    """What the form says of a model and its service. Fields that are empty, or were never sent, are as usual.

    Raises :class:`~facevlm.errors.FacevlmError` for what cannot be, or may not be named.
    """
    told = {row.name: value for row in described(Options) if (value := _value(ctx, row)) is not None}
    if "adapter" in told and model and not find(model).is_checkpoint:
        # It was written before another kind of model was chosen.
        told.pop("adapter")
    return Options(remote=remote(ctx, usual), **told | {"trust_remote_code": _trust.runs_code(ctx, model)})


def remote(ctx: foo.ExecutionContext, usual: Remote | None = None) -> Remote:
    """The part of :func:`options` about a service."""
    offered = [row for row in described(Remote) if row.name in (*SERVICE, *MORE)]
    told = {row.name: value for row in offered if (value := _value(ctx, row)) is not None}
    return replace(usual or Remote(), **told)


def _value(ctx: foo.ExecutionContext, row: Option) -> Any:
    if row.name in _trust.GUARDED:
        return _trust.told(ctx, row.name)
    value = ctx.params.get(row.name)
    return None if value == "" else value


def add(inputs: Any, names: Sequence[str], usual: Options | Remote) -> dict[str, Any]:
    """A field for each of these options, in the order of the table; returns them by name."""
    rows = [row for row in described(type(usual)) if row.name in names]
    return {row.name: _field(inputs, row, getattr(usual, row.name)) for row in rows}


def _field(inputs: Any, row: Option, default: Any) -> Any:
    told = {"label": plain(row.title), "description": plain(row.text), "default": default, "required": False}
    if row.choices:
        return _forms.dropdown(inputs, row.name, {choice: choice for choice in row.choices}, **told)
    make = {str: inputs.str, int: inputs.int, float: inputs.float, bool: inputs.bool}[row.kind]
    return make(row.name, **told)


def add_loading(ctx: foo.ExecutionContext, inputs: Any, model: str) -> None:
    """How a model that runs here is loaded and read, behind a box to tick."""
    box = inputs.bool("loading", label="How the model is loaded and read", default=False)
    if ctx.params.get("loading"):
        add(inputs, LOADING, Options())
    # What was written there is told to the model whether it is shown or not.
    _forms.attempt(box, lambda: _check_loading(ctx, model))


def _check_loading(ctx: foo.ExecutionContext, model: str) -> None:
    device = options(ctx, model).device
    if device is not None:
        # Only then: whether there is such a device is known to PyTorch, which takes seconds to import.
        load_class(PICK_DEVICE)(device)


def add_more(ctx: foo.ExecutionContext, inputs: Any, usual: Remote) -> None:
    """What else a service can be told, behind a box to tick."""
    box = inputs.bool("more", label="More about the service", default=False)
    if ctx.params.get("more"):
        add(inputs, MORE, usual)
    _forms.attempt(box, lambda: remote(ctx, usual))
