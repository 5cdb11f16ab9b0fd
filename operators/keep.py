"""Keep sidebar filters: what a dataset that is loaded anew takes away is given back."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.server.events import get_state

from facevlm.store.appearance import added, tick

NAME = "keep_sidebar_filters"
URI = f"@facevlm/face-attributes/{NAME}"
LOOKS, PAUSE = 60, 0.25
"""How often, and how many seconds apart, to look whether the App has loaded a dataset anew."""
AFTER = 12
"""How often to look whether filters that were given back are dropped once more, as by colours that arrive later."""


class KeepSidebarFilters(foo.Operator):
    """Gives the App its filters back once it has dropped them.

    The App drops them when a dataset that is loaded anew has arrived, and tells nobody. So this operator has itself
    called by the App, whose filters come along with each call, until they are gone.
    """

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(name=NAME, label="Keep sidebar filters", unlisted=True)

    def execute(self, ctx: foo.ExecutionContext) -> None:
        kept, left = ctx.params["filters"], ctx.params["left"]
        held = filters(ctx)
        if held and held != kept:
            return
        if not held:
            ctx.trigger("set_filters", kept)
            left = min(left, AFTER)
        if left:
            time.sleep(PAUSE)
            ctx.trigger(URI, {"filters": kept, "left": left - 1})


def filters(ctx: foo.ExecutionContext) -> dict[str, Any]:
    """The filters of the App's sidebar, by path."""
    return dict(ctx.request_params.get("filters") or {})


def reloaded(ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
    """The dataset as it is now, with its new fields; view, selection and filters stay as they are."""
    yield ctx.ops.reload_dataset()
    if kept := filters(ctx):
        yield ctx.trigger(URI, {"filters": kept, "left": LOOKS})


def painted(ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
    """The dataset's colours of fields on the page as it is, which keeps those that it was opened with."""
    scheme = ctx.dataset.app_config.color_scheme
    colours = scheme.fields or [] if scheme is not None else []
    shown = get_state().color_scheme
    if changes := added(shown.fields, shown.color_by, fo.app_config.color_by, colours):
        yield ctx.trigger("set_color_scheme", changes)


def reload(ctx: foo.ExecutionContext) -> None:
    """As :func:`reloaded`, for what is no generator."""
    for _ in reloaded(ctx):
        pass


def showing(ctx: foo.ExecutionContext, fields: list[str]) -> Generator[Any, None, None]:
    """As :func:`reloaded`, with just these fields on the pictures, also when the page is loaded anew.

    Boxes that lie on one another hide each other's labels.
    """
    tick(ctx.dataset, fields)
    # Before the reload: set while the App is reloading, the choice is now and then lost to the one before.
    yield ctx.ops.set_active_fields(fields)
    yield from reloaded(ctx)
