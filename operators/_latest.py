"""What the panels of this server hold by now, which an event of the browser may not know yet.

The browser sends the state that it holds with every event, and goes on sending while the server draws. An event that
was sent before the last answer came holds an older state, and would be drawn as if nothing had happened since: a
question goes that was just asked. So events of one panel are answered in turn, and what is drawn after each is the
newest state; what an event does is decided by the state that its sender saw.

What an event sets to what it was is not told at all: the browser loads its page anew for every change of a panel's
state, and tells the panel of the view that was loaded, which would have no end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators.panel import PanelRefBase

TOLD = "told"
"""In the panel's state: of how many changes the browser has been told."""
MOST_PANELS = 256


class _Panel:
    """Of each path of one panel's state that was changed: the number of the last change, and the value."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.number = 0
        self.changes: dict[str, tuple[int, Any]] = {}
        self.making: dict[str, Any] = {}
        """What the event whose turn it is has changed so far."""

    def since(self, number: int) -> dict[str, Any]:
        """What others changed after so many changes."""
        later = {path: value for path, (k, value) in self.changes.items() if k > number and path not in self.making}
        return deepcopy(later)

    def holds(self, path: str, value: Any, seen: Any) -> bool:
        """Whether a path has this value already, here and where the event comes from, which saw it so."""
        if path in self.making:
            return bool(self.making[path] == value)
        return bool(seen == value) and bool(self.changes.get(path, (0, seen))[1] == value)


_panels: OrderedDict[tuple[str, str], _Panel] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def turn(ctx: foo.ExecutionContext) -> Iterator[Mapping[str, Any]]:
    """For the length of the block an event is answered, and no other one of its panel; gives what it changes."""
    panel = _panel(ctx)
    with panel.turn:
        told = ctx.panel_state.get(TOLD)
        if told is None and ctx.params.get("__method__") == "on_load":
            panel.changes.clear()
        panel.making = {}
        with _noted(ctx, panel):
            yield panel.making
        if panel.making:
            # The server may have been started anew while the page stood open, and begins to count again.
            panel.number = max(panel.number, int(told or 0)) + 1
            panel.changes |= {path: (panel.number, value) for path, value in panel.making.items()}
            ctx.panel.state.set(TOLD, panel.number)


def catch_up(ctx: foo.ExecutionContext) -> None:
    """Bring the state up to date in which the panel is drawn."""
    told = ctx.panel_state.get(TOLD)
    if told is None or ctx.panel_id is None:
        return
    # Here alone: the browser was told of it, and need not be again.
    PanelRefBase.set(ctx.panel.state, _panel(ctx).since(int(told)))


@contextmanager
def _noted(ctx: foo.ExecutionContext, panel: _Panel) -> Iterator[None]:
    """Take down what is changed in the panel's state, all of which is told to the browser by one operation."""
    tell, seen = ctx.ops.patch_panel_state, PanelRefBase(ctx)
    PanelRefBase.set(seen, deepcopy(ctx.panel_state))

    def telling(given: Mapping[str, Any]) -> None:
        change = {path: value for path, value in given.items() if not panel.holds(path, value, seen.get(path))}
        if change:
            panel.making.update(deepcopy(change))
            tell(change)

    ctx.ops.patch_panel_state = telling
    try:
        yield
    finally:
        ctx.ops.patch_panel_state = tell


def _panel(ctx: foo.ExecutionContext) -> _Panel:
    key = str(ctx.panel_id), ctx.dataset_name or ""
    with _lock:
        panel = _panels.setdefault(key, _Panel())
        _panels.move_to_end(key)
        if len(_panels) > MOST_PANELS:
            _panels.popitem(last=False)
        return panel
