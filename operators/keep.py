"""Keep sidebar filters: what a dataset that is loaded anew takes away is given back."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timezone
from typing import Any, TypeAlias

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.server.events import get_state

from facevlm.store.appearance import added, tick
from facevlm.types import digest

NAME = "keep_sidebar_filters"
URI = f"@facevlm/face-attributes/{NAME}"
PAUSE = 0.25
"""Seconds between two looks at the filters, beside what the App takes to call again."""
QUIET, PACE = 3.0, 6
"""Filters are given back until the dataset was not loaded for so many seconds, and so many times the longest call.

A page that is slow to call again is slow to load, too. After that who has no filters has dropped them on purpose.
"""
ALIVE = 30.0
"""Seconds after which a watch that has not looked is over."""


@dataclass
class _Watch:
    """Filters that are looked after: since when, and when last."""

    began: float
    looked: float


Filters: TypeAlias = dict[str, Any]
_watches: dict[tuple[str, str], _Watch] = {}


class KeepSidebarFilters(foo.Operator):
    """Gives the App its filters back as often as it drops them.

    The App drops them whenever a dataset that is loaded anew has arrived: after ``reload_dataset``, and after every
    change of a panel's state, which is a part of the page's address. It tells nobody. So this operator has itself
    called by the App, whose filters come along with each call, until the dataset has not been loaded for a while.
    """

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(name=NAME, label="Keep sidebar filters", unlisted=True)

    def execute(self, ctx: foo.ExecutionContext) -> None:
        kept, held, now = ctx.params["filters"], filters(ctx), time.time()
        slowest = max(ctx.params["slowest"], now - ctx.params["called"])
        ours = _watches.get(_key(ctx, kept))
        if ours is None:
            return
        ours.looked = now
        quiet = now - max(ours.began, _loaded(ctx))
        if (held and held != kept) or quiet > QUIET + PACE * slowest:
            _watches.pop(_key(ctx, kept), None)
            return
        if not held:
            ctx.trigger("set_filters", kept)
        time.sleep(PAUSE)
        ctx.trigger(URI, _call(kept, slowest))


def look_after(ctx: foo.ExecutionContext, earlier: Filters | None = None) -> Generator[Any, None, None]:
    """See to it that the filters of now outlast that the dataset is loaded anew; one watch does for many loads.

    Where there are none, ``earlier`` ones come back.
    """
    kept, now = filters(ctx) or earlier, time.time()
    if not kept:
        return
    for key in [key for key, one in _watches.items() if now - one.looked > ALIVE]:
        _watches.pop(key, None)
    if going_on := _watches.get(_key(ctx, kept)):
        going_on.began = now
    else:
        _watches[_key(ctx, kept)] = _Watch(now, now)
        yield ctx.trigger(URI, _call(kept, 0.0))


def watch(ctx: foo.ExecutionContext, earlier: Filters | None = None) -> None:
    """As :func:`look_after`, for what is no generator."""
    for _ in look_after(ctx, earlier):
        pass


def leave(ctx: foo.ExecutionContext) -> None:
    """Look after no filters of this dataset any more."""
    for key in [key for key in _watches if key[0] == ctx.dataset.name]:
        _watches.pop(key, None)


def _call(kept: Filters, slowest: float) -> dict[str, Any]:
    return {"filters": kept, "slowest": slowest, "called": time.time()}


def _key(ctx: foo.ExecutionContext, kept: Filters) -> tuple[str, str]:
    return ctx.dataset.name, digest(kept)


def _loaded(ctx: foo.ExecutionContext) -> float:
    """When a page last loaded the dataset, in seconds of the epoch; in the App's server nothing else is noted there."""
    at = ctx.dataset.last_loaded_at
    return at.replace(tzinfo=timezone.utc).timestamp() if at is not None else 0.0


def filters(ctx: foo.ExecutionContext) -> Filters:
    """The filters of the App's sidebar, by path."""
    return dict(ctx.request_params.get("filters") or {})


def reloaded(ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
    """The dataset as it is now, with its new fields; view, selection and filters stay as they are."""
    yield ctx.ops.reload_dataset()
    yield from look_after(ctx)


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
