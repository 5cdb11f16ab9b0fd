"""A server that fails in every way: each face ends with exactly one outcome, none is asked more often than allowed."""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import bson
import pytest
from PIL import Image

from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.remote import client as client_module
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.backends.remote.client import Stopped
from facevlm.engines.local import run
from facevlm.engines.tally import Tally
from facevlm.types import Face, Prediction, Question
from tests.backends.remote import opening
from tests.servers.server import Act, Answer, Request, Server, after_probe, completion, running
from tests.waiting import SOON

ATTEMPTS = 4


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a tenth of a second at most; that they grow is tested apart."""
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(client_module, "LONGEST_WAIT", 0.1)


def opened(answer: Answer, **options: Any) -> AbstractContextManager[tuple[RemoteBackend, Server]]:
    return opening.opened(after_probe(answer), **{"attempts": ATTEMPTS, "max_failures": 1.0} | options)


def ask(answer: Answer, questions: Sequence[Question], count: int = 1, **options: Any) -> tuple[list[str], Server]:
    """The errors of a row each (empty for an answer), and the server."""
    with opened(answer, **options) as (backend, server):
        images = [Image.new("RGB", (16, 16), (10 + k % 200, k // 200, 0)) for k in range(count)]
        table = backend.answer(images, questions)
        return [row[0].error or ("refused" if row[0].refused else "") for row in table], server


GOOD = completion('{"gender": "Male", "age5": "0-9"}')


def first(*bad: Act) -> Answer:
    """These acts for the first requests about a picture, then a good answer."""
    return lambda request: bad[request.times] if request.times < len(bad) else Act(GOOD)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int, questions: list[Question]) -> None:
    errors, server = ask(first(Act({"error": {"message": "busy"}}, status)), questions)
    assert (errors, len(server.asked)) == ([""], 2)


@pytest.mark.parametrize("act", [Act(hang=True), Act(GOOD, cut_at=20), Act(GOOD, cut_at=0), Act(GOOD, drip=0.05)])
def test_sockets_that_hang_break_or_drip_are_tried_again(act: Act, questions: list[Question]) -> None:
    errors, server = ask(first(act), questions, timeout=2.0)
    assert (errors, len(server.asked)) == ([""], 2)


@pytest.mark.parametrize("status", [400, 405, 413, 415, 422])
def test_what_will_not_pass_is_not_tried_again(status: int, questions: list[Question]) -> None:
    errors, server = ask(lambda r: Act({"error": {"message": "bad picture"}}, status), questions)
    assert errors == [f"HTTP {status}: bad picture"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Act(b'{"choices": [{"mess'), "the server's answer is no JSON (application/json)"),
        (Act(b""), "the server's answer is no JSON"),
        (
            Act(b"<html>maintenance</html>", headers={"content-type": "text/html"}),
            "(text/html): <html>maintenance</html>",
        ),
        (Act({"choices": []}), "without a choice"),
        (Act({"error": {"message": "no pictures"}}), "the server reports: no pictures"),
        (Act([1, 2]), "a JSON list, expected a chat completion"),
        (Act(completion(None)), "the answer is empty"),
    ],
)
def test_bodies_that_are_no_answer_fail_with_the_reason(act: Act, said: str, questions: list[Question]) -> None:
    errors, server = ask(lambda request: act, questions)
    assert said in errors[0]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "act",
    [
        Act(GOOD, headers={"content-encoding": "gzip"}),
        Act(b"", 204),
        Act(b"\xff\xfe\x00" * 50),
        Act(b"[" * 100_000),
        Act(b'{"choices": [{"message": {"content": "' + b"x" * 3_000_000 + b'"}}]}'),
        Act(completion('{"gender": "\ud800", "age5": "0-9"}')),
        Act(completion("\udfff\x00\ud800")),
        Act({"error": {"message": "\ud800"}}),
        Act({"error": {"message": "\ud800"}}, 400),
        Act(GOOD, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "never"}),
        Act(GOOD, headers={"retry-after": "\xe9"}),
    ],
)
def test_odd_bytes_are_outcomes_that_can_be_stored(act: Act, questions: list[Question]) -> None:
    with opened(lambda request: act) as (backend, _):
        [row] = backend.answer([Image.new("RGB", (16, 16))], questions)
    for reply in row:
        assert len((reply.text or "") + (reply.error or "")) < 25_000
        assert bson.encode({"text": reply.text, "error": reply.error})


def test_what_is_no_http_is_a_lost_connection(questions: list[Question]) -> None:
    with opened(lambda request: Act(b"", 99999)) as (backend, _):
        [row] = backend.answer([Image.new("RGB", (16, 16))], questions)
    assert row[0].error is not None


def test_attempts_are_bounded_and_the_last_reason_is_kept(questions: list[Question]) -> None:
    errors, server = ask(lambda r: Act({"error": {"message": f"attempt {r.times}"}}, 500), questions)
    assert errors == [f"HTTP 500: attempt {ATTEMPTS - 1} (asked {ATTEMPTS} times)"]
    assert len(server.asked) == ATTEMPTS


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act({"error": {"message": "flagged", "code": "content_policy_violation"}}, 400), "flagged"),
        (Act({"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, 400), "x"),
        (Act({"error": {"message": "Input was flagged by moderation"}}, 403), "moderation"),
        (Act(completion("", finish="content_filter")), "content_filter"),
        (Act(completion(None, refusal="I will not.")), "I will not."),
    ],
)
def test_a_providers_refusal_is_an_outcome(act: Act, reason: str, questions: list[Question]) -> None:
    with opened(lambda request: act) as (backend, server):
        [row] = backend.answer([Image.new("RGB", (16, 16))], questions)
        assert all(reply.refused and reason in str(reply.error) for reply in row)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Act({"error": {"message": "Incorrect API key provided"}}, 401), "Check the key"),
        (Act({"error": {"message": "Project is archived"}}, 403), "Check the key"),
        (
            Act([{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], 400),
            "Check the",
        ),
        (Act({"error": {"message": "No such model", "code": "model_not_found"}}, 404), "Check the model"),
        (Act({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, 429), "plan and billing"),
        (Act({"error": {"message": "slow down"}}, 429, {"retry-after": "3600"}), "wait 60 minutes"),
        (Act(b"", 307, {"location": "http://127.0.0.1:1/v1/chat/completions"}), "not followed"),
    ],
)
def test_what_would_fail_for_all_stops_at_once_with_one_message(act: Act, said: str, questions: list[Question]) -> None:
    with opened(lambda r: Act(GOOD) if r.level < 30 else act) as (backend, server):
        images = [Image.new("RGB", (16, 16), (k,) * 3) for k in range(250)]
        began = time.monotonic()
        with pytest.raises(Stopped, match=said):
            backend.answer(images, questions)
        assert time.monotonic() - began < SOON
        assert len(server.asked) < 130


def test_a_stop_is_one_message_and_no_heap_of_tracebacks(
    questions: list[Question], caplog: pytest.LogCaptureFixture
) -> None:
    with opened(lambda r: Act({"error": {"message": "expired"}}, 401, delay=0.05), concurrency=40) as (backend, _):
        images = [Image.new("RGB", (16, 16), (k,) * 3) for k in range(100)]
        with pytest.raises(Stopped):
            backend.answer(images, questions)
    gc.collect()
    assert [r for r in caplog.records if r.levelname in ("WARNING", "ERROR", "CRITICAL")] == []


def test_no_picture_follows_a_redirect_to_another_host(questions: list[Question]) -> None:
    with running() as other, opened(lambda r: Act(b"", 307, {"location": other.base_url})) as (backend, _):
        with pytest.raises(Stopped):
            backend.answer([Image.new("RGB", (16, 16))], questions)
        assert other.served == 0


def test_retry_after_is_honoured_by_all_that_wait(questions: list[Question]) -> None:
    seen: list[float] = []

    def once_too_many(request: Request) -> Act:
        seen.append(time.monotonic())
        limited = len(seen) == 5
        return Act({"error": {"message": "slow down"}}, 429, {"retry-after": "1"}) if limited else Act(GOOD)

    errors, _ = ask(once_too_many, questions, count=40, concurrency=2)
    assert errors == [""] * 40
    gaps = [b - a for a, b in itertools.pairwise(seen)]
    assert max(gaps) > 0.9


def test_geminis_delay_in_the_body_is_honoured(questions: list[Question]) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.8s"}]
    error = [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": details}}]
    began = time.monotonic()
    errors, server = ask(first(Act(error, 429)), questions)
    assert (errors, len(server.asked)) == ([""], 2)
    assert time.monotonic() - began > 0.8


def test_rate_limit_headers_pause_before_the_server_refuses(questions: list[Question]) -> None:
    seen: list[float] = []

    def counting(request: Request) -> Act:
        seen.append(time.monotonic())
        left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"} if len(seen) == 3 else {}
        return Act(GOOD, headers=left)

    errors, _ = ask(counting, questions, count=12, concurrency=1)
    assert errors == [""] * 12
    assert seen[3] - seen[2] > 1.9
    assert seen[-1] - seen[3] < 1.9


def test_requests_per_minute_are_kept(questions: list[Question]) -> None:
    seen: list[float] = []

    def counting(request: Request) -> Act:
        seen.append(time.monotonic())
        return Act(GOOD)

    ask(counting, questions, count=10, requests_per_minute=600.0)
    assert seen[-1] - seen[0] > 0.8


def test_tokens_per_minute_are_kept(questions: list[Question]) -> None:
    began = time.monotonic()
    ask(lambda request: Act(GOOD), questions, count=10, tokens_per_minute=220 * 600.0)
    assert time.monotonic() - began > 0.8


def test_concurrency_is_halved_under_load_and_everything_is_answered(questions: list[Question]) -> None:
    with running() as server:

        def capacity_of_ten(request: Request) -> Act:
            if server.in_flight > 10:
                return Act({"error": {"message": "too many"}}, 429)
            # Long against what a busy machine takes to hand a request over: they must meet at the server.
            return Act(GOOD, delay=0.15)

        server.answer = after_probe(capacity_of_ten)
        options = Remote(base_url=server.base_url, attempts=10)
        backend = open_backend("openai:m", Options(remote=options))
        assert isinstance(backend, RemoteBackend)
        images = [Image.new("RGB", (16, 16), (k % 256, k // 256, 0)) for k in range(300)]
        table = backend.answer(images, questions)
        usage = backend.info.usage
        backend.close()
        assert all(row[0].error is None for row in table)
        assert usage["rate_limited"] < 80
        assert usage["most_in_flight"] < 40


def test_waits_double_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(client_module, "LONGEST_WAIT", 30.0)
    for attempt, most in ((0, 0.5), (1, 1), (2, 2), (10, 30)):
        waits = [client_module._backoff(attempt, None) for _ in range(200)]
        assert most / 4 <= min(waits) < max(waits) <= most
        assert len(set(waits)) > 100
    assert 3 <= client_module._backoff(0, 3.0) <= 3.3


REFUSAL = completion("I'm sorry, but I can't help with identifying people.")
HALF = completion('{"gender": "Male"}')
FAULTS = (
    Act({"error": {"message": "slow down"}}, 429, {"retry-after-ms": "20"}),
    Act({"error": {"message": "slow down"}}, 429),
    Act({"error": {"message": "oops"}}, 500),
    Act({"error": {"message": "bad gateway"}}, 502),
    Act(b"<html>", 503, {"content-type": "text/html"}),
    Act({"error": {"message": "flagged", "code": "content_policy_violation"}}, 400),
    Act({"error": {"message": "not a picture"}}, 400),
    Act(hang=True),
    Act(GOOD, cut_at=30),
    Act(b'{"choices": [{"message": {"content": "{\\"gen'),
    Act({"choices": []}),
    Act(b"<html>", headers={"content-type": "text/html"}),
    Act(REFUSAL),
    Act(completion(None, refusal="I will not.")),
    Act(completion("The person is Male.")),
    Act(completion('{"gender": "Purple", "age5": "0-9"}')),
    Act(HALF),
    Act(GOOD, drip=0.02),
)


def test_hundreds_of_faces_of_every_fault(questions: list[Question], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("many")
    count, draw = 320, random.Random(7)
    fate = {
        k: [draw.choice(FAULTS) if draw.random() < 0.45 else Act(GOOD) for _ in range(ATTEMPTS)] for k in range(count)
    }
    faces = []
    for k in range(count):
        path = folder / f"{k}.png"
        Image.new("RGB", (8, 8), (16 * (k % 16) + 8, 16 * (k // 16 % 16) + 8, 16 * (k // 256) + 8)).save(path)
        faces.append(Face(str(k), str(path)))

    def number(request: Request) -> int:
        r, g, b = request.picture.convert("RGB").getpixel((4, 4))  # type: ignore[misc]
        return int(r) // 16 + 16 * (int(g) // 16) + 256 * (int(b) // 16)

    asked: Counter[int] = Counter()

    def answer(request: Request) -> Act:
        k = number(request)
        asked[k] += 1
        return fate[k][asked[k] - 1]

    written: list[Prediction] = []
    with opened(answer, timeout=1.0, concurrency=64) as (backend, server):
        server.keep = False
        tally = Tally()
        for _ in run(faces, backend, questions, written.extend, chunk_size=64, tally=tally):
            pass
    pairs = Counter((p.face.sample_id, p.attribute) for p in written)
    assert len(pairs) == 2 * count
    assert set(pairs.values()) == {1}
    assert max(asked.values()) <= ATTEMPTS
    assert len(asked) == count
    assert sum(asked.values()) > 1.2 * count
    outcomes = Counter(p.outcome for p in written)
    assert set(outcomes) == {"ok", "refused", "unparsed", "failed"}
    assert {p.label for p in written if p.label} == {"Male", "0-9"}
    assert all(p.reason for p in written if p.outcome != "ok")
    last = {k: fate[k][asked[k] - 1] for k in range(count)}
    whole = [act for act in last.values() if act.cut_at is None and not act.hang and not act.drip]
    good = sum(act.body is GOOD or act.body is HALF for act in whole)
    assert sum(p.outcome == "ok" for p in written if p.attribute == "gender") == pytest.approx(good, abs=2)
    assert tally.faces == count
