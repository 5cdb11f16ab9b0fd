"""The part of a form about what a model and a service can be told, made from the table of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import fiftyone.operators as foo

from facevlm.backends import Options, Remote
from facevlm.backends.options import Option, described

from . import _forms

LOADING = ("device", "dtype", "revision", "decode", "quantize", "attention", "compile", "memory_gb")
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


def options(ctx: foo.ExecutionContext, usual: Remote | None = None) -> Options:
    """What the form says. Fields that are empty, or were never sent, are as usual.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    told = {row.name: value for row in described(Options) if (value := _value(ctx, row)) is not None}
    return Options(remote=remote(ctx, usual), **told)


def remote(ctx: foo.ExecutionContext, usual: Remote | None = None) -> Remote:
    """The part of :func:`options` about a service."""
    offered = [row for row in described(Remote) if row.name in (*SERVICE, *MORE)]
    told = {row.name: value for row in offered if (value := _value(ctx, row)) is not None}
    return replace(usual or Remote(), **told)


def _value(ctx: foo.ExecutionContext, row: Option) -> Any:
    value = ctx.params.get(row.name)
    return None if value == "" else value


def add(inputs: Any, names: Sequence[str], usual: Options | Remote) -> dict[str, Any]:
    """A field for each of these options, in the order of the table; returns them by name."""
    rows = [row for row in described(type(usual)) if row.name in names]
    return {row.name: _field(inputs, row, getattr(usual, row.name)) for row in rows}


def _field(inputs: Any, row: Option, default: Any) -> Any:
    told = {"label": row.title, "description": row.text, "default": default, "required": False}
    if row.choices:
        return _forms.dropdown(inputs, row.name, {choice: choice for choice in row.choices}, **told)
    make = {str: inputs.str, int: inputs.int, float: inputs.float, bool: inputs.bool}[row.kind]
    return make(row.name, **told)


def add_loading(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """How a model that runs here is loaded and read, behind a box to tick."""
    box = inputs.bool("loading", label="How the model is loaded and read", default=False)
    if ctx.params.get("loading"):
        add(inputs, LOADING, Options())
        _forms.attempt(box, lambda: options(ctx))


def add_more(ctx: foo.ExecutionContext, inputs: Any, usual: Remote) -> None:
    """What else a service can be told, behind a box to tick."""
    box = inputs.bool("more", label="More about the service", default=False)
    if ctx.params.get("more"):
        add(inputs, MORE, usual)
        _forms.attempt(box, lambda: remote(ctx, usual))
