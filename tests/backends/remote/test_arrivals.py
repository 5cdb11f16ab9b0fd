"""Bodies without an end, packed ones, and headers that a library stumbles over."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from facevlm.backends import Remote
from facevlm.backends.remote import arrivals, services
from facevlm.backends.remote.batches import BatchService
from facevlm.backends.remote.client import Stopped, waiting_client
from facevlm.backends.remote.keys import Secret
from facevlm.errors import ModelError
from tests.backends.remote.test_client import complete
from tests.servers.server import Act, completion, running

FULL = json.dumps(completion('{"gender": "Male"}', pad="A" * 60_000_000)).encode()
PACKED = {"content-encoding": "gzip"}


@pytest.mark.parametrize("act", [Act(FULL), Act(gzip.compress(FULL), headers=PACKED)])
def test_an_answer_is_cut_off_at_a_bound_once_and_for_all(act: Act) -> None:
    # What the server holds on to, in this process, is not of interest.
    served = 2 * len(act.body)
    with running(lambda request: act) as server:
        tracemalloc.start()
        answer, client = complete(server.base_url, attempts=3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(server.requests) == 1
    assert answer.error == "the answer is longer than 16 MiB and was cut off"
    assert client.ledger.uncounted == 1
    assert peak < served + 3 * arrivals.MOST


def test_a_packed_answer_within_the_bound_is_read() -> None:
    raw = json.dumps(completion("hello")).encode()
    with running(lambda request: Act(gzip.compress(raw), headers=PACKED)) as server:
        answer, _ = complete(server.base_url)
    assert answer.content == "hello"


def test_an_error_of_any_length_means_what_its_status_says() -> None:
    long = b'{"error": {"message": "' + b"x" * 30_000_000 + b'"}}'
    with running(lambda request: Act(long, 400)) as server:
        answer, _ = complete(server.base_url)
        assert answer.error is not None
        assert answer.error.startswith("HTTP 400: ")
        assert len(answer.error) < 300
        server.answer = lambda request: Act(long, 401)
        with pytest.raises(Stopped, match="Check the key"):
            complete(server.base_url)


@pytest.mark.parametrize("kind", ["text/plain; charset=zlib", "text/plain; charset=idna", "text/plain; charset=none"])
def test_an_alphabet_that_is_none_is_read_as_utf8(kind: str) -> None:
    with running(lambda request: Act(b"odd picture", 400, {"content-type": kind})) as server:
        answer, _ = complete(server.base_url)
    assert answer.error == "HTTP 400: odd picture"


def test_a_body_that_says_two_things_is_no_answer() -> None:
    twice = json.dumps(completion("one")).replace('"content": "one"', '"content": "one", "content": "two"')
    same = json.dumps(completion("one")).replace('"content": "one"', '"content": "one", "content": "one"')
    with running(lambda request: Act(twice.encode())) as server:
        answer, _ = complete(server.base_url)
        assert answer.error == "the server's answer says two things: 'content' stands in it twice"
        server.answer = lambda request: Act(same.encode())
        answer, _ = complete(server.base_url)
        assert answer.content == "one"


def service(url: str) -> BatchService:
    endpoint, secret, remote = services.endpoint("openai:m", url), Secret("sk-mine-mine"), Remote(attempts=2)
    return BatchService(endpoint, secret, *(waiting_client(endpoint, secret, remote) for _ in range(2)))


def line(name: str, pad: int = 0) -> bytes:
    body = completion('{"gender": "Male"}', pad="A" * pad)
    said = {"id": "r", "custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}
    return json.dumps(said).encode() + b"\n"


def test_a_file_of_any_length_is_read_line_by_line() -> None:
    """The file is longer than an answer may be; one of its lines is, too."""
    file = b"".join(line(f"{k}", 5_000_000) for k in range(6)) + line("6a", 40_000_000) + line("7")
    packed = gzip.compress(file, 1)
    with running(lambda request: Act(packed, headers=PACKED)) as server:
        batches = service(server.base_url)
        tracemalloc.start()
        found = {line.custom_id: (line.body is None, line.error) for line in batches.lines("file-1")}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        batches.close()
    assert peak < 4 * arrivals.MOST
    assert list(found) == [*"012345", "6a", "7"]
    assert {name: error for name, (lacks, error) in found.items() if lacks} == {
        "6a": "the answer is longer than 16 MiB and was cut off"
    }


BATCH = {"id": "batch_0", "object": "batch", "status": "completed", "input_file_id": "file-0"}


@pytest.mark.parametrize(
    "odd",
    [
        {"request_counts": {"total": 10**30, "completed": -1, "failed": "three"}},
        {"request_counts": {"total": True, "completed": None, "failed": 1.5}},
        {"request_counts": "many", "errors": "all", "metadata": []},
        {"request_counts": [], "errors": {"data": 5}, "output_file_id": 7, "error_file_id": {}},
        {"created_at": 10**400, "errors": {"data": [None, {"message": 5}]}},
    ],
)
def test_the_numbers_of_a_batch_are_bounded(odd: dict[str, object]) -> None:
    with running(lambda request: Act(BATCH | odd)) as server:
        batches = service(server.base_url)
        state = batches.state("batch_0")
        batches.close()
    assert (state.total, state.done, state.failed) == (0, 0, 0)
    assert (state.status, state.answer_files, state.problem) == ("completed", [], "")


@pytest.mark.parametrize("wait", ["²", "31 Dec 9999999999999 00:00:00 GMT", "-1", "9" * 400])
def test_an_odd_wait_of_a_batch_is_an_error_in_words(wait: str) -> None:
    act = Act({"error": {"message": "slow down"}}, 429, {"retry-after": wait})
    with running(lambda request: act) as server:
        batches = service(server.base_url)
        with pytest.raises(ModelError, match="HTTP 429: slow down"):
            batches.state("batch_0")
        batches.close()


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"id": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"{"])
def test_a_batch_that_cannot_be_read_is_an_error_in_words(raw: bytes) -> None:
    with running(lambda request: Act(raw)) as server:
        batches = service(server.base_url)
        with pytest.raises(ModelError, match="expected a Batch API"):
            batches.state("batch_0")
        batches.close()
