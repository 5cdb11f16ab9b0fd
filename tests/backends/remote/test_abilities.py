"""What a server honours is found out by asking a real server of each kind; no picture of the user is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from facevlm.attributes import get
from facevlm.backends import Remote
from facevlm.backends.cards import find, questions_for
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.backends.remote.exchange import Abilities
from facevlm.errors import ModelError
from tests.servers.server import CODES, Act, Answer, Request, completion, obedient, running, token

QUESTIONS = questions_for(find("openai:m"), [get("gender")])
HELLO = completion("hello")


def found(answer: Answer, **options: Any) -> tuple[Abilities, int]:
    """What the probe finds, and in how many requests."""
    with running(answer) as server:
        backend = RemoteBackend(find("openai:m"), Remote(base_url=server.base_url, attempts=2, **options))
        backend.check(QUESTIONS)
        honours = Abilities.of(backend.info.service["honours"])
        backend.close()
        assert all(r.is_probe for r in server.requests)
        assert honours is not None
        return honours, server.served


def asks_json(request: Request) -> bool:
    return (request.body.get("response_format") or {}).get("type") == "json_object"


def test_a_server_that_honours_all_is_asked_once() -> None:
    assert found(obedient) == (Abilities("schema", 20, ()), 1)


def test_a_server_that_ignores_everything_with_status_200() -> None:
    assert found(lambda request: Act(HELLO)) == (Abilities("text", 0, ()), 3)


def test_a_server_with_json_mode_only() -> None:
    assert found(lambda r: Act(completion('{"hello": 1}') if asks_json(r) else HELLO)) == (Abilities("json", 0, ()), 2)


def test_schema_without_log_probabilities() -> None:
    assert found(lambda r: Act(completion(json.dumps({"code": CODES[1]})))) == (Abilities("schema", 0, ()), 1)


def test_json_that_breaks_the_schema_is_no_honoured_schema() -> None:
    assert found(lambda r: Act(completion('{"code": "hello"}')))[0].structure == "json"


def refuses(*names: str, status: int = 400) -> Callable[[Request], Act]:
    """A server that answers with an error which names the first of these parameters that is in the request."""

    def answer(request: Request) -> Act:
        there = [n for n in names if n in request.body or n in json.dumps(request.body.get("response_format") or {})]
        if there:
            return Act({"error": {"message": f"Unsupported parameter: '{there[0]}'", "param": there[0]}}, status)
        code = json.dumps({"code": CODES[0]}) if "response_format" in request.body else "hello"
        log_probs = [token(code, -0.1)] if "logprobs" in request.body else None
        return Act(completion(code, logprobs=log_probs))

    return answer


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("temperature",), Abilities("schema", 20, ("temperature",))),
        (("max_tokens",), Abilities("schema", 20, ("max_tokens",))),
        (("max_tokens", "temperature"), Abilities("schema", 20, ("temperature", "max_tokens"))),
        (("top_logprobs",), Abilities("schema", 0, ())),
        (("json_schema",), Abilities("json", 20, ())),
        (("response_format",), Abilities("text", 20, ())),
        (("logprobs", "response_format", "temperature"), Abilities("text", 0, ("temperature",))),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_parameters_that_a_server_refuses_are_left_out(
    names: tuple[str, ...], expected: Abilities, status: int
) -> None:
    got = found(refuses(*names, status=status))[0]
    assert (got.structure, got.top, set(got.dropped)) == (expected.structure, expected.top, set(expected.dropped))


def test_fewer_alternatives_where_a_server_grants_fewer() -> None:
    def at_most_five(request: Request) -> Act:
        if request.body.get("top_logprobs", 0) > 5:
            return Act({"error": {"message": "top_logprobs must be at most 5"}}, 400)
        return obedient(request)

    assert found(at_most_five)[0].top == 5


def test_an_error_without_words_leads_to_the_plainest_request() -> None:
    def plain_only(request: Request) -> Act:
        return Act({}, 400) if {"logprobs", "response_format"} & set(request.body) else Act(HELLO)

    assert found(plain_only)[0] == Abilities("text", 0, ())


def test_trouble_that_passes_takes_nothing_away() -> None:
    """Two attempts per request: the first form is refused for good, a lesser one is answered, the first asked again."""
    troubled = iter([Act({}, 503)] * 2)
    assert found(lambda request: next(troubled, obedient(request))) == (Abilities("schema", 20, ()), 5)


def test_trouble_that_stays_is_what_the_server_cannot_do() -> None:
    def no_schema(request: Request) -> Act:
        return Act({}, 500) if "response_format" in request.body else Act(HELLO)

    assert found(no_schema)[0] == Abilities("text", 0, ())


def test_a_busy_server_is_believed_nothing() -> None:
    with pytest.raises(ModelError, match=r"too busy .* HTTP 429: slow down"):
        found(lambda request: Act({"error": {"message": "slow down"}}, 429))


def test_a_server_that_refuses_everything_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"refuses a plain request with a picture: HTTP 400: no pictures"):
        found(lambda request: Act({"error": {"message": "no pictures"}}, 400))


@pytest.mark.parametrize(
    ("status", "said"), [(401, "Check the key"), (404, "usually ends in /v1"), (307, "not followed")]
)
def test_what_fails_for_good_is_said_at_once(status: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        found(lambda request: Act({"error": {"message": "no"}}, status, {"location": "http://127.0.0.1:1/v1"}))


def test_a_server_that_is_not_there() -> None:
    backend = RemoteBackend(find("openai:m"), Remote(base_url="http://127.0.0.1:9/v1", attempts=1))
    with pytest.raises(ModelError, match="does not answer: connection lost"):
        backend.check(QUESTIONS)
    backend.close()


def test_findings_are_kept_for_the_next_run() -> None:
    with running() as server:
        for _ in range(3):
            backend = RemoteBackend(find("openai:m"), Remote(base_url=server.base_url))
            backend.check(QUESTIONS)
            backend.close()
        assert server.served == 1


def test_what_is_no_finding_is_none() -> None:
    assert [Abilities.of(x) for x in (None, {}, {"structure": "odd", "top": 1}, {"structure": "json"})] == [None] * 4
    assert Abilities.of(Abilities("json", 5, ("detail",)).to_dict()) == Abilities("json", 5, ("detail",))
