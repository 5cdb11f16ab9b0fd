"""The last thing that was done to labels in the panel, and how it is taken back.

Its ids lie in FiftyOne's store for panels and not in the panel's state, which goes to the browser and back with every
click.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import uuid4

import fiftyone.operators as foo

from facevlm.store.correcting import Undo

DONE = "last.done"
"""Path in the panel's state: the words of what was done, and where the rest lies."""
STORE = "facevlm_undo"
KEPT_S = 7 * 24 * 3600
MOST = 200_000
"""Ids that one document of the database holds."""


def keep(ctx: foo.ExecutionContext, words: str, done: Undo, choice: dict[str, str]) -> None:
    """Remember what was done, in words, in the place of what was done before; ``choice`` is what was chosen then."""
    forget(ctx)
    key = None
    if 0 < len(done.ids) <= MOST:
        key = uuid4().hex
        ctx.store(STORE).set(key, {"done": asdict(done), "choice": choice}, ttl=KEPT_S)
    ctx.panel.state.set(DONE, {"words": words, "key": key})


def told(ctx: foo.ExecutionContext) -> dict[str, Any] | None:
    """The words of what was done last, and its key where it can be taken back; None where nothing was."""
    return ctx.panel.state.get(DONE) or None


def kept(ctx: foo.ExecutionContext) -> tuple[Undo, dict[str, str]] | None:
    """What was done last, and what was chosen then; None where that is not known any more."""
    key = (told(ctx) or {}).get("key")
    held = ctx.store(STORE).get(key) if key else None
    return (Undo(**held["done"]), held["choice"]) if held else None


def forget(ctx: foo.ExecutionContext) -> None:
    """Nothing is to be taken back."""
    key = (told(ctx) or {}).get("key")
    if key:
        ctx.store(STORE).delete(key)
    ctx.panel.state.set(DONE, None)
