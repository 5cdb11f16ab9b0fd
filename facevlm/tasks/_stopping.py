"""SIGTERM and SIGHUP stop as Ctrl-C does, and the process ends as if it had been told so by nobody but the system.

Python raises wherever the main thread is when a signal comes. In the midst of taking a lock that leaves it taken, and
who waits for it waits without end; in a finalizer the exception is only printed. There the signal waits for a moment.
"""

from __future__ import annotations

import _thread
import _weakrefset
import concurrent.futures._base
import concurrent.futures.thread
import linecache
import logging
import queue
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What docker stop, Slurm, systemd and a terminal that is closed send; a system without one goes without."""
LOCKING = (threading, queue, logging, concurrent.futures._base, concurrent.futures.thread, weakref, _weakrefset)
"""What takes locks in Python code, where an exception may leave them taken, and what a finalizer calls back."""
_FILES = frozenset(module.__file__ for module in LOCKING)
AGAIN = 0.005
"""Seconds until a signal that came in such a moment is tried again."""
PATIENCE = 2.0
"""Seconds after which it is raised wherever it meets the main thread."""


class Terminated(KeyboardInterrupt):
    """A signal told the process to end; ``signum`` is its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status by which shells tell of the signal, such as 143."""
        return 128 + self.signum


@contextmanager
def stopping() -> Iterator[None]:
    """Raise :class:`Terminated` in the block where a signal would end the process at once, and KeyboardInterrupt for
    Ctrl-C, both where no lock is left taken; a second signal ends the process.

    When the block has ended for it, the process ends by the signal. Only in the main thread, and only for signals that
    nobody else handles: those of the caller stay as they are.
    """
    before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGINT) if _is_free(signum)}
    handler, stopped = _Handler(before), None
    try:
        for signum in before:
            signal.signal(signum, handler)
        yield
    except Terminated as error:
        stopped = error
        if not before:
            raise
    finally:
        for signum, its in before.items():
            signal.signal(signum, its)
        late = handler.end()
    if stopped is not None:
        signal.raise_signal(stopped.signum)
    elif late is not None:
        signal.raise_signal(late)


@contextmanager
def stopping_below_asyncio() -> Iterator[None]:
    """As :func:`stopping`, with Ctrl-C raised at once, too: asyncio only notes it until the work next awaits something,
    which work in one piece never does."""
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and before not in (signal.SIG_IGN, None)
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stopping():
            yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _is_free(signum: int) -> bool:
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler)


class _Handler:
    """Raises in the main thread, once, and then puts back what was there ``before``."""

    def __init__(self, before: Mapping[int, Any]) -> None:
        self._before = before
        self._waiting: int | None = None
        self._since = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._waiting is None:
            self._since = now
        if _is_delicate(frame) and now - self._since < PATIENCE:
            if self._waiting is None:
                # Not threading.Thread, which takes a lock that the main thread may be about to take.
                _thread.start_new_thread(self._try_again, (signum,))
            self._waiting = signum
            return
        self._waiting = None
        signal.signal(signum, self._before[signum])
        raise KeyboardInterrupt if signum == signal.SIGINT else Terminated(signum)

    def end(self) -> int | None:
        """The signal that waited to the end of the block; it is not tried again."""
        signum, self._waiting = self._waiting, None
        return signum

    def _try_again(self, signum: int) -> None:
        while self._waiting is not None:
            time.sleep(AGAIN)
            if self._waiting is not None:
                _interrupt(self._waiting)


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether in the main thread a lock is just taken or let go of, or a finalizer at work."""
    if frame is None or _waits(frame):
        return False
    stack = (place[0] for place in traceback.walk_stack(frame))
    return any(one.f_code.co_filename in _FILES or one.f_code.co_name == "__del__" for one in stack)


def _waits(frame: FrameType) -> bool:
    """Whether it waits for a condition: that may be broken off, since the lock is let go of and taken again first."""
    is_waiting = frame.f_code is threading.Condition.wait.__code__
    return is_waiting and "waiter.acquire(" in linecache.getline(frame.f_code.co_filename, frame.f_lineno)


def _interrupt(signum: int) -> None:
    """Also where the main thread waits for a lock, which only a signal of its own interrupts."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signum)
    else:
        _thread.interrupt_main(signal.Signals(signum))
