"""The backend against a real server: what is sent, what comes back, streaming, samples, cache, budget, facts."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from facevlm.backends import Options, Remote, Streaming, open_backend
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.backends.remote.client import Stopped
from facevlm.errors import InputError
from facevlm.types import Question
from tests.backends.remote.opening import opened as backend
from tests.servers.server import Act, Request, Server, after_probe, completion, obedient, running, token
from tests.waiting import SOON


def pictures(count: int = 10, side: int = 24) -> list[Image.Image]:
    """Pictures of one grey level each: 10, 30, 50, ..."""
    return [Image.new("RGB", (side, side), (10 + 20 * k,) * 3) for k in range(count)]


def test_one_request_per_face_for_all_attributes(questions: list[Question]) -> None:
    with backend() as (opened, server):
        table = opened.answer(pictures(), questions)
        assert len(server.asked) == 10
    genders, ages = questions[0].attribute.labels, questions[1].attribute.labels
    assert [[r.text for r in row] for row in table] == [[genders[k % 2], ages[k % 5]] for k in range(10)]


def test_what_is_sent(questions: list[Question]) -> None:
    with backend(max_tokens=77) as (opened, server):
        opened.answer(pictures(1), questions)
        [request] = server.asked
    body = dict(request.body)
    system, user = body.pop("messages")
    assert body == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 77,
        "logprobs": True,
        "top_logprobs": 20,
        "response_format": body["response_format"],
    }
    assert request.enums == {q.attribute.name: list(q.attribute.labels) for q in questions}
    assert request.path == "/v1/chat/completions"
    assert (system["role"], user["role"]) == ("system", "user")
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert request.headers["authorization"] == "Bearer none"


def test_log_probabilities_become_confidence(questions: list[Question]) -> None:
    def sure(request: Request) -> Act:
        pieces = ['{"gender": "', "Male", '"}']
        listed = [token(pieces[0], 0.0), token("Male", math.log(0.8), Female=math.log(0.2)), token(pieces[2], 0.0)]
        return Act(completion("".join(pieces), logprobs=listed))

    with backend(after_probe(sure)) as (opened, _):
        [[reply]] = opened.answer(pictures(1), questions[:1])
    assert reply.choice == 0
    assert [math.exp(p) for p in reply.log_probs or ()] == pytest.approx([0.8, 0.2])


def test_samples_are_asked_apart_and_vote(questions: list[Question]) -> None:
    def changing(request: Request) -> Act:
        return Act(completion(json.dumps({"gender": "Female" if request.times == 1 else "Male"})))

    with backend(after_probe(changing), samples=3) as (opened, server):
        [[reply]] = opened.answer(pictures(1), questions[:1])
        assert len(server.asked) == 3
        assert {r.body["temperature"] for r in server.asked} == {1.0}
        assert not any("logprobs" in r.body for r in server.asked)
        opened.answer(pictures(1), questions[:1])
        assert len(server.asked) == 3
    assert (reply.text, reply.confidence) == ("Male", pytest.approx(2 / 3))


def test_it_streams_out_of_order_without_a_barrier(questions: list[Question]) -> None:
    def slow_first(request: Request) -> Act:
        return Act(obedient(request).body, delay=1.0 if request.level < 20 else 0.01)

    with backend(after_probe(slow_first), concurrency=4) as (opened, _):
        assert isinstance(opened, Streaming)
        order = [n for rows in opened.stream(pictures(), questions) for n, _ in rows]
    assert sorted(order) == list(range(10))
    assert order[-1] == 0


def test_pictures_are_taken_as_there_is_room(questions: list[Question]) -> None:
    taken = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield pictures(1)[0]

    with backend(after_probe(lambda r: Act(obedient(r).body, delay=0.2)), concurrency=2, cache="off") as (opened, _):
        with closing(opened.stream(endless(), questions)) as ready:
            seen = sum(len(rows) for rows, _ in zip(ready, range(6), strict=False))
        assert 0 < seen < taken <= seen + 2 + 33


def test_stopping_waits_for_nothing_also_while_all_hang(questions: list[Question]) -> None:
    with backend(after_probe(lambda request: Act(hang=True))) as (opened, _):
        with closing(opened.stream(pictures(), questions)) as ready:
            assert next(ready) == []
            began = time.monotonic()
        assert time.monotonic() - began < SOON


def test_answers_are_kept_on_disk_and_not_asked_again(questions: list[Question]) -> None:
    with running() as server:
        for expected in (10, 10, 10):
            opened = opened_at(server)
            opened.answer(pictures(), questions)
            opened.close()
            assert len(server.asked) == expected
        fresh = opened_at(server, cache="refresh")
        fresh.answer(pictures(), questions)
        fresh.close()
        assert len(server.asked) == 20
        off = opened_at(server, cache="off")
        off.answer(pictures(2), questions)
        off.close()
        assert len(server.asked) == 22


def opened_at(server: Server, **options: Any) -> RemoteBackend:
    opened = open_backend("openai:m", Options(remote=Remote(base_url=server.base_url, **options)))
    assert isinstance(opened, RemoteBackend)
    return opened


def test_another_question_model_or_wording_is_another_answer(questions: list[Question]) -> None:
    with running() as server:
        changes: tuple[dict[str, Any], ...] = ({}, {"template": "main-person"}, {"order": "reversed"}, {"max_side": 32})
        for k, options in enumerate(changes):
            opened = opened_at(server, **options)
            opened.answer(pictures(1, side=64), questions)
            opened.close()
            assert len(server.asked) == k + 1


@pytest.mark.parametrize(
    "reply",
    [completion("I'm sorry, I can't help."), completion(None, refusal="no"), completion("prose"), {"choices": []}],
)
def test_what_is_no_label_is_not_kept(reply: dict[str, Any], questions: list[Question]) -> None:
    with backend(after_probe(lambda request: Act(reply)), max_failures=1.0) as (opened, server):
        for _ in range(2):
            opened.answer(pictures(1), questions)
        assert len(server.asked) == 2


def test_a_cached_reply_is_checked_like_a_fresh_one(questions: list[Question]) -> None:
    with backend() as (opened, _server):
        before = opened.answer(pictures(), questions)
        assert opened.answer(pictures(), questions) == before
        assert opened.info.usage["cached"] == 10


def test_the_budget_stops_cleanly(questions: list[Question], tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2031-01-01\nmodels: {m: {input: 10, output: 100}}\n")
    each = (200 * 10 + 20 * 100) / 1e6
    with backend(budget=each * 7.5, prices=str(prices), concurrency=2) as (opened, server):
        rows = [n for ready in opened.stream(pictures(), questions) for n, _ in ready]
        usage = opened.info.usage
        assert usage["dollars"] <= each * 7.5
        assert 3 <= len(rows) == len(server.asked) <= 6
        assert "budget of $0.03 is used up" in opened.info.notes[-1]
        table = opened.answer(pictures(), questions)
        unasked = [row for row in table if row[0].error == "not asked: the budget is used up"]
        assert len(unasked) >= 10 - len(rows)
        assert len(server.asked) == len(rows)


def test_a_budget_needs_a_price() -> None:
    with pytest.raises(InputError, match="no price is known for 'm'"):
        open_backend("openai:m", Options(remote=Remote(budget=1.0)))


def test_a_share_of_failures_stops_the_run(questions: list[Question]) -> None:
    with backend(after_probe(lambda request: Act({"choices": []})), max_failures=0.3) as (opened, server):
        with pytest.raises(
            Stopped, match=r"faces failed, more than the share 0.3 .* the server answered without a choice"
        ):
            opened.answer(pictures(100), questions)
        assert len(server.asked) < 100


def test_facts_for_the_record(questions: list[Question]) -> None:
    with backend() as (opened, server):
        opened.answer(pictures(), questions)
        info = opened.info
    assert info.service["host"] == f"127.0.0.1:{server.port}"
    assert info.service["honours"] == {"structure": "schema", "top": 20, "dropped": ()}
    assert len(info.service["template_version"]) == 8
    assert (info.usage["requests"], info.usage["input_tokens"], info.usage["output_tokens"]) == (11, 2200, 220)
    assert info.usage["dollars"] == 0
    assert json.dumps([info.service, info.usage])


def test_the_identity_changes_with_what_decides_an_answer() -> None:
    def identity(**options: Any) -> str:
        given = {"base_url": "http://localhost:1/v1"} | options
        opened = open_backend("openai:m", Options(remote=Remote(**given)))
        return opened.info.identity["openai:m"]

    same = [identity(), identity(concurrency=3), identity(budget=5.0), identity(cache="off"), identity(timeout=9.0)]
    other = [identity(template="main-person"), identity(max_side=64), identity(samples=3), identity(temperature=0.7)]
    other += [identity(base_url="http://localhost:2/v1"), identity(order="reversed"), identity(detail="high")]
    assert len(set(same)) == 1
    assert len({same[0], *other}) == len(other) + 1


def test_the_briefing_says_where_how_many_and_at_what_price(questions: list[Question]) -> None:
    remote = open_backend("gpt-4o", Options())
    assert isinstance(remote, RemoteBackend)
    said = remote.briefing(1234, questions)
    assert said.text.startswith(
        "1,234 pictures of faces go to api.openai.com (a remote service), each at most 512 pixels"
    )
    assert not said.is_local
    assert said.dollars == pytest.approx(1234 * 0.001, rel=0.5)
    near = open_backend("openai:m", Options(remote=Remote(base_url="http://localhost:1/v1")))
    assert isinstance(near, RemoteBackend)
    assert (near.briefing(1, questions).is_local, near.briefing(1, questions).dollars) == (True, 0)
    bare = open_backend("openai:m", Options(remote=Remote(base_url="http://models.example/v1")))
    assert isinstance(bare, RemoteBackend)
    assert "NOT encrypted" in bare.briefing(1, questions).text


def test_gemini_is_sent_pictures_that_cost_one_tile() -> None:
    assert open_backend("gemini-flash", Options()).info.max_side == 384


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": 2.5}, "whole number"),
        ({"timeout": 0}, "above 0"),
        ({"budget": -1}, "budget=-1"),
        ({"samples": 0}, "samples=0"),
        ({"max_failures": 1.5}, "share between 0 and 1"),
        ({"detail": "huge"}, "low, high, auto"),
        ({"order": "random"}, "given, reversed, shuffled"),
        ({"cache": "maybe"}, "on, off, refresh"),
        ({"quality": 101}, "quality=101"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Remote(**options)


def test_a_server_that_nobody_here_wrote_the_http_of(httpserver: HTTPServer, questions: list[Question]) -> None:
    """Werkzeug instead of our own sockets: the requests are well-formed HTTP to another parser, too."""
    seen: list[dict[str, Any]] = []

    def answer(request: Any) -> Any:
        from werkzeug import Response

        seen.append(request.get_json())
        return Response(json.dumps(completion('{"gender": "Male", "age5": "0-9"}')), content_type="application/json")

    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(answer)
    opened = open_backend("openai:m", Options(remote=Remote(base_url=httpserver.url_for("/v1"))))
    assert isinstance(opened, RemoteBackend)
    [row] = opened.answer(pictures(1), questions)
    opened.close()
    assert [r.text for r in row] == ["Male", "0-9"]
    assert seen[-1]["model"] == "m"
