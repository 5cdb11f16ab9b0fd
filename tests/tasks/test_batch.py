"""Batches against real HTTP: handed in, looked after, collected, by processes that know nothing of each other."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson.json_util
import fiftyone as fo
import fiftyone.core.odm as foo
import pytest

import facevlm
from facevlm import cli
from facevlm.backends import Briefing, Options, Remote
from facevlm.backends.remote import batches
from facevlm.errors import FieldError, InputError, ModelError
from facevlm.store import runs
from facevlm.tasks import batch as batch_task
from facevlm.tasks import sources as sources_task
from facevlm.tasks._options import Settings
from facevlm.tasks.apply import ApplyRun
from tests.operators.test_operators import APPLY, execute, form
from tests.scripted import keeping
from tests.servers import warm
from tests.servers.batch_server import KEY, LOST, PAGE, Provider, by_level, level_of, serving
from tests.servers.server import completion
from tests.waiting import PATIENCE

NAMES = ["gender", "age5"]
COLLECT = "@facevlm/face-attributes/collect_face_attribute_batches"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    with serving(Provider()) as made:
        monkeypatch.setenv("FACEVLM_KEYS", f"FACEVLM_API_KEY={made.base_url}")
        yield made


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


def submit(target: Any, provider: Provider, **options: Any) -> batch_task.Submitted:
    given: dict[str, Any] = {"prefix": "b", "progress": False, "base_url": provider.base_url} | options
    return batch_task.submit(target, "openai:m", NAMES, **given)


def small_files(monkeypatch: pytest.MonkeyPatch, requests: int = 4, size: int = 10**9) -> None:
    # The package has a function of the name of this module.
    module = sys.modules["facevlm.tasks.batch.submit"]
    monkeypatch.setattr(module, "limits", lambda: batches.Limits(requests, size, 0.5, "24h"))


def test_answers_of_a_batch_are_those_of_asking(dataset: fo.Dataset, provider: Provider) -> None:
    done = submit(dataset, provider)
    assert (done.faces, done.batches, done.left) == (10, ("batch_0",), 0)
    assert runs.read(dataset, "facevlm_b")["status"] == "submitted"
    [state] = batch_task.status(dataset)
    assert (state.status, state.total, state.done) == ("completed", 10, 10)
    result = batch_task.collect(dataset)
    assert result.outcomes == {"gender": {"ok": 10}, "age5": {"ok": 10}}
    assert (result.collected, result.waiting, result.input_tokens, result.output_tokens) == (1, 0, 2000, 200)
    assert dataset.values("b_gender.label") == ["Male", "Female"] * 5
    record = runs.read(dataset, "facevlm_b")
    assert record["status"] == "done"
    assert record["outcomes"]["gender"] == {"ok": 10}
    # With the request by which the server was tried out.
    assert record["spent"]["input_tokens"] == 2200
    # The very requests of asking at once, named by ids of the dataset and by nothing else.
    assert {line["custom_id"] for line in provider.asked} == set(dataset.values("id"))
    assert {line["url"] for line in provider.asked} == {"/v1/chat/completions"}
    assert submit(dataset, provider).faces == 0


def test_files_keep_to_the_limits_of_the_provider(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    assert len(submit(dataset, provider).batches) == 3
    assert [state.total for state in batch_task.status(dataset)] == [4, 4, 2]
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 10}
    line = len(provider.files["file-0"].splitlines()[0])
    small_files(monkeypatch, size=3 * line)
    submit(dataset, provider, overwrite=True)
    uploads = [data for name, data in provider.files.items() if data.startswith(b'{"custom_id"')]
    assert len(uploads) > 6
    assert all(len(data) <= 3 * line for data in uploads[3:])


def test_faces_in_pictures_are_known_by_their_ids(dataset_name: str, provider: Provider) -> None:
    groups = sources_task.sample_groups(dataset_name)
    submit(groups, provider, faces="faces")
    gone = groups.first().faces.detections[0].id
    sample = groups.first()
    sample.faces.detections = sample.faces.detections[1:]
    sample.save()
    result = batch_task.collect(groups)
    assert (result.gone, result.outcomes["gender"]) == (1, {"ok": 27})
    groups.reload()
    asked = {line["custom_id"].split(".")[1]: line["body"] for line in provider.asked}
    answers = {d.face: d.label for s in groups for d in s.b_gender.detections}
    assert gone not in answers
    assert answers == {i: ("Male", "Female")[level_of(asked[i]) // 20 % 2] for i in answers}
    assert groups.last().b_faces.detections[0].gender == groups.last().b_gender.detections[0].label


def odd(body: dict[str, Any]) -> dict[str, Any] | None:
    """Every picture another fate."""
    level = level_of(body) // 20
    if level == 1:
        return None
    if level == 2:
        return {"response": None, "error": {"code": "batch_expired", "message": "This request could not be executed"}}
    if level == 3:
        return {"response": {"status_code": 500, "body": {"error": {"message": "oops"}}}, "error": None}
    if level == 4:
        said = {"error": {"message": "rejected", "code": "content_policy_violation"}}
        return {"response": {"status_code": 400, "body": said}, "error": None}
    text = {6: "I'm sorry, I can't help with that.", 7: "a nice person"}.get(level)
    if level == 5:
        return {"response": {"status_code": 200, "body": completion(None, refusal="I will not")}, "error": None}
    if text:
        return {"response": {"status_code": 200, "body": completion(text)}, "error": None}
    return by_level(body)


def test_every_face_ends_with_one_outcome_and_is_asked_again_if_it_has_no_answer(
    dataset: fo.Dataset, provider: Provider
) -> None:
    provider.answer, provider.fate = odd, "expired"
    submit(dataset, provider)
    result = batch_task.collect(dataset)
    assert result.outcomes["gender"] == {"ok": 3, "failed": 3, "refused": 3, "unparsed": 1}
    reasons = dict(zip(dataset.values("filepath"), dataset.values("b_gender.reason"), strict=True))
    by_number = {int(Path(path).stem): reason for path, reason in reasons.items()}
    assert by_number[1] == "the batch is expired and has no answer"
    assert "could not be executed" in by_number[2]
    assert "oops" in by_number[3]
    assert dataset.values("b_gender.outcome")[4:7] == ["refused"] * 3
    provider.answer, provider.fate = by_level, "completed"
    assert submit(dataset, provider).faces == 7
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 7}
    assert dataset.count_values("b_gender.outcome") == {"ok": 10}


def test_collecting_twice_or_early_changes_nothing(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    provider.ready = False
    submit(dataset, provider)
    early = batch_task.collect(dataset)
    assert (early.collected, early.waiting, early.outcomes) == (0, 3, {})
    with pytest.raises(FieldError, match="3 batches of prefix 'b' are not collected yet"):
        submit(dataset, provider)
    provider.ready = True
    batch_task.status(dataset)
    provider.batches["batch_1"]["status"] = "in_progress"
    provider.ready = False
    part = batch_task.collect(dataset)
    assert (part.collected, part.waiting, part.outcomes["gender"]) == (2, 1, {"ok": 6})
    assert dataset.count_values("b_gender.outcome") == {"ok": 6, None: 4}
    provider.ready = True
    assert batch_task.collect(dataset, wait=True).outcomes["gender"] == {"ok": 4}
    before = dataset.values("b_gender.id")
    assert batch_task.collect(dataset).outcomes == {}
    assert dataset.values("b_gender.id") == before
    assert runs.read(dataset, "facevlm_b")["spent"]["requests"] == 11


def test_a_process_that_ends_between_two_files_pays_for_nothing_twice(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    kept = batch_task.SubmitRun._note

    def forgetful(work: batch_task.SubmitRun, status: str) -> None:
        """The second batch is begun, and the process ends before it is noted."""
        if len(work._batches) == 2:
            raise KeyboardInterrupt
        if not (work._batches and status == "stopped"):
            kept(work, status)

    monkeypatch.setattr(batch_task.SubmitRun, "_note", forgetful)
    with pytest.raises(KeyboardInterrupt):
        submit(dataset, provider)
    monkeypatch.setattr(batch_task.SubmitRun, "_note", kept)
    assert runs.read(dataset, "facevlm_batch_b")["batches"] == ["batch_0"]
    with pytest.raises(FieldError, match="not collected yet"):
        submit(dataset, provider)
    assert len(batch_task.status(dataset)) == 2
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 8}
    assert submit(dataset, provider).faces == 2
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 2}
    assert len(provider.asked) == 10


STEP = """
import sys, fiftyone as fo
from facevlm import batch
dataset = fo.load_dataset(sys.argv[1])
if sys.argv[2] == "submit":
    batch.submit(dataset, "openai:m", ["gender"], prefix="b", base_url=sys.argv[3], progress=False)
else:
    print(batch.collect(dataset).outcomes)
"""


@pytest.mark.process
def test_every_step_may_be_a_process_of_its_own(dataset: fo.Dataset, provider: Provider) -> None:
    for step in ("submit", "collect"):
        warm.run(STEP, dataset.name, step, provider.base_url, check=True)
    dataset.reload()
    assert dataset.count_values("b_gender.outcome") == {"ok": 10}


def test_a_server_without_batches_is_said_before_anything_is_sent(dataset: fo.Dataset, provider: Provider) -> None:
    provider.has_batches = False
    with pytest.raises(ModelError, match=r"has no Batch API \(HTTP 404"):
        submit(dataset, provider)
    assert provider.files == {}
    provider.has_batches = True
    assert submit(dataset, provider).faces == 10


def test_a_wrong_key_is_said_and_not_shown(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(dataset, provider)
    monkeypatch.setenv("FACEVLM_API_KEY", "sk-wrong-abcdef123456")
    with pytest.raises(ModelError, match=r"HTTP 401: .*\[key\].*Check the key") as caught:
        batch_task.collect(dataset)
    assert "sk-wrong" not in str(caught.value)


def refused_line(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"response": {"status_code": status, "body": body}, "error": None}


LINES = [
    refused_line(400, {"error": {"code": "data_inspection_failed", "message": "x"}}),
    refused_line(200, completion(None, finish="IMAGE_SAFETY")),
    {"response": None, "error": {"code": "content_policy_violation", "message": "x"}},
    refused_line(403, {"error": {"message": "logprobs are not allowed"}}),
    refused_line(200, {"error": {"code": 429, "message": "daily limit reached"}}),
]


def test_lines_of_a_batch_are_read_by_the_same_meaning(dataset: fo.Dataset, provider: Provider) -> None:
    turn = itertools.cycle(LINES)
    provider.answer = lambda body: next(turn)
    submit(dataset, provider)
    assert batch_task.collect(dataset).outcomes["gender"] == {"refused": 6, "failed": 4}


def test_an_answer_file_that_is_cut_off_loses_its_last_line_alone(dataset: fo.Dataset, provider: Provider) -> None:
    submit(dataset, provider)
    [state] = batch_task.status(dataset)
    provider.files[state.output_file or ""] = provider.files[state.output_file or ""][:-30]
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 9, "failed": 1}


def test_known_replies_unreadable_pictures_and_the_budget(
    dataset: fo.Dataset, provider: Provider, pictures: list[str], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2026-01-01\nmodels:\n  m: {input: 100, output: 100}\n")
    Path(pictures[0]).write_bytes(b"no picture")
    briefed: list[Briefing] = []
    remote = Remote(prices=str(prices))
    assert submit(dataset, provider, remote=remote, confirm=keeping(briefed, False)).left == 10
    assert provider.files == {}
    [said] = briefed
    assert "as a batch" in said.text
    each = (said.dollars or 0) / 10
    done = submit(dataset, provider, remote=remote, budget=4.5 * each)
    assert (done.faces, done.unread, done.left) == (4, 1, 5)
    result = batch_task.collect(dataset)
    assert result.dollars == pytest.approx(4 * 220 * 100 / 1e6 / 2)
    assert dataset.first().b_gender.outcome == "failed"


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("demo", {}, "takes no batches"),
        ("openai:m", {"remote": Remote(samples=3)}, "a batch asks once"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(
    dataset: fo.Dataset, provider: Provider, model: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        batch_task.submit(dataset, model, ["gender"], base_url=provider.base_url, progress=False, **options)
    with pytest.raises(FieldError, match="has no batches"):
        batch_task.status(dataset)
    assert provider.files == {}


def test_no_key_is_left_anywhere(dataset: fo.Dataset, provider: Provider, own_cache: Path) -> None:
    submit(dataset, provider)
    batch_task.collect(dataset)
    database = foo.get_db_conn()
    kept = [bson.json_util.dumps(list(database[name].find())) for name in database.list_collection_names()]
    assert not any(KEY in text for text in kept)
    assert not any(KEY.encode() in path.read_bytes() for path in own_cache.rglob("*") if path.is_file())
    assert not any(KEY in json.dumps(line) for line in provider.asked)


def test_the_command_line(dataset: fo.Dataset, provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["batch", "list", dataset.name]) == 0
    assert "No batch was handed in" in capsys.readouterr().out
    common = [dataset.name, "--model", "openai:m", "--attributes", "gender", "--prefix", "b"]
    assert cli.main(["batch", "submit", *common, "--base-url", provider.base_url, "--dry-run"]) == 0
    assert "as a batch" in capsys.readouterr().err
    assert provider.files == {}
    assert cli.main(["batch", "submit", *common, "--base-url", provider.base_url]) == 0
    assert "10 faces in 1 batches" in capsys.readouterr().out
    assert cli.main(["batch", "status", dataset.name]) == 0
    assert "completed" in capsys.readouterr().out
    assert cli.main(["batch", "collect", dataset.name, "--wait"]) == 0
    said = capsys.readouterr().out
    assert "gender" in said
    assert "1 batches collected, 0 waiting" in said
    assert cli.main(["batch", "list", dataset.name]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["b", "openai:m", "submitted", "1", "1"]
    assert cli.main(["batch", "collect", dataset.name, "--prefix", "nope"]) == 2
    assert "has no batches of prefix 'nope'" in capsys.readouterr().err


def test_batches_that_are_cancelled_can_be_handed_in_again(dataset: fo.Dataset, provider: Provider) -> None:
    provider.ready = False
    submit(dataset, provider)
    assert cli.main(["batch", "cancel", dataset.name]) == 0
    assert batch_task.collect(dataset).outcomes["gender"] == {"failed": 10}
    assert dataset.first().b_gender.reason == "the batch is cancelled and has no answer"
    provider.ready = True
    assert submit(dataset, provider).faces == 10
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 10}


def test_the_forms_hand_in_and_collect(dataset: fo.Dataset, provider: Provider) -> None:
    assert "nothing" in form(COLLECT, dataset)
    given = {"model": "api", "api_model": "m", "base_url": provider.base_url, "own": False, "ask_gender": True}
    assert "as a batch" not in form(APPLY, dataset, **given)["briefing"]["view"]["label"]
    assert "as a batch" in form(APPLY, dataset, **given, when="batch")["briefing"]["view"]["label"]
    properties = form(APPLY, dataset, **given)
    assert [choice["value"] for choice in properties["when"]["view"]["choices"]] == ["now", "batch"]
    assert "when" not in form(APPLY, dataset)
    execute(APPLY, dataset, **given, when="batch", prefix="b", confirm=True)
    assert dataset.count("b_gender") == 0
    properties = form(COLLECT, dataset, ask=True)
    assert properties["states"]["view"]["label"].startswith("batch_0: completed, 10 of 10 done")
    execute(COLLECT, dataset)
    assert dataset.count_values("b_gender.outcome") == {"ok": 10}
    assert "collected" in form(COLLECT, dataset, ask=True)["states"]["view"]["label"]


@pytest.mark.parametrize("is_made", [True, False])
def test_a_batch_is_begun_once_though_the_server_fails(dataset: fo.Dataset, provider: Provider, is_made: bool) -> None:
    if is_made:
        provider.told = lambda _: LOST
    else:
        provider.fail_create = 1
    assert submit(dataset, provider).batches == ("batch_0",)
    assert (list(provider.batches), list(provider.files)) == (["batch_0"], ["file-0"])
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 10}


def test_a_submission_that_fails_halfway_pays_for_nothing_twice(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    provider.told = lambda made: LOST if made["id"] == "batch_1" else made
    with pytest.raises(ModelError, match="HTTP 502: bad gateway"):
        submit(dataset, provider, remote=Remote(attempts=1))
    record = runs.read(dataset, "facevlm_batch_b")
    assert (record["status"], record["batches"]) == ("stopped", ["batch_0"])
    assert [b["metadata"]["facevlm"] for b in provider.batches.values()] == [f"{record['mark']}-{n}" for n in (0, 1)]
    with pytest.raises(FieldError, match="not collected yet"):
        submit(dataset, provider)
    assert [state.id for state in batch_task.status(dataset)] == ["batch_0", "batch_1"]
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 8}
    assert submit(dataset, provider).faces == 2
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 2}
    assert len(provider.asked) == 10


@pytest.mark.kill
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_while_a_batch_begins(
    dataset: fo.Dataset, provider: Provider, ended_by: signal.Signals
) -> None:
    process = warm.start(STEP, dataset.name, "submit", provider.base_url)

    def end(made: dict[str, Any]) -> dict[str, Any]:
        os.kill(process.pid, ended_by)
        # It must not hear of the batch.
        process.wait(PATIENCE)
        return made

    provider.told = end
    assert process.wait(PATIENCE) != 0
    dataset.reload()
    assert runs.read(dataset, "facevlm_batch_b")["batches"] == []
    assert [state.id for state in batch_task.status(dataset)] == ["batch_0"]
    assert batch_task.collect(dataset).outcomes == {"gender": {"ok": 10}}
    assert len(provider.asked) == 10


def test_a_batch_that_is_not_let_in_fails_every_face_with_the_reason(dataset: fo.Dataset, provider: Provider) -> None:
    provider.ready = False
    submit(dataset, provider)
    provider.refuse("batch_0", "Enqueued token limit reached")
    assert batch_task.collect(dataset).outcomes["gender"] == {"failed": 10}
    assert set(dataset.values("b_age5.reason")) == {
        "the batch is failed and has no answer: Enqueued token limit reached"
    }
    provider.ready = True
    assert submit(dataset, provider).faces == 10


def test_no_failure_takes_the_place_of_an_answer(dataset: fo.Dataset, provider: Provider) -> None:
    provider.answer, provider.fate = (lambda body: None), "expired"
    submit(dataset, provider)
    facevlm.apply(dataset, "openai:m", ["gender"], prefix="b", base_url=provider.base_url, progress=False)
    given = dataset.values("b_gender.label")
    result = batch_task.collect(dataset)
    # Asked at once meanwhile, or known before, while the other attribute was still to ask.
    assert (result.outcomes, result.kept) == ({"age5": {"failed": 10}}, 10)
    assert dataset.values("b_gender.label") == given == ["Male", "Female"] * 5
    assert submit(dataset, provider).faces == 10
    assert batch_task.collect(dataset).kept == 10
    assert runs.read(dataset, "facevlm_b")["outcomes"] == {"gender": {"ok": 10}, "age5": {"failed": 10}}


def test_an_unreadable_picture_keeps_the_answers_that_it_has(
    dataset: fo.Dataset, provider: Provider, pictures: list[str]
) -> None:
    batch_task.submit(dataset, "openai:m", ["gender"], prefix="b", progress=False, base_url=provider.base_url)
    batch_task.collect(dataset)
    Path(pictures[0]).write_bytes(b"no picture")
    assert submit(dataset, provider).unread == 1
    assert dataset.count_values("b_gender.outcome") == {"ok": 10}
    assert dataset.first().b_age5.outcome == "failed"


def test_answers_that_are_no_longer_there_do_not_block(dataset: fo.Dataset, provider: Provider) -> None:
    submit(dataset, provider)
    [state] = batch_task.status(dataset)
    provider.gone = {str(state.output_file)}
    result = batch_task.collect(dataset)
    assert (result.collected, result.outcomes["gender"]) == (1, {"failed": 10})
    assert "has that file no more (HTTP 404: No such File object" in dataset.first().b_gender.reason
    # Without the requests, too, nobody can be named; all can be asked again.
    assert submit(dataset, provider).faces == 10
    [again] = [state for state in batch_task.status(dataset) if state.id != "batch_0"]
    provider.gone = {str(again.output_file), again.input_file}
    result = batch_task.collect(dataset)
    assert (result.collected, result.waiting, result.outcomes) == (1, 0, {})
    assert "can be asked again" in next(iter(result.reasons))
    assert submit(dataset, provider).faces == 10
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 10}


def test_programs_are_told_of_batches_too(dataset: fo.Dataset, provider: Provider, tmp_path: Path) -> None:
    submit(dataset, provider)
    told = {}
    for step in ("status", "collect"):
        assert cli.main(["batch", step, dataset.name, "--json", str(tmp_path / step)]) == 0
        told[step] = json.loads((tmp_path / step).read_text())
    [batch] = told["status"]
    assert (batch["id"], batch["total"], batch["collected"]) == ("batch_0", 10, False)
    assert (told["collect"]["collected"], told["collect"]["outcomes"]["gender"]) == (1, {"ok": 10})


@pytest.mark.parametrize("listing", [PAGE, {"data": [{"name": "x"}]}])
def test_a_server_that_answers_something_else_is_said(dataset: fo.Dataset, provider: Provider, listing: Any) -> None:
    provider.listing = listing
    with pytest.raises(ModelError, match="something else that is no batch, expected a Batch API"):
        submit(dataset, provider)
    assert provider.files == {}


@pytest.mark.process
def test_what_another_process_collects_during_a_submission_is_counted_once(
    dataset: fo.Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    remote = Remote(base_url=provider.base_url)
    told = Settings(options=Options(remote=remote))
    work = batch_task.SubmitRun(ApplyRun(dataset, "openai:m", NAMES, prefix="b", settings=told), "openai:m", remote)
    assert work.begin(lambda _: True)
    for _ in work.steps():
        if len(work.result().batches) == 1 and not runs.read(dataset, work.batch_key)["collected"]:
            warm.run(STEP, dataset.name, "collect", check=True)
    record = runs.read(dataset, work.batch_key)
    assert (record["batches"], record["collected"]) == (["batch_0", "batch_1", "batch_2"], ["batch_0"])
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 6}
    assert runs.read(dataset, "facevlm_b")["spent"]["requests"] == 11
    assert dataset.count_values("b_gender.outcome") == {"ok": 10}


def test_requests_for_which_there_is_no_room_are_said_and_can_be_handed_in_later(
    dataset: fo.Dataset, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as change:
        change.setattr(tempfile, "tempdir", str(tmp_path / "no"))
        with pytest.raises(InputError, match=r"Cannot write the requests of a batch .* name another folder by TMPDIR"):
            submit(dataset, provider)
    assert batch_task.collect(dataset).collected == 0
    assert submit(dataset, provider).faces == 10
