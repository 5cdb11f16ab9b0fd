"""Where the time of an answer goes, read off the running code."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from facevlm.backends.checkpoint import Checkpoint

REST = "read-out and the rest"


class Stopwatch:
    """Seconds by part; a part that runs inside another is not counted there. ``finish`` waits for the device."""

    def __init__(self, finish: Callable[[], None]) -> None:
        self.seconds: Counter[str] = Counter()
        self._finish = finish
        self._running: list[str] = []
        self._since = 0.0

    def _turn(self) -> None:
        self._finish()
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since  # type: ignore[assignment]
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    @contextmanager
    def watching(self, owner: Any, method: str, name: str) -> Iterator[None]:
        """Count the time in a method of one object."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(owner, method, timed)
        try:
            yield
        finally:
            delattr(owner, method)


def shares(checkpoint: Checkpoint, run: Callable[[], object], finish: Callable[[], None]) -> dict[str, float]:
    """Share of the time by part while a checkpoint scores. Waiting at every step costs a GPU some of its speed."""
    watch, family = Stopwatch(finish), checkpoint.family
    with (
        watch.watching(checkpoint, "prepare", "pixels"),
        watch.watching(family, "collate", "pixels"),
        watch.watching(family, "see", "vision tower and projector"),
        watch.watching(family, "logits", "decoder"),
        watch.watching(family, "mask", "mask"),
        watch.watching(family.model.lm_head, "forward", "logits"),
        watch.part(REST),
    ):
        run()
    total = sum(watch.seconds.values())
    return {name: round(seconds / total, 4) for name, seconds in watch.seconds.most_common()}
