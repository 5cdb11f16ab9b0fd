"""Requests in flight, rates, pauses: on a clock of the test's own where time matters."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.backends.remote import limits
from facevlm.backends.remote.limits import Concurrency, Pace, Pause
from facevlm.backends.remote.numbers import duration, retry_after
from tests.waiting import SOON


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def trips(limit: Concurrency, clock: Clock, count: int, latency: float) -> None:
    """So many answered requests, each of this latency, one after the other."""
    for _ in range(count):
        started = clock.now
        clock.now += latency
        limit.succeeded(started)


def test_it_doubles_per_round_trip_up_to_the_most() -> None:
    clock = Clock()
    limit = Concurrency(64, clock)
    assert limit.limit == 16
    trips(limit, clock, 16, 0.2)
    assert limit.limit == 32
    trips(limit, clock, 200, 0.2)
    assert limit.limit == 64


def test_it_never_begins_above_the_most() -> None:
    assert Concurrency(3).limit == 3


def test_too_many_halves_it_once_for_all_that_were_in_flight() -> None:
    clock = Clock()
    limit = Concurrency(64, clock)
    trips(limit, clock, 100, 0.2)
    before = clock.now
    clock.now += 1
    for _ in range(40):
        limit.too_many(before)
    assert limit.limit == 32
    clock.now += 1
    limit.too_many(clock.now - 0.5)
    assert limit.limit == 16


def test_it_grows_by_one_per_round_trip_afterwards() -> None:
    clock = Clock()
    limit = Concurrency(64, clock)
    trips(limit, clock, 100, 0.2)
    clock.now += 1
    limit.too_many(clock.now)
    trips(limit, clock, 32, 0.2)
    assert limit.limit == pytest.approx(33, abs=0.1)


def test_it_never_falls_below_one() -> None:
    clock = Clock()
    limit = Concurrency(8, clock)
    for _ in range(20):
        clock.now += 1
        limit.too_many(clock.now)
    assert limit.limit == 1


def test_it_does_not_grow_while_latency_rises() -> None:
    clock = Clock()
    limit = Concurrency(1000, clock)
    trips(limit, clock, 50, 0.1)
    trips(limit, clock, 100, 1.0)
    held = limit.limit
    trips(limit, clock, 100, 1.0)
    assert limit.limit == held


def test_no_more_are_in_flight_than_the_limit_and_waiters_come_in_order() -> None:
    async def main() -> tuple[int, list[int]]:
        limit, order, most = Concurrency(3), [], 0

        async def work(k: int) -> None:
            nonlocal most
            await limit.acquire()
            most = max(most, limit.in_flight)
            order.append(k)
            await asyncio.sleep(0.001)
            limit.release()

        await asyncio.gather(*(work(k) for k in range(20)))
        assert limit.in_flight == 0
        return most, order

    assert asyncio.run(main()) == (3, list(range(20)))


def test_a_cancelled_waiter_takes_no_place() -> None:
    async def main() -> None:
        limit = Concurrency(1)
        await limit.acquire()
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        limit.release()
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], SOON)
        assert limit.in_flight == 1

    asyncio.run(main())


@given(st.floats(1, 10_000), st.lists(st.floats(0.1, 50), min_size=1, max_size=30))
def test_a_pace_is_kept(per_minute: float, amounts: list[float]) -> None:
    clock = Clock()
    pace = Pace(per_minute, clock)
    for k, amount in enumerate(amounts):
        clock.now += pace.reserve(amount)
        assert clock.now == pytest.approx(sum(amounts[:k]) * 60 / per_minute)


def test_a_pace_forgives_no_debt_and_saves_nothing_up() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    assert [pace.reserve() for _ in range(3)] == [0, 1, 2]
    pace.correct(5)
    assert pace.reserve() == 8
    clock.now = 100
    assert [pace.reserve() for _ in range(2)] == [0, 1]


def test_no_pace_is_no_wait() -> None:
    assert Pace(None).reserve(1e9) == 0


def test_a_pause_holds_as_long_as_the_longest() -> None:
    async def main() -> float:
        pause = Pause()
        pause.hold(0.2)
        pause.hold(0.05)
        began = time.monotonic()
        await pause.wait()
        return time.monotonic() - began

    assert 0.19 < asyncio.run(main()) < SOON


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1.5", 1.5),
        ("1h2m3s", 3723),
        ("1.5s", 1.5),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("nan", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


def test_a_used_up_quota_is_a_pause() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-remaining-tokens": "9",
    }
    assert limits.quota_pause(headers) == 2
    assert limits.quota_pause({**headers, "x-ratelimit-remaining-requests": "1"}) == 0
    assert limits.quota_pause({**headers, "x-ratelimit-reset-requests": "24h"}) == limits.LONGEST_PAUSE
    assert limits.quota_pause({}) == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1445412480.0) == seconds
