"""Several servers of one model: who is asked, what happens when one is gone, and what stays the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from PIL import Image

from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.remote import keys, services
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.backends.remote.client import Stopped
from facevlm.errors import InputError, ModelError
from facevlm.types import Question
from tests.backends.remote.test_backend import pictures
from tests.ports import free_port
from tests.servers.server import Act, Request, Server, after_probe, obedient, running

MANY = [Image.new("RGB", (24, 24), (k, 90, 200)) for k in range(60)]


@contextmanager
def opened(urls: Sequence[str], **options: Any) -> Iterator[RemoteBackend]:
    backend = open_backend("openai:m", Options(remote=Remote(**{"base_url": list(urls), "cache": "off", **options})))
    assert isinstance(backend, RemoteBackend)
    with closing(backend):
        yield backend


def refusing(request: Request) -> Act:
    return Act({"error": {"message": "no such key", "code": "invalid_api_key"}}, status=401)


def is_answered(table: list[list[Any]]) -> bool:
    return all(reply.error is None for row in table for reply in row)


def test_requests_go_to_the_one_with_the_fewest_in_flight(questions: list[Question]) -> None:
    def slowly(request: Request) -> Act:
        return Act(obedient(request).body, delay=0.4)

    with running(after_probe(slowly)) as slow, running() as fast:
        with opened([slow.base_url, fast.base_url], concurrency=4) as backend:
            assert is_answered(backend.answer(MANY, questions))
            assert backend.info.usage["requests"] == slow.served + fast.served
        assert len(slow.asked) + len(fast.asked) == 60
        assert len(fast.asked) > len(slow.asked) > 0


def test_one_that_is_killed_in_the_middle_costs_no_answer(questions: list[Question]) -> None:
    with running() as other, running() as mortal:

        def dying(request: Request) -> Act:
            if len(mortal.asked) == 5:
                mortal.kill()
            return obedient(request)

        mortal.answer = dying
        with opened([mortal.base_url, other.base_url], attempts=1) as backend:
            table = backend.answer(MANY, questions)
            again = backend.answer(MANY, questions)
        assert is_answered(table)
        assert is_answered(again)
        assert len(mortal.asked) >= 5
        assert len(other.asked) >= 110


def test_one_that_was_never_there_costs_no_answer(questions: list[Question]) -> None:
    with running() as other:
        with opened([f"http://127.0.0.1:{free_port()}/v1", other.base_url], attempts=1) as backend:
            assert is_answered(backend.answer(pictures(), questions))
        assert len(other.asked) == 10


def test_where_all_are_gone_a_face_fails_with_the_reason(questions: list[Question]) -> None:
    with running() as one, running() as two, opened([one.base_url, two.base_url], attempts=2) as backend:
        assert is_answered(backend.answer(pictures(2), questions))

        def dying(server: Server) -> Any:
            def last(request: Request) -> Act:
                server.kill()
                return obedient(request)

            return last

        one.answer, two.answer = dying(one), dying(two)
        [[reply, _]] = backend.answer(pictures(1, side=30), questions)
    assert reply.error is not None
    assert "connection lost" in reply.error
    assert "asked 2 times" in reply.error


def test_one_that_refuses_the_key_is_left_out_and_the_last_one_ends_the_run(questions: list[Question]) -> None:
    with running(refusing) as bad, running() as good:
        with opened([bad.base_url, good.base_url]) as backend:
            assert is_answered(backend.answer(pictures(), questions))
        assert len(good.asked) == 10
        assert bad.served == 1
        good.answer = refusing
        with opened([bad.base_url, good.base_url]) as backend, pytest.raises(Stopped, match="will not answer"):
            backend.answer(pictures(), questions)


def test_one_that_is_busy_holds_up_the_others(questions: list[Question]) -> None:
    def busy(request: Request) -> Act:
        return obedient(request) if request.times else Act({"error": {"message": "slow"}}, 429, {"retry-after": "0.1"})

    with (
        running(after_probe(busy)) as one,
        running(after_probe(busy)) as two,
        opened([one.base_url, two.base_url], requests_per_minute=60_000) as backend,
    ):
        assert is_answered(backend.answer(pictures(), questions))
        assert backend.info.usage["rate_limited"] > 0


# What stays the same


def test_answers_are_known_by_the_first_address_however_many_there_are(questions: list[Question]) -> None:
    with running() as one, running() as two:
        with opened([one.base_url], cache="on") as backend:
            alone = backend.info
            backend.answer(pictures(), questions)
        served = one.served
        with opened([one.base_url, two.base_url], cache="on") as backend:
            together = backend.info
            assert is_answered(backend.answer(pictures(), questions))
        assert alone.identity == together.identity
        assert (one.served, two.served) == (served, 0)
        assert together.device == f"127.0.0.1:{one.port}, 127.0.0.1:{two.port}"


# Where pictures go, and keys


@pytest.mark.parametrize("given", ["{a}, {b}", "{a},{b}", " {a}\n{b}/ ", "{a} {b} {a}"])
def test_several_addresses_are_read_from_one_text(given: str) -> None:
    a, b = "http://one.local/v1", "http://two.local:8000/v1"
    text = given.format(a=a, b=b)
    assert services.addresses(text) == [a, b]
    assert services.addresses([a, b]) == [a, b]
    endpoint = services.endpoint("openai:m", text)
    assert [one.base_url for one in endpoint.each] == [a, b]
    assert Remote(base_url=[a, b]) == Remote(base_url=(a, b))
    assert hash(Remote(base_url=[a, b]))


@pytest.mark.parametrize("wrong", ["", " , ", "http://localhost:1/v1, nonsense", "http://a/v1 http://u:p@b/v1"])
def test_each_address_is_checked_as_one_is(wrong: str) -> None:
    with pytest.raises(InputError, match="Got base_url='"):
        services.endpoint("openai:m", wrong)


def test_any_remote_one_makes_it_remote_and_says_so(questions: list[Question]) -> None:
    local, remote = "http://localhost:1/v1", "http://vlm.example.com/v1"
    for urls, is_local in (([local], True), ([local, remote], False), ([remote, local], False)):
        with opened(urls) as backend:
            said = backend.briefing(3, questions)
        assert said.is_local is is_local
        assert all(url.split("/")[2] in said.text for url in urls)
        assert ("NOT encrypted" in said.text) is not is_local


def test_a_key_goes_to_the_hosts_of_its_own_service_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("FACEVLM_API_KEY", "of-others")
    urls = ["https://api.openai.com/v1", "http://localhost:1/v1"]
    found = [keys.find(one).reveal() for one in services.endpoint("openai:m", urls).each]
    assert found == ["sk-of-openai", "of-others"]
    guard = keys.Guard({"OPENAI_API_KEY": "secret"}.get, ",".join(urls), local=True)
    assert guard("OPENAI_API_KEY") is None
    found = [keys.find(one, guard).reveal() for one in services.endpoint("openai:m", urls).each]
    assert found == ["secret", keys.NO_KEY]
    elsewhere = services.endpoint("openai:m", [*urls, "http://evil.example.com/v1"])
    with pytest.raises(ModelError, match=r"asks no server at evil\.example\.com"):
        [keys.find(one, guard) for one in elsewhere.each]


def test_a_batch_is_of_one_server() -> None:
    said = "Got a batch for localhost:1, localhost:2, expected one base_url"
    with opened(["http://localhost:1/v1", "http://localhost:2/v1"]) as backend, pytest.raises(InputError, match=said):
        backend.batches()
