"""What was answered is written in chunks and soon, and no more is asked than can be kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from facevlm.engines.writing import ChunkWriter
from tests.waiting import until


class Slow:
    """Writes only when it is let; ``began`` is set once it was asked to."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.began, self.let = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> None:
        self.began.set()
        assert self.let.wait(60)
        self.written += items


def test_a_chunk_that_is_not_full_is_written_soon_though_nothing_more_comes() -> None:
    written: list[list[int]] = []
    with ChunkWriter[int](lambda items: written.append(list(items)), 100, soon=0.05) as writer:
        writer.add([1, 2])
        until(lambda: written == [[1, 2]], "two items are written")
        writer.add([3])
        until(lambda: written == [[1, 2], [3]], "a third item is written")
    assert written == [[1, 2], [3]]


def test_full_chunks_are_written_in_order_and_the_rest_at_the_end() -> None:
    written: list[list[int]] = []
    with ChunkWriter[int](lambda items: written.append(list(items)), 2, soon=3600) as writer:
        for number in range(7):
            writer.add([number])
    assert written == [[0, 1], [2, 3], [4, 5], [6]]


def test_nothing_more_is_taken_while_a_write_hangs() -> None:
    slow, taken = Slow(), threading.Event()
    with ChunkWriter[int](slow, 1, soon=0.01) as writer:
        writer.add([1])
        assert slow.began.wait(60)

        def take() -> None:
            writer.add([])
            taken.set()

        more = threading.Thread(target=take)
        threading.Timer(0.01, more.start).start()
        assert not taken.wait(0.2)
        slow.let.set()
        assert taken.wait(60)
    assert slow.written == [1]


def test_the_error_of_a_write_is_raised_by_whoever_adds_next_and_once() -> None:
    wrote = threading.Event()

    def refuse(items: Sequence[int]) -> None:
        wrote.set()
        raise OSError("disk full")

    def add_three() -> None:
        with ChunkWriter[int](refuse, 1) as writer:
            for number in range(3):
                writer.add([number])

    with pytest.raises(OSError, match="disk full") as caught:
        add_three()
    assert caught.value.__context__ is None
    assert wrote.is_set()


def test_an_error_at_the_end_is_raised_too() -> None:
    def refuse(items: Sequence[int]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), ChunkWriter[int](refuse, 100) as writer:
        writer.add([1])
