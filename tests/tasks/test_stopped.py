"""SIGTERM and SIGHUP stop what runs as Ctrl-C does: what was answered is kept, and the record says so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.store import runs
from facevlm.tasks._stopping import Terminated, stopping
from tests.servers import warm
from tests.servers.killing import distinct_pictures
from tests.servers.server import Act, Request, Server, running
from tests.waiting import until

APPLY = """
import sys
import fiftyone as fo
import facevlm
facevlm.apply(fo.load_dataset(sys.argv[1]), "openai:m", ["gender"], prefix="x", progress=False, base_url=sys.argv[2],
              concurrency=4, cache="off")
print("went on")
"""
COMMAND = """
import sys
from facevlm.cli import main
sys.exit(main(["apply", sys.argv[1], "--model", "openai:m", "--attributes", "gender", "--prefix", "x", "--base-url",
               sys.argv[2], "--concurrency", "4", "--no-cache"]))
"""
AFTER = 20


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers so many requests and leaves the others waiting."""
    with running() as server:
        usual, asked = server.answer, iter(range(10**6))

        def answer(request: Request) -> Act:
            return usual(request) if request.is_probe or next(asked) < AFTER else Act(hang=True)

        server.answer = answer
        yield server


@pytest.fixture
def dataset(dataset_name: str, tmp_path: Path) -> fo.Dataset:
    dataset = fo.Dataset(dataset_name, persistent=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in distinct_pictures(tmp_path, 60)])
    return dataset


def stopped(code: str, dataset: fo.Dataset, server: Server, *signals: signal.Signals) -> tuple[int, str, str]:
    """Exit status and output of the code, which got the signals while it waited for answers."""
    environment = os.environ | {"FACEVLM_API_KEY": "sk-none"}
    process = warm.start(code, dataset.name, server.base_url, environment=environment)
    until(lambda: process.poll() is not None or len(server.asked) >= AFTER + 4, "all that is answered was asked")
    for number in signals:
        process.send_signal(number)
    out, said = process.communicate(timeout=60)
    return process.wait(), out, said


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_keeps_what_was_answered(
    dataset: fo.Dataset, server: Server, number: signal.Signals, status: int
) -> None:
    code, _, said = stopped(COMMAND, dataset, server, number)
    dataset.reload()
    assert (code, dataset.count("x_gender.label")) == (status, AFTER), said
    assert said.splitlines()[-1].startswith("facevlm: stopped")
    assert said.endswith("What was answered is kept; the same command goes on from there.\n")
    assert runs.read(dataset, "facevlm_x")["status"] == "stopped"


@pytest.mark.process
def test_a_program_ends_by_the_signal_and_keeps_what_was_answered(dataset: fo.Dataset, server: Server) -> None:
    code, out, said = stopped(APPLY, dataset, server, signal.SIGTERM)
    dataset.reload()
    assert (code, out, dataset.count("x_gender.label")) == (-signal.SIGTERM, "", AFTER), said
    assert runs.read(dataset, "facevlm_x")["status"] == "stopped"


def test_a_handler_of_the_caller_stays_and_none_is_left_behind() -> None:
    def own(*_: object) -> None:
        """Of the caller."""

    before = signal.signal(signal.SIGTERM, own)
    try:
        with stopping():
            assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGTERM) is own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with stopping():
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_outermost_block_hears_the_signal_and_a_second_one_ends_at_once() -> None:
    heard = []
    with stopping():
        try:
            with stopping():
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(60)
        except Terminated as stop:
            heard = [stop.status, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL]
    assert heard == [143, True]


def take_until_told(condition: threading.Condition, sender: threading.Timer) -> None:
    sender.start()
    while True:
        with condition:
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_lock_taken(number: signal.Signals) -> None:
    """Raised wherever it comes, it would leave the condition taken in every second of these blocks."""
    condition, free = threading.Condition(), []

    def look() -> None:
        free.append(condition.acquire(timeout=5))
        condition.release()

    for _ in range(40):
        heard = threading.Timer(0.002, os.kill, (os.getpid(), number))
        with stopping(), pytest.raises(KeyboardInterrupt):
            take_until_told(condition, heard)
        looking = threading.Thread(target=look)
        looking.start()
        looking.join()
    assert free == [True] * 40


class Slow:
    """Takes its time to go; what is raised meanwhile nobody hears."""

    def __init__(self, going: threading.Event) -> None:
        self._going = going

    def __del__(self) -> None:
        self._going.set()
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass


def told_while_it_goes() -> threading.Event:
    """Ctrl-C comes once this is set."""
    going = threading.Event()

    def send() -> None:
        going.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()
    return going


def let_go_and_wait(going: threading.Event) -> None:
    Slow(going)
    threading.Event().wait(20)
    pytest.fail("nothing was heard")


def test_a_signal_that_comes_in_a_finalizer_is_heard_after_it() -> None:
    going = told_while_it_goes()
    with pytest.raises(KeyboardInterrupt), stopping():
        let_go_and_wait(going)


def test_a_signal_in_the_last_moment_of_the_block_is_not_lost() -> None:
    going = told_while_it_goes()
    with pytest.raises(KeyboardInterrupt), stopping():
        Slow(going)


def test_another_thread_leaves_signals_alone() -> None:
    seen = []

    def work() -> None:
        with stopping():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
