"""What was answered, written a chunk at a time while the model goes on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
SOON = 3.0
"""Seconds after which what was answered is written, also where the chunk is not full and nothing more is answered."""


class ChunkWriter(Generic[Item]):
    """Collects what is to be written and writes it in one thread of its own, in order.

    A chunk is written when it is full, or ``soon`` seconds after the first of it came. While a write takes longer than
    that, :meth:`add` waits for it, so that no more is asked than can be kept. The error of a write is raised by the
    next :meth:`add`, or at the end, and nothing is written after it.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None], chunk_size: int, soon: float = SOON) -> None:
        self._write, self._chunk_size, self._soon = write, chunk_size, soon
        self._items: list[Item] = []
        self._full: list[Item] = []
        # When the first of the items came, and when the write that is going on began.
        self._since, self._began = 0.0, math.inf
        self._ends = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        # A daemon: a process that is told twice to stop does not wait for a write.
        self._thread = threading.Thread(target=self._work, name="facevlm-write", daemon=True)

    def __enter__(self) -> ChunkWriter[Item]:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is not None and self._error is not error:
            raise self._error

    def add(self, items: Sequence[Item]) -> None:
        with self._changed:
            self._await(lambda: time.monotonic() - self._began < self._soon)
            if items and not self._items:
                self._since = time.monotonic()
            self._items += items
            if len(self._items) >= self._chunk_size:
                self._await(lambda: self._began == math.inf and not self._full)
                self._full, self._items = self._items, []
            self._changed.notify_all()

    def _await(self, holds: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._error is not None or holds())
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while chunk := self._next():
            try:
                self._write(chunk)
            except BaseException as error:  # noqa: BLE001  raised again by whoever adds
                self._error = error
            with self._changed:
                self._began = math.inf
                self._changed.notify_all()
            if self._error is not None:
                return

    def _next(self) -> list[Item]:
        """What is to be written next, waited for; empty at the end."""
        with self._changed:
            while not (self._ends or self._full or self._wait() <= 0):
                self._changed.wait(None if self._wait() == math.inf else self._wait())
            if self._full:
                chunk, self._full = self._full, []
            else:
                chunk, self._items = self._items, []
            self._began = time.monotonic()
            return chunk

    def _wait(self) -> float:
        """Seconds until what came is to be written, full or not."""
        return self._since + self._soon - time.monotonic() if self._items else math.inf
