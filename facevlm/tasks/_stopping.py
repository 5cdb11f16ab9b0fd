"""SIGTERM and SIGHUP stop as Ctrl-C does, and the process ends as if it had been told so by nobody but the system."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What docker stop, Slurm, systemd and a terminal that is closed send; a system without one goes without."""


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
    """Raise :class:`Terminated` in the block where a signal would end the process at once; a second one does that.

    When the block has ended for it, the process ends by the signal. Only in the main thread, and only for signals that
    nobody else handles: those of the caller stay as they are.
    """
    ours = [signum for signum in SIGNALS if _is_free(signum)]
    stopped: Terminated | None = None
    try:
        for signum in ours:
            signal.signal(signum, _stop)
        yield
    except Terminated as error:
        stopped = error
        if not ours:
            raise
    finally:
        for signum in ours:
            signal.signal(signum, signal.SIG_DFL)
    if stopped is not None:
        signal.raise_signal(stopped.signum)


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
    return in_main and signal.getsignal(signum) is signal.SIG_DFL


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)
    raise Terminated(signum)
