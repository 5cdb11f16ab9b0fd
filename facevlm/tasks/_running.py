"""Runs under way in this process, each of which another thread may ask to stop, as the App's operator for that does."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from facevlm.errors import FacevlmError

_under_way: dict[str, Job] = {}


@dataclass
class Job:
    """A run under way: what it does, on which dataset, how far it is in words, and whether it is to stop."""

    title: str
    dataset: str
    said: str = "is starting"
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: float = field(default_factory=time.monotonic)
    is_quiet: bool = False
    """Whether the user works on meanwhile, and is told of the end alone."""
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask it to stop after the batch that it is at; what was done is kept."""
        self._stop.set()


class StoppedByUser(FacevlmError):
    """A run that was asked to stop, and did."""


@contextmanager
def job(title: str, dataset: str) -> Iterator[Job]:
    """A job that is under way for the length of the block."""
    made = Job(title, dataset)
    _under_way[made.key] = made
    try:
        yield made
    finally:
        del _under_way[made.key]


def jobs() -> list[Job]:
    """What is under way in this process, the oldest first."""
    return sorted(_under_way.values(), key=lambda one: one.began)
