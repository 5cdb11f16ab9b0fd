"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120
"""Seconds; far more than anything takes, also on a busy machine."""

SOON = 15
"""Seconds in which, also on a busy machine, something is over that waits for nothing; what hangs takes longer."""


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again whether it holds; an AssertionError names what was waited for."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
