"""A form of request that a server refuses gives way to a lesser one before a run ends; refusals are left alone."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

import pytest
from PIL import Image

from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.remote import client as client_module
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.backends.remote.client import Stopped
from facevlm.backends.remote.exchange import Abilities
from facevlm.types import Question, Reply
from tests.backends.remote import opening
from tests.servers.server import Act, Answer, Request, Server, after_probe, completion, obedient, running

GOOD = completion('{"gender": "Male", "age5": "0-9"}')


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.01)


def opened(answer: Answer, **options: Any) -> AbstractContextManager[tuple[RemoteBackend, Server]]:
    return opening.opened(answer, **{"attempts": 2, "max_failures": 1.0} | options)


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (16, 16), (k, k, k)) for k in range(count)]


def labels(table: list[list[Reply]]) -> list[str | None]:
    return [row[0].error or row[0].text for row in table]


def sends(request: Request, name: str) -> bool:
    if name == "detail":
        return name in json.dumps(request.body["messages"])
    return name in request.body or name in json.dumps(request.body.get("response_format") or {})


def refusing(name: str, status: int, error: Any) -> Answer:
    """A server that does not take one part of a request."""
    return lambda r: Act(error, status) if sends(r, name) else Act(GOOD)


PARTS = ["logprobs", "response_format", "json_schema", "temperature", "max_tokens", "detail"]


@pytest.mark.parametrize("status", [400, 403, 404, 422, 501, 500, 200])
@pytest.mark.parametrize("name", PARTS)
def test_what_an_error_names_in_mid_run_is_left_out(name: str, status: int, questions: list[Question]) -> None:
    error = {
        "error": {"message": f"'{name}' is not supported with this model", "code": status if status > 200 else 400}
    }
    with opened(after_probe(refusing(name, status, error)), concurrency=1) as (backend, server):
        assert labels(backend.answer(pictures(6), questions)) == ["Male"] * 6
        assert sum(sends(r, name) for r in server.asked) <= (20 if status == 500 else 2)
        assert any("is asked without" in note or "was asked without" in note for note in backend.info.notes)


@pytest.mark.parametrize("status", [403, 404])
def test_before_a_run_ends_without_words_plainer_forms_are_tried(status: int, questions: list[Question]) -> None:
    with opened(after_probe(refusing("response_format", status, {}))) as (backend, server):
        assert labels(backend.answer(pictures(30), questions)) == ["Male"] * 30
        assert sum(sends(r, "response_format") for r in server.asked) <= 30


@pytest.mark.parametrize("status", [403, 404])
def test_a_run_ends_where_no_form_is_taken(status: int, questions: list[Question]) -> None:
    with opened(after_probe(lambda r: Act({}, status))) as (backend, server):
        with pytest.raises(Stopped, match="will not answer"):
            backend.answer(pictures(200), questions)
        assert len(server.asked) < 40


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("status", [400, 403, 404, 422, 501, 200])
@pytest.mark.parametrize("says", [True, False], ids=["named", "unnamed"])
def test_the_probe_leaves_out_what_is_refused(name: str, status: int, says: bool, questions: list[Question]) -> None:
    error = {"error": {"message": f"no {name}" if says else "no", "code": status if status > 200 else 400}}

    def answer(request: Request) -> Act:
        return Act(error, status) if sends(request, name) else obedient(request)

    with opened(answer) as (backend, _):
        backend.check(questions)
        found = Abilities.of(backend.info.service["honours"])
    assert found is not None
    if name == "response_format":
        assert found.structure == "text"
    elif name == "json_schema":
        assert found.structure in ("json", "text")
    elif name == "logprobs":
        assert (found.structure, found.top) == ("schema", 0)
    else:
        assert name in found.dropped
        assert not says or (found.structure, found.top) == ("schema", 20)


def test_what_was_learned_is_remembered_for_the_next_run(questions: list[Question]) -> None:
    error = {"error": {"message": "logprobs are off"}}
    with running(after_probe(refusing("logprobs", 400, error))) as server:
        for k in range(2):
            backend = open_backend("openai:m", Options(remote=Remote(base_url=server.base_url, concurrency=1)))
            assert isinstance(backend, RemoteBackend)
            assert labels(backend.answer([Image.new("RGB", (16, 16), (9, 9, 50 * k))], questions)) == ["Male"]
            assert "It gives no log-probabilities" in backend.info.notes[-1] or not k
            backend.close()
        assert sum(sends(r, "logprobs") for r in server.asked) == 2
        assert server.served - len(server.asked) == 1


def test_one_picture_does_not_take_a_form_away_from_all(questions: list[Question]) -> None:
    """The error of a picture whose answer missed the schema names the schema, too."""
    error = {"error": {"message": "Generated JSON does not match the expected schema", "code": "json_validate_failed"}}

    def answer(request: Request) -> Act:
        return Act(error, 400) if request.level == 3 and sends(request, "json_schema") else Act(GOOD)

    with opened(after_probe(answer), concurrency=1) as (backend, server):
        assert labels(backend.answer(pictures(6), questions)) == ["Male"] * 6
        assert [sends(r, "json_schema") for r in server.asked if r.level == 5] == [True]
        assert any("about single pictures" in note for note in backend.info.notes)


def test_a_refusal_is_never_worked_around(questions: list[Question]) -> None:
    error = {
        "error": {"message": "Declined by content filter of the json schema and logprobs", "code": "content_filter"}
    }
    with opened(after_probe(lambda r: Act(error, 400))) as (backend, server):
        assert all(row[0].refused for row in backend.answer(pictures(5), questions))
        assert len(server.asked) == 5


@pytest.mark.parametrize("code", [429, "429", 503, "503"])
@pytest.mark.parametrize("of_choice", [True, False])
def test_an_error_inside_an_answer_is_tried_again(code: int | str, of_choice: bool, questions: list[Question]) -> None:
    error = {"error": {"code": code, "message": "later"}}
    body = {"choices": [{**error, "finish_reason": "error", "message": {"content": ""}}]} if of_choice else error
    with opened(after_probe(lambda r: Act(GOOD) if r.times else Act(body))) as (backend, server):
        assert labels(backend.answer(pictures(3), questions)) == ["Male"] * 3
        assert len(server.asked) == 6
        assert backend.info.usage["rate_limited"] == (3 if str(code) == "429" else 0)


@pytest.mark.parametrize("status", [200, 429])
def test_a_limit_of_the_day_stops_the_run_at_once(status: int, questions: list[Question]) -> None:
    error = {"error": {"code": 429, "message": "Rate limit reached on requests per day (RPD)"}}
    kept: list[int] = []
    good = iter([Act(GOOD)] * 3)
    answer = after_probe(lambda r: next(good, Act(error, status)))
    with opened(answer, concurrency=1) as (backend, server):
        with pytest.raises(Stopped, match="go on when the limit begins anew"):
            kept += (number for rows in backend.stream(pictures(50), questions) for number, _ in rows)
        assert len(kept) == 3
        assert len(server.asked) <= 6


@pytest.mark.parametrize("status", [502, 503, 520, 522, 524, 529])
def test_a_page_of_a_gateway_is_tried_again_and_read(status: int, questions: list[Question]) -> None:
    page = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body>" + b"<p>x</p>" * 500 + b"</body></html>"
    act = Act(page, status, {"content-type": "text/html"})
    with opened(after_probe(lambda r: act if r.level or not r.times else Act(GOOD))) as (backend, server):
        said = labels(backend.answer(pictures(2), questions))
    assert said == ["Male", f"HTTP {status}: a page instead of an answer: Bad gateway (asked 2 times)"]
    assert len(server.asked) == 4
