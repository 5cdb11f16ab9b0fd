"""Pictures in, answers out as they are ready, with as many in between as the server can take. No barrier.

The caller's thread hands over and receives; the work is done by coroutines in an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")
TICK = 0.25
"""Seconds after which the caller hears something even if nothing is ready, and can stop."""
LAST_WORDS = 1.0
"""Seconds that cancelled work is given to end."""


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end; a cancelled or interrupted caller cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what still runs, stop the loop, and wait for its thread."""
        if self.loop.is_closed():
            return
        self.submit(_cancel_all()).result(LAST_WORDS + 1)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LAST_WORDS)
        if not self._thread.is_alive():
            self.loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LAST_WORDS)


class _Inbox(Generic[Result]):
    """Finished work with its number, in the order in which it finished."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()
        self.pending: set[Future[Result]] = set()

    def expect(self, number: int, future: Future[Result]) -> None:
        self.pending.add(future)
        future.add_done_callback(lambda done: self._queue.put((number, done)))

    def is_empty(self) -> bool:
        return self._queue.empty()

    def take(self) -> list[tuple[int, Future[Result]]]:
        """All that is finished; waits up to a tick for the first."""
        taken: list[tuple[int, Future[Result]]] = []
        try:
            taken.append(self._queue.get(timeout=TICK))
            while True:
                taken.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        self.pending.difference_update(future for _, future in taken)
        return taken


def flow(
    thread: LoopThread,
    work: Callable[[Given], Coroutine[Any, Any, Result]],
    given: Iterable[Given],
    room: int,
    last: type[Exception],
    stop: Callable[[], None] = lambda: None,
) -> Generator[list[tuple[int, Result]], None, None]:
    """Lists of (number of the item, result) in the order of completion, one at least every quarter of a second.

    At most ``room`` items are in work. After an exception of type ``last`` no new item is taken; what is in work may
    still end, and then the exception is raised. After any other exception ``stop`` is called, what still comes without
    a silent tick comes out, and the rest is cancelled: an answer that is being kept is one that was paid. Closing the
    generator cancels all work.
    """
    inbox: _Inbox[Result | Exception] = _Inbox()
    numbered, more = enumerate(given), True
    ended: Exception | None = None
    try:
        while more or inbox.pending:
            while more and len(inbox.pending) < room and inbox.is_empty():
                if (item := next(numbered, None)) is None:
                    more = False
                else:
                    inbox.expect(item[0], thread.submit(_kept(work(item[1]))))
            if not inbox.pending:
                break
            rows, failed = _sort(inbox.take())
            more = more and failed is None
            ended = ended or failed
            yield rows
            if failed is not None and not isinstance(failed, last):
                stop()
                while inbox.pending and (late := inbox.take()):
                    yield _sort(late)[0]
                break
        if ended is not None:
            raise ended
    finally:
        for future in inbox.pending:
            future.cancel()
        wait(inbox.pending, LAST_WORDS)


async def _kept(work: Coroutine[Any, Any, Result]) -> Result | Exception:
    """The result, or the exception as a value: one that nobody waits for any more must not end up in the log."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001  raised again by whoever takes it
        return error


def _sort(
    taken: list[tuple[int, Future[Result | Exception]]],
) -> tuple[list[tuple[int, Result]], Exception | None]:
    rows: list[tuple[int, Result]] = []
    failed: Exception | None = None
    for number, future in taken:
        result = future.result()
        if isinstance(result, Exception):
            failed = failed or result
        else:
            rows.append((number, result))
    return rows, failed
