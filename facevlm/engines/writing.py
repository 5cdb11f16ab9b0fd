"""What was answered, written a chunk at a time while the model goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ChunkWriter(Generic[Item]):
    """Collects what is to be written and writes a chunk at a time in one thread of its own, in order."""

    def __init__(self, write: Callable[[Sequence[Item]], None], chunk_size: int) -> None:
        self._write, self._chunk_size = write, chunk_size
        self._items: list[Item] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="facevlm-write")
        self._last: Future[None] | None = None

    def __enter__(self) -> ChunkWriter[Item]:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._flush()
            if self._last is not None:
                self._last.result()
        finally:
            self._pool.shutdown(wait=True)

    def add(self, items: Sequence[Item]) -> None:
        self._items += items
        if len(self._items) >= self._chunk_size:
            self._flush()

    def _flush(self) -> None:
        if self._last is not None:
            self._last.result()
        if self._items:
            self._last = self._pool.submit(self._write, self._items)
            self._items = []
