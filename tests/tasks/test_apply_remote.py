"""apply with a model behind an API, against a real MongoDB: fields, record, resume, kill, secrets."""

from __future__ import annotations

import io
import json
import logging
import re
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import bson.json_util
import fiftyone as fo
import fiftyone.core.odm as foo
import pytest
from PIL import Image

import facevlm
from facevlm import cli, folders
from facevlm.backends import Briefing, Remote
from facevlm.errors import FieldError, InputError, ModelError
from facevlm.tasks._run import announce
from facevlm.tasks.apply import ApplyResult
from tests.scripted import keeping
from tests.servers.killing import distinct_pictures, killed_and_run_again
from tests.servers.server import Act, Request, Server, after_probe, completion, obedient, running

KEY = "sk-test-9f8e7d6c5b4a39281706"


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


def apply(target: Any, server: Server, **options: Any) -> ApplyResult:
    given: dict[str, Any] = {"prefix": "r", "progress": False, "base_url": server.base_url} | options
    return facevlm.apply(target, "openai:m", ["gender", "age5"], **given)


def test_predictions_and_the_record(dataset: fo.Dataset) -> None:
    with running() as server:
        result = apply(dataset, server)
    assert result.outcomes == {"gender": {"ok": 10}, "age5": {"ok": 10}}
    assert dataset.values("r_gender.label") == ["Male", "Female"] * 5
    record = dataset.get_run_info("facevlm_r").config
    assert record.status == "done"
    assert record.backend["service"]["honours"]["structure"] == "schema"
    assert record.backend["service"]["host"] == f"127.0.0.1:{server.port}"
    assert record.backend["usage"]["requests"] == 11
    assert record.backend["usage"]["input_tokens"] == result.usage["input_tokens"] == 2200


def test_a_second_run_asks_nothing_and_an_overwriting_one_asks_the_server(dataset: fo.Dataset) -> None:
    with running() as server:
        apply(dataset, server)
        assert apply(dataset, server).asked == 0
        assert len(server.asked) == 10
        apply(dataset, server, overwrite=True)
        assert len(server.asked) == 20
        apply(dataset, server, prefix="again")
        assert len(server.asked) == 20


def test_another_wording_is_not_written_over_silently(dataset: fo.Dataset) -> None:
    with running() as server:
        apply(dataset, server)
        with pytest.raises(FieldError, match="another model or prompt"):
            apply(dataset, server, remote=Remote(template="main-person"))


def test_a_run_that_cannot_begin_leaves_no_thread_behind(dataset: fo.Dataset) -> None:
    def loops() -> int:
        return sum(t.name == "facevlm-remote" and t.is_alive() for t in threading.enumerate())

    with running() as server:
        apply(dataset, server)
        before = loops()
        with pytest.raises(FieldError):
            apply(dataset, server, remote=Remote(template="main-person"))
        assert apply(dataset, server).asked == 0
        assert loops() == before == 0


def test_refusals_and_failures_are_stored_with_their_words(dataset: fo.Dataset) -> None:
    def answer(request: Request) -> Act:
        if request.level < 50:
            return Act(completion(None, refusal="I will not label people."))
        return Act({"error": {"message": "odd picture"}}, 400) if request.level < 70 else obedient(request)

    with running(after_probe(answer)) as server:
        result = apply(dataset, server)
        assert result.outcomes["gender"] == {"refused": 2, "failed": 1, "ok": 7}
        labels = dataset.values("r_gender")
        assert (labels[0].outcome, labels[0].text) == ("refused", "I will not label people.")
        assert labels[2].reason == "HTTP 400: odd picture"
        assert apply(dataset, server).asked == 3


def test_a_used_up_budget_leaves_the_rest_for_the_next_run(dataset: fo.Dataset, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2031-01-01\nmodels: {m: {input: 10, output: 100}}\n")
    with running() as server:
        remote = Remote(prices=str(prices), concurrency=1)
        result = apply(dataset, server, budget=0.0225, remote=remote)
        assert 0 < result.asked < 10
        assert result.left == 10 - result.asked
        assert "Stopped early: the budget" in result.warnings[-1]
        assert dataset.get_run_info("facevlm_r").config.status == "stopped"
        again = apply(dataset, server, remote=remote)
        assert again.asked == result.left
        spent = dataset.get_run_info("facevlm_r").config.spent
        assert spent["requests"] == result.usage["requests"] + again.usage["requests"]
        assert spent["dollars"] == pytest.approx(result.usage["dollars"] + again.usage["dollars"])
    assert dataset.count("r_gender.label") == 10


def test_an_expired_key_stops_the_run_and_writes_no_failures(dataset: fo.Dataset) -> None:
    def answer(request: Request) -> Act:
        bad = request.level > 100
        return Act({"error": {"message": "expired"}}, 401) if bad else obedient(request)

    with running(after_probe(answer)) as server, pytest.raises(ModelError, match=r"HTTP 401: expired\. Check the key"):
        apply(dataset, server, concurrency=1)
    assert set(dataset.distinct("r_gender.outcome")) <= {"ok"}
    assert dataset.get_run_info("facevlm_r").config.status == "stopped"


def test_no_is_no(dataset: fo.Dataset) -> None:
    said: list[Briefing] = []
    with running() as server:
        result = apply(dataset, server, confirm=keeping(said, False))
        assert (result.asked, result.left, server.asked) == (0, 10, [])
    assert said[0].text.startswith("10 pictures of faces go to 127.0.0.1")
    assert dataset.list_runs() == []


def test_the_log_says_where_pictures_go(dataset: fo.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with running() as server, caplog.at_level(logging.INFO, "facevlm"):
        apply(dataset, server)
    [record] = [r for r in caplog.records if r.name == "facevlm"]
    assert (record.levelname, "10 pictures of faces go to" in record.message) == ("INFO", True)
    announce(Briefing("far away", False, 1.0))
    assert caplog.records[-1].levelname == "WARNING"


def test_boxes_and_metadata_stay_here(dataset_name: str, tmp_path: Path) -> None:
    picture, exif = Image.new("RGB", (2000, 1500), (90, 90, 90)), Image.Exif()
    exif[0x010E] = "Jane Doe, 12 Garden Street"
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    picture.save(tmp_path / "gps.jpg", exif=exif, comment=b"private note")
    made = fo.Dataset(dataset_name)
    made.add_sample(fo.Sample(filepath=str(tmp_path / "gps.jpg")))
    with running() as server:
        apply(made, server)
        [request] = server.asked
    assert b"Jane" not in request.jpeg
    assert b"private" not in request.jpeg
    assert b"Exif" not in request.jpeg
    assert request.picture.size == (512, 384)
    assert not request.picture.getexif()
    assert "gps" not in json.dumps(request.body["messages"][0]) + str(request.headers)


def dump(folder: Path) -> bytes:
    """Everything in the session's MongoDB and everything below a folder."""
    found = io.BytesIO()
    client = foo.get_db_conn().client
    for name in client.list_database_names():
        for collection in client[name].list_collection_names():
            for document in client[name][collection].find():
                found.write(bson.json_util.dumps(document).encode())
    for path in folder.rglob("*"):
        if path.is_file():
            found.write(path.read_bytes())
    return found.getvalue()


@pytest.mark.parametrize("when", ["probe", "answer", "status"])
def test_the_key_is_in_nothing_that_a_run_wrote(
    dataset: fo.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    when: str,
) -> None:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)

    def tattling(request: Request) -> Act:
        """A server that repeats the key wherever it can."""
        key = request.headers["authorization"].removeprefix("Bearer ")
        assert key == KEY
        if when == "status" and not request.is_probe and request.level < 100:
            return Act({"error": {"message": "x" * 190 + key, "code": key}}, 400)
        if when == "answer" and not request.is_probe and request.level < 100:
            return Act(completion(json.dumps({"gender": key, "age5": "0-9"}), refusal=None, note=key))
        if when == "probe" and not request.is_probe:
            return Act({"error": {"message": f"Incorrect API key provided: {key}"}}, 401)
        act = obedient(request)
        return Act({**act.body, "echo": key})

    output, shown = "", ""
    with running(tattling) as server, caplog.at_level(logging.DEBUG):
        try:
            result = apply(dataset, server)
            shown = f"{result!r} {result.warnings} {result.usage}"
        except ModelError as error:
            shown = _whole_traceback(error)
            assert when == "probe"
        question = ["--model", "openai:m", "--attributes", "gender", "--prefix", "c"]
        status = cli.main(["apply", dataset.name, *question, "--base-url", server.base_url])
        assert status == (1 if when == "probe" else 0)
    captured = capfd.readouterr()
    output = captured.out + captured.err + shown + caplog.text
    assert KEY not in output
    written = dump(tmp_path)
    assert len(written) > 1000
    for form in (KEY, KEY[:12], KEY[-12:]):
        assert form.encode() not in written
    assert not re.search(r"Bearer \S{6}", output)


def _whole_traceback(error: BaseException) -> str:
    """The traceback as crash reporters print it, with the local variables of every frame of ours."""
    import traceback

    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(frames.format())


KILLED = """
import sys
import fiftyone as fo
import facevlm
from facevlm.backends import Remote
facevlm.apply(
    fo.load_dataset(sys.argv[1]), "openai:m", ["gender", "age5"], prefix="k", progress=False, base_url=sys.argv[2],
    chunk_size=40, remote=Remote(concurrency=8),
)
"""


@pytest.mark.kill
@pytest.mark.parametrize("at", [0.25, 0.6])
def test_a_killed_run_loses_nothing_and_asks_only_what_was_in_flight(
    dataset_name: str, tmp_path: Path, at: float
) -> None:
    total = 300
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=path) for path in distinct_pictures(tmp_path, total)], progress=False)
    with running(after_probe(lambda r: Act(obedient(r).body, delay=0.02))) as server:
        before = killed_and_run_again(KILLED, dataset_name, server, int(at * total))
        asked = Counter(r.jpeg for r in server.asked)
    made.reload()
    assert made.count_values("k_gender.outcome") == {"ok": total}
    assert len(asked) == total
    assert max(asked.values()) <= 2
    assert len(server.asked) - total <= 2 * 8
    assert before < total


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"base_url": "nowhere"}, InputError, "expected an address"),
        ({"concurrency": 0}, InputError, "concurrency=0"),
        ({"remote": Remote(template="odd")}, InputError, "Unknown template 'odd'"),
        ({"budget": 1.0, "base_url": "https://models.example/v1"}, InputError, "no price is known"),
        ({"base_url": "https://models.example/v1"}, ModelError, "No key for models.example"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(
    dataset: fo.Dataset, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with running() as server, pytest.raises(error, match=said):
        apply(dataset, server, **options)
    assert dataset.list_runs() == []
    assert dataset.get_field("r_gender") is None


HALF = '{"gender": "Male", "age5": "Adult", "why": "a half \\ud83d of a sign"}'


@pytest.mark.parametrize("content", [HALF, "a half \ud83d of a sign"])
def test_halves_of_characters_that_a_server_sends_end_no_run(dataset: fo.Dataset, content: str) -> None:
    with running(after_probe(lambda request: Act(completion(content)))) as server:
        result = apply(dataset, server)
        assert apply(dataset, server, prefix="again").asked == 10
    assert sum(result.outcomes["gender"].values()) == 10
    assert dataset.get_run_info("facevlm_r").config.status == "done"


def test_a_cache_that_fails_in_mid_run_costs_no_answer(dataset: fo.Dataset) -> None:
    def answer(request: Request) -> Act:
        with closing(sqlite3.connect(folders.cache() / "replies.sqlite")) as other:
            other.executescript("DROP TABLE IF EXISTS replies; DROP TABLE IF EXISTS servers;")
        return obedient(request)

    with running(answer) as server:
        result = apply(dataset, server)
    assert result.outcomes == {"gender": {"ok": 10}, "age5": {"ok": 10}}
    assert result.usage["cache_errors"] > 0
