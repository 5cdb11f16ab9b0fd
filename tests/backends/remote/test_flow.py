"""Work in an event loop of another thread: room, order, ticks, ends, and what is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from facevlm.backends.remote.flow import LoopThread, flow
from tests.waiting import SOON


class End(Exception):
    """Nothing new is to be taken."""


class Wrong(Exception):
    """Something broke."""


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread("test")
    yield made
    made.close()
    assert made.loop.is_closed()


def test_every_item_comes_out_once_with_its_number(thread: LoopThread) -> None:
    async def work(x: int) -> int:
        await asyncio.sleep((x % 7) / 1000)
        return x * x

    got = [pair for rows in flow(thread, work, range(200), 16, End) for pair in rows]
    assert sorted(got) == [(k, k * k) for k in range(200)]


def test_no_more_than_the_room_is_in_work(thread: LoopThread) -> None:
    now = most = 0

    async def work(x: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1

    assert sum(len(rows) for rows in flow(thread, work, range(100), 5, End)) == 100
    assert most == 5


def test_one_slow_item_holds_nothing_up(thread: LoopThread) -> None:
    others = 0

    async def work(x: int) -> int:
        nonlocal others
        while x == 0 and others < 99:
            await asyncio.sleep(0.001)
        others += 1
        return x

    order = [n for rows in flow(thread, work, range(100), 4, End) for n, _ in rows]
    assert order[-1] == 0


def test_something_is_heard_while_nothing_is_ready(thread: LoopThread) -> None:
    began = time.monotonic()
    with closing(flow(thread, lambda x: asyncio.sleep(60), [1], 1, End)) as rows:
        assert next(rows) == []
    assert time.monotonic() - began < SOON


def test_nothing_to_do(thread: LoopThread) -> None:
    assert list(flow(thread, lambda x: asyncio.sleep(0), [], 4, End)) == []


def test_after_the_last_word_what_is_in_work_ends_and_nothing_more_is_taken(thread: LoopThread) -> None:
    taken: list[int] = []

    def given() -> Iterator[int]:
        for k in range(100):
            taken.append(k)
            yield k

    async def work(x: int) -> int:
        if x == 4:
            raise End
        while 4 not in taken:
            await asyncio.sleep(0.001)
        return x

    got: list[int] = []

    def collect() -> None:
        for rows in flow(thread, work, given(), 8, End):
            got.extend(n for n, _ in rows)

    with pytest.raises(End):
        collect()
    assert sorted([*got, 4]) == taken
    assert len(taken) < 100


def test_any_other_exception_cancels_what_is_in_work(thread: LoopThread) -> None:
    ended: list[int] = []

    async def work(x: int) -> int:
        if x == 3:
            raise Wrong
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(x)
            raise
        return x

    began = time.monotonic()
    with pytest.raises(Wrong):
        list(flow(thread, work, range(100), 4, End))
    assert time.monotonic() - began < SOON
    thread.close()
    assert sorted(ended) == [0, 1, 2]


def test_what_is_being_kept_comes_out_before_the_exception(thread: LoopThread) -> None:
    stopped, both = asyncio.Event(), asyncio.Event()
    got: list[int] = []

    async def work(x: int) -> int:
        if x == 0:
            await both.wait()
            raise Wrong
        if x == 1:
            await stopped.wait()
            return x
        both.set()
        await asyncio.sleep(30)
        return x

    def stop() -> None:
        thread.loop.call_soon_threadsafe(stopped.set)

    with pytest.raises(Wrong):
        got += (n for rows in flow(thread, work, range(3), 3, End, stop) for n, _ in rows)
    assert got == [1]


def test_an_error_in_what_is_given_surfaces(thread: LoopThread) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise Wrong

    with pytest.raises(Wrong):
        list(flow(thread, lambda x: asyncio.sleep(0), broken(), 4, End))


def test_a_loop_may_be_closed_twice(thread: LoopThread) -> None:
    thread.close()
    thread.close()
