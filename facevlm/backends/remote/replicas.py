"""Servers of one and the same model: each request goes to the one with the fewest in flight, and to none that is gone.

One that cannot be reached is set aside for a while, twice as long each time; one that will not answer is set aside for
good. Used in one event loop.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai

from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.services import Endpoint

FIRST_ASIDE, LONGEST_ASIDE = 5.0, 120.0
"""Seconds."""


@dataclass(eq=False)
class Replica:
    """One server with its key and the clients by which it is asked in turn."""

    endpoint: Endpoint
    secret: Secret
    clients: Sequence[openai.AsyncOpenAI]
    in_flight: int = 0
    failures: int = 0
    until: float = 0.0
    is_gone: bool = False
    _turn: Iterator[openai.AsyncOpenAI] = field(init=False)

    def __post_init__(self) -> None:
        self._turn = itertools.cycle(self.clients)

    def client(self) -> openai.AsyncOpenAI:
        """The next one."""
        return next(self._turn)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A block in which a request to it is in flight."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def answered(self) -> None:
        self.failures, self.until = 0, 0.0

    def unreached(self) -> None:
        """Set aside for a while. Requests that were in flight together count once."""
        now = time.monotonic()
        if now >= self.until:
            self.until = now + min(LONGEST_ASIDE, FIRST_ASIDE * 2.0**self.failures)
            self.failures += 1


class Replicas:
    """All servers of a model."""

    def __init__(self, members: Sequence[Replica]) -> None:
        self.members = members

    def pick(self, avoid: Replica | None = None) -> Replica:
        """The one for the next request, rather not the one to ``avoid``; where all are set aside, the one whose time is
        over first."""
        now = time.monotonic()
        there = [member for member in self.members if not member.is_gone] or list(self.members)
        return min(there, key=lambda one: (max(0.0, one.until - now), one is avoid, one.in_flight))

    def others(self, than: Replica) -> bool:
        """Whether a request may go elsewhere at once."""
        now = time.monotonic()
        return any(one is not than and not one.is_gone and one.until <= now for one in self.members)

    def drop(self, one: Replica) -> bool:
        """Set one aside for good; False where no other is left."""
        one.is_gone = True
        return not all(member.is_gone for member in self.members)
