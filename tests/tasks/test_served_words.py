"""Whatever a server sends, every verb that asks one ends in counted outcomes or in a sentence, and keeps no key."""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import cli
from facevlm.backends import Remote
from facevlm.errors import FacevlmError
from facevlm.tasks import ask as ask_task
from facevlm.tasks import sources as sources_task
from tests.servers import batch_server
from tests.servers.batch_server import Provider, serving
from tests.servers.server import Act, Request, Server, after_probe, completion, running, token
from tests.servers.spelling import SPELLINGS, spelled
from tests.tasks.test_apply_remote import dump

KEY = "sk-no/real+key'0000&<b>"
REMOTE = Remote(attempts=1, max_failures=1.0, concurrency=4)
Verb = Callable[[fo.Dataset, str], object]


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


def apply(dataset: fo.Dataset, url: str, **options: Any) -> object:
    given: dict[str, Any] = {"base_url": url, "remote": REMOTE, "prefix": "a", "progress": False} | options
    return facevlm.apply(dataset, "openai:m", ["gender", "age5"], **given)


def describe(dataset: fo.Dataset, url: str) -> object:
    return facevlm.describe(
        dataset, "openai:m", base_url=url, remote=REMOTE, faces="faces", prefix="d", free=["clothing"], progress=False
    )


def ask(dataset: fo.Dataset, url: str) -> object:
    words = "gender of everyone wearing glasses"
    return facevlm.ask(dataset, words, grounding="openai:m", base_url=url, remote=REMOTE, progress=False)


def plan(dataset: fo.Dataset, url: str) -> object:
    return ask_task.plan(dataset, "whoever seems glad about it", planner="openai:m", base_url=url, remote=REMOTE)


def probe(dataset: fo.Dataset, url: str) -> object:
    return facevlm.probe(dataset, "openai:m", ["gender"], faces=2, base_url=url, remote=REMOTE)


VERBS: dict[str, Verb] = {"apply": apply, "describe": describe, "ask": ask, "plan": plan, "probe": probe}


def outcome(verb: Verb, dataset: fo.Dataset, url: str) -> str:
    """What a verb gives back, or the whole traceback of the error that it is allowed to raise."""
    try:
        found = verb(dataset, url)
        return f"{found!r} {getattr(found, 'tally', None)} {getattr(found, 'reasons', None)}"
    except FacevlmError as error:
        chain = [error, error.__cause__, error.__context__]
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        return shown + "".join(f"{e!r} {getattr(e, 'body', '')}" for e in chain if e is not None)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", ["value", "prose", "error", "page", "header"])
def test_no_verb_keeps_a_key_in_any_spelling(
    groups: fo.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    verb: str,
    where: str,
) -> None:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    names = iter([(), *((name,) for name in SPELLINGS)] * 10)

    def tattling(request: Request) -> Act:
        said = spelled(request.headers["authorization"].removeprefix("Bearer "), next(names))
        if where == "value":
            people = [{"number": n, "gender": said, "clothing": said, "evidence": said} for n in range(1, 5)]
            return Act(completion(json.dumps({"people": people, "gender": said, said: said, "who": said})))
        if where == "error":
            return Act({"error": {"message": f"no such key: {said}", "code": said}}, 400)
        if where == "header":
            return Act(b"{", headers={"content-type": "".join(said.split())})
        raw = f"no such key: {said}".encode()
        return Act(completion(raw.decode())) if where == "prose" else Act(raw, headers={"content-type": "text/html"})

    with running(after_probe(tattling)) as server, caplog.at_level(logging.INFO):
        said = outcome(VERBS[verb], groups, server.base_url)
        assert server.asked
    forms = [KEY, *(spelled(KEY, (name,)) for name in SPELLINGS)]
    written = dump(tmp_path) + said.encode() + caplog.text.encode()
    assert len(written) > 1000
    assert [form for form in forms if form.encode() in written or json.dumps(form)[1:-1].encode() in written] == []


def test_a_right_answer_with_the_key_in_pieces_is_not_kept_on_the_disk(
    groups: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    pieces = KEY[:8], KEY[8:16], KEY[16:]
    parts = ['{"gender": "Male", "age5": "0-9", "note": "', *pieces, '"}']

    def tattling(request: Request) -> Act:
        if request.times % 2:
            return Act(completion("".join(parts), logprobs=[token(part, -0.1) for part in parts]))
        return Act(completion([{"type": "text", "text": part} for part in parts]))  # type: ignore[arg-type]

    with running(after_probe(tattling)) as server:
        result = apply(groups, server.base_url, faces="faces")
    assert "'ok'" in repr(result.tally.outcomes)  # type: ignore[attr-defined]
    assert [piece for piece in pieces[:2] if piece.encode() in dump(tmp_path)] == []


def test_a_batch_and_its_report_keep_no_key(
    groups: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch_server, "KEY", KEY)
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    forms = [spelled(KEY, (name,)) for name in SPELLINGS]
    names = iter([KEY, *forms] * 10)

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        said = next(names)
        if forms.index(said) % 2 if said in forms else False:
            return {"response": None, "error": {"message": said, "code": said}}
        content = json.dumps({"gender": said, "age5": "0-9"})
        return {"response": {"status_code": 200, "body": completion(content)}, "error": None}

    def told(made: dict[str, Any]) -> dict[str, Any]:
        made["errors"] = {"data": [{"message": f"odd {forms[0]}"}]}
        return made

    with serving(Provider(answer=answer, told=told)) as provider:
        given: dict[str, Any] = {"prefix": "b", "progress": False, "base_url": provider.base_url, "faces": "faces"}
        facevlm.batch.submit(groups, "openai:m", ["gender", "age5"], **given)
        result = facevlm.batch.collect(groups)
        assert cli.main(["batch", "status", groups.name]) == 0
    assert result.outcomes["gender"].get("unparsed", 0) > 5
    facevlm.evaluate(
        groups, ["gender"], prefix="b", faces="faces", ground_truth={"gender": "faces.detections.gender"}, draws=10
    )
    facevlm.report(groups, tmp_path / "report", prefix="b")
    captured = capfd.readouterr()
    assert "odd [key]" in captured.out
    written = dump(tmp_path) + f"{result} {captured.out} {captured.err}".encode()
    assert [form for form in [KEY, *forms] if form.encode() in written] == []


@pytest.mark.parametrize("verb", VERBS)
def test_an_answer_in_which_a_name_stands_twice_is_none(groups: fo.Dataset, verb: str) -> None:
    person = '{"number": 1, "number": 2, "gender": "Male", "gender": "Female", "clothing": "x", "evidence": "y"}'
    twice = f'{{"people": [{person}], "gender": "Male", "gender": "Female", "age5": "0-9", "readable": true}}'
    with running(after_probe(lambda request: Act(completion(twice)))) as server:
        said = outcome(VERBS[verb], groups, server.base_url)
    assert "'ok'" not in said
    assert "outcome='ok'" not in said
    for field in ("a_gender", "a_age5", "d_gender", "d_people"):
        if groups.has_sample_field(field):
            inner = "" if field[0] == "a" else ".detections"
            assert "ok" not in groups.count_values(f"{field}{inner}.outcome")


def test_a_kept_reply_that_is_no_answer_is_asked_again(groups: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        apply(groups, server.base_url)
        asked = len(server.asked)
        twice = completion('{"gender": "Male", "gender": "Female", "age5": "0-9"}')
        monkeypatch.setattr("facevlm.backends.remote.cache.Cache.get", lambda cache, key: twice)
        apply(groups, server.base_url, prefix="b")
        assert len(server.asked) == 2 * asked
    assert set(groups.count_values("b_gender.outcome")) == {"ok"}


NUMBERED = completion('{"gender": "Male", "age5": "0-9"}', logprobs=[token('{"gender": "Male", "age5": "0-9"}', 0.25)])


@pytest.mark.parametrize("raw", ["-1" + "0" * 400, "-Infinity", "Infinity", "NaN", "true", '"-0.1"', "-1e999", "[]"])
def test_odd_numbers_of_a_server_are_counted_outcomes(groups: fo.Dataset, raw: str) -> None:
    body = json.dumps(NUMBERED).replace("0.25", raw).replace(": 200", f": {raw}").replace(": 20,", f": {raw},")
    with running(after_probe(lambda request: Act(body.encode()))) as server:
        apply(groups, server.base_url)
    assert set(groups.count_values("a_gender.outcome")) <= {"ok", "failed"}
    sure = [value for value in groups.values("a_gender.confidence") if value is not None]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in sure)
    groups.reload()


@pytest.fixture
def evil() -> Iterator[Server]:
    message = "\x1b]0;title\x07\x1b[31mred\x1b[2J \x9b31m \u202egpj.exe \x00 \rok"
    with running(after_probe(lambda request: Act(completion(message)))) as server:
        yield server


def test_control_characters_reach_neither_terminal_nor_report(
    groups: fo.Dataset, evil: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", "openai:m", "--base-url", evil.base_url, "--attributes", "gender"]
    assert cli.main(["apply", groups.name, *model, "--prefix", "e", "--faces", "faces"]) == 1, "nothing was answered"
    assert cli.main(["probe", groups.name, *model, "--faces", "2"]) == 0
    assert cli.main(["evaluate", groups.name, "--prefix", "e\x1b[2J"]) == 2
    truth = ["--truth", "gender=faces.detections.gender", "--faces", "faces"]
    assert cli.main(["evaluate", groups.name, "--prefix", "e", *truth]) == 0
    assert cli.main(["report", groups.name, "--prefix", "e", "--out", str(tmp_path / "report")]) == 0
    captured = capfd.readouterr()
    assert "\\x1b[31mred" in captured.out
    assert "\\u202egpj.exe" in captured.out
    files = [path.read_text() for path in (tmp_path / "report").rglob("*.*") if path.suffix in (".md", ".html")]
    assert len(files) == 2
    for text in (captured.out, captured.err, *files):
        assert not set(text) & set("\x00\x07\x1b\x9b\u202e")
