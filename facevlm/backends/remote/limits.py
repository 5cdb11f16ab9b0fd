"""How many requests may be in flight, and when the next may start. Used in one event loop; no locks, no network."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from facevlm.backends.remote import numbers

FIRST = 16
SLOW = 2.0
"""Latency is not steady when its moving average is this many times the lowest it has been."""
SMOOTH = 0.05
WARM = 30
LONGEST_PAUSE = 120.0
Clock = Callable[[], float]


class Concurrency:
    """A limit on requests in flight that grows while latency is steady and is halved where the server says too many.

    It doubles per round trip until the first sign of trouble, and grows by one per round trip afterwards.
    """

    def __init__(self, most: int, clock: Clock = time.monotonic) -> None:
        self.most, self._clock = most, clock
        self.limit = float(min(FIRST, most))
        self.in_flight = 0
        self.highest = 0
        self._careful = False
        self._cut_at = -1.0
        self._average: float | None = None
        self._lowest = float("inf")
        self._seen = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> float:
        """Wait for room, first come, first served; returns the time at which the request starts."""
        if self._waiting or self.in_flight >= int(self.limit):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._give_up(place)
                raise
        else:
            self._enter()
        return self._clock()

    def _enter(self) -> None:
        self.in_flight += 1
        self.highest = max(self.highest, self.in_flight)

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        elif not place.cancelled():
            self.release()

    def release(self) -> None:
        """A request has ended, however it ended; those that wait move up."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._enter()

    def succeeded(self, started: float) -> None:
        """A request that began at ``started`` was answered."""
        latency = self._clock() - started
        before = self._average
        self._average = latency if before is None else before + SMOOTH * (latency - before)
        self._seen += 1
        if self._seen >= WARM:
            self._lowest = min(self._lowest, self._average)
            if self._average > SLOW * self._lowest:
                self._careful = True
                return
        self.limit = min(float(self.most), self.limit + (1.0 / self.limit if self._careful else 1.0))

    def too_many(self, started: float) -> None:
        """The server refused a request for load. Requests that began before the last cut do not cut again."""
        self._careful = True
        if started > self._cut_at:
            self._cut_at = self._clock()
            self.limit = max(1.0, self.limit / 2)


class Pace:
    """So many units a minute, evenly: each :meth:`reserve` says how long to wait before its units may be used."""

    def __init__(self, per_minute: float | None, clock: Clock = time.monotonic) -> None:
        self._seconds_per_unit = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._free_at = clock()

    def reserve(self, units: float = 1.0) -> float:
        """Seconds to wait."""
        if not self._seconds_per_unit:
            return 0.0
        now = self._clock()
        start = max(now, self._free_at)
        self._free_at = start + units * self._seconds_per_unit
        return start - now

    def correct(self, units: float) -> None:
        """So many units more, or fewer if negative, were used than were reserved."""
        self._free_at += units * self._seconds_per_unit


class Pause:
    """Nothing starts before a moment that the server named."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def hold(self, seconds: float) -> None:
        self._until = max(self._until, self._clock() + seconds)

    async def wait(self) -> None:
        while (left := self._until - self._clock()) > 0:
            await asyncio.sleep(left)


def quota_pause(headers: Mapping[str, str]) -> float:
    """Seconds until a used-up quota is there again, by the rate-limit headers; 0 if none is used up."""
    pause = 0.0
    for unit in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{unit}", "").strip() in ("0", "-1"):
            pause = max(pause, numbers.duration(headers.get(f"x-ratelimit-reset-{unit}", "")))
    return min(pause, LONGEST_PAUSE)
