"""Scheduled runs as a form tells of them: waiting, under way, ended, failed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.core.odm import get_db_conn
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionProgress, ExecutionResult, ExecutionRunState

from facevlm.store import runs
from facevlm.tasks import sources as sources_task
from tests.datasets import layouts
from tests.operators.test_ends_in_words import BAD, URI
from tests.operators.test_operators import APPLY, EVALUATE, form
from tests.servers import warm
from tests.servers.server import Act, completion, running
from tests.waiting import until


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def service() -> Iterator[DelegatedOperationService]:
    service = DelegatedOperationService()
    yield service
    for run in service.list_operations():
        service.delete_operation(run.id)


def queue(service: DelegatedOperationService, dataset: fo.Dataset, uri: str, **params: Any) -> Any:
    context = ExecutionContext({"dataset_name": dataset.name, "params": params, "delegated": True}, operator_uri=uri)
    return service.queue_operation(operator=uri, context=context)


def said(dataset: fo.Dataset, uri: str = APPLY) -> str:
    return str(form(uri, dataset).get("scheduled", {}).get("view", {}).get("label", ""))


def test_a_form_tells_of_a_scheduled_run_from_the_queue_to_its_end(
    faces: fo.Dataset, service: DelegatedOperationService
) -> None:
    assert said(faces) == ""
    run = queue(service, faces, APPLY, ask_gender=True)
    assert said(faces) == "A scheduled run, 'Apply VLM face attributes', was queued 1 s ago."
    earlier = {"$set": {"queued_at": run.queued_at - timedelta(minutes=3)}}
    get_db_conn()["delegated_ops"].update_one({"_id": run.id}, earlier)
    assert "queued 3 min ago. Nothing begins it: run" in said(faces)
    assert "fiftyone delegated launch" in said(faces)
    service.set_running(run.id)
    service.set_progress(run.id, ExecutionProgress(0.3, "30 of 96 faces"))
    assert said(faces).endswith("is under way: 30 of 96 faces.")
    service.set_completed(run.id, ExecutionResult())
    assert "ended 1 s ago: 30 of 96 faces" in said(faces)
    long_ago = {"$set": {"completed_at": run.queued_at - timedelta(days=2)}}
    get_db_conn()["delegated_ops"].update_one({"_id": run.id}, long_ago)
    assert said(faces) == ""


def test_a_scheduled_run_is_carried_out_and_its_end_told(faces: fo.Dataset, service: DelegatedOperationService) -> None:
    queue(service, faces, APPLY, ask_gender=True)
    service.execute_queued_operations(limit=1, log=False)
    faces.reload()
    assert faces.count_values("demo_gender.outcome") == {"ok": 96}
    assert "ended" in said(faces, EVALUATE)
    assert "96 of 96 faces" in said(faces, EVALUATE)


def test_a_scheduled_run_that_fails_says_why_in_the_next_form(
    faces: fo.Dataset, service: DelegatedOperationService
) -> None:
    queue(service, faces, EVALUATE)
    service.execute_queued_operations(limit=1, log=False)
    assert "The last scheduled run, 'Evaluate face attributes against ground truth', failed" in said(faces)
    assert "holds no predictions" in said(faces)


AT_ONCE = {"plan_number_of_faces", "stop_face_attribute_runs", "try_on_one_face"}
"""Operators that are never scheduled."""
SCHEDULED = [row for row in BAD if row[0] not in AT_ONCE]


def test_just_these_run_at_once_alone() -> None:
    names = {name for name, _, _ in BAD}
    assert {n for n in names if not foo.get_operator(URI + n).config.allow_delegated_execution} == AT_ONCE


@pytest.mark.parametrize(
    ("name", "params", "reason"), SCHEDULED, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(SCHEDULED)]
)
def test_every_scheduled_run_that_fails_says_why(
    faces: fo.Dataset, service: DelegatedOperationService, name: str, params: dict[str, Any], reason: str
) -> None:
    faces.add_sample_field("age_gender", fo.StringField)
    queue(service, faces, URI + name, **params)
    service.execute_queued_operations(limit=1, log=False)
    assert reason in said(faces)


def test_every_verb_is_carried_out_when_scheduled(
    faces: fo.Dataset, service: DelegatedOperationService, tmp_path: Path
) -> None:
    """One after another, each on what the ones before it left."""
    faces.delete_samples(faces.skip(16))
    name = f"{faces.name}-loaded"
    layouts.picture(tmp_path / "Female" / "0.png")
    loaded = {"data": "folders", "data_folder": str(tmp_path), "option_attribute": "gender", "dataset_name": name}
    done: list[tuple[str, dict[str, Any]]] = [
        ("check_face_dataset", {}),
        ("apply_vlm_face_attributes", {"ask_gender": True, "prefix": "one"}),
        (
            "apply_vlm_face_attributes",
            {"ask_gender": True, "prefix": "two", "worded": True, "wording_of_gender": "Man or woman?"},
        ),
        ("evaluate_face_attributes", {"prefix": "one"}),
        ("compare_face_attribute_runs", {"prefixes": ["one", "two"]}),
        ("measure_wording_sensitivity", {"ask_gender": True, "paraphrases": 1}),
        ("write_face_attribute_report", {"out": str(tmp_path / "report")}),
        ("detect_faces", {"detector": "haar"}),
        ("load_face_dataset", loaded),
    ]
    ends = {}
    try:
        for verb, params in done:
            run = queue(service, faces, URI + verb, **params)
            service.execute_queued_operations(limit=1, log=False)
            ends[verb, str(params)] = str(service.get(run.id).run_state), said(faces)
    finally:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
    assert {key: end for key, end in ends.items() if end[0] != ExecutionRunState.COMPLETED} == {}


ANSWER = completion('{"gender": "Male"}')
PEOPLE = completion('{"people": [{"gender": "Male", "box_2d": [100, 100, 500, 500]}]}')


@pytest.mark.process
@pytest.mark.parametrize(
    ("verb", "number"),
    [
        ("apply_vlm_face_attributes", signal.SIGINT),
        ("apply_vlm_face_attributes", signal.SIGTERM),
        ("describe_people", signal.SIGTERM),
        ("measure_wording_sensitivity", signal.SIGTERM),
    ],
)
def test_a_scheduled_run_that_a_signal_stops_keeps_its_answers_and_says_so(
    faces: fo.Dataset, service: DelegatedOperationService, verb: str, number: int
) -> None:
    body = PEOPLE if verb == "describe_people" else ANSWER
    good = iter([Act(body)] * 24)
    with running(lambda request: next(good, Act(hang=True))) as server:
        remote = {"model": "api", "api_model": "m", "base_url": server.base_url, "concurrency": 4, "agreed": True}
        queue(service, faces, URI + verb, ask_gender=True, **remote)
        code = "from fiftyone.operators.delegated import DelegatedOperationService as S\n"
        code += "S().execute_queued_operations(limit=1, log=False)"
        process = warm.start(code)
        until(lambda: server.served > 24, "a part is answered, and more is asked")
        process.send_signal(number)
        process.communicate(timeout=60)
    faces.reload()
    (stopped,) = (key for key in faces.list_runs() if runs.read(faces, key).get("status") == "stopped")
    record = runs.read(faces, stopped)
    assert 8 <= sum(record["outcomes"]["gender"].values()) <= 24
    assert faces.count(f"{record['prefix']}_{'people' if verb == 'describe_people' else 'gender'}.run") >= 8
    assert "failed" in said(faces)
    assert "Stopped by a signal; what it did is kept. The same run goes on from there." in said(faces)


def test_runs_of_other_plugins_are_not_told(faces: fo.Dataset, service: DelegatedOperationService) -> None:
    run = queue(service, faces, "@voxel51/operators/clone_sample_field")
    assert run.run_state == ExecutionRunState.QUEUED
    assert said(faces) == ""
