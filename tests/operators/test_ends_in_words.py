"""Every run from the App ends in its prompt, whatever went wrong; called from Python or scheduled, it raises."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor, execute_or_delegate_operator

from facevlm import backends
from facevlm.store import runs
from facevlm.tasks import _running
from facevlm.tasks import sources as sources_task
from tests.servers.server import Act, after_probe, completion, running

URI = "@facevlm/face-attributes/"
APPLY, STOP = URI + "apply_vlm_face_attributes", URI + "stop_face_attribute_runs"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


def sent(uri: str, dataset: fo.Dataset, on_step: Callable[[Any], object] = lambda step: None, **params: Any) -> Any:
    """What a run sends to the App, which asks for it as its browser does; all that is sent, last first."""
    request = {"dataset_name": dataset.name, "operator_uri": uri, "params": params, "view": []}
    context = ExecutionContext(request, executor=Executor(), operator_uri=uri)
    steps = []
    for step in foo.get_operator(uri).execute(context):
        steps.append(step.to_json())
        on_step(steps[-1])
    return steps


def shown(steps: list[Any]) -> tuple[str, dict[str, Any]]:
    """Title and fields of the output in the prompt that is shown last."""
    output = steps[-1]["body"]["params"]["outputs"]
    return output["view"]["label"], {name: p["view"] for name, p in output["type"]["properties"].items()}


def failed(steps: list[Any]) -> dict[str, Any]:
    title, fields = shown(steps)
    assert title.endswith(": not done")
    json.dumps(steps)
    view: dict[str, Any] = fields["error"]
    assert view["name"] == "Error"
    return view


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("apply_vlm_face_attributes", {"model": "other", "checkpoint": "/no/such", "ask_gender": True}, "/no/such"),
    ("apply_vlm_face_attributes", {"model": "demo", "ask_gender": True, "prefix": "age"}, "age"),
    ("ask_about_faces", {"request": "gender of the child", "faces": "nowhere"}, "nowhere"),
    ("collect_face_attribute_batches", {}, "batch"),
    ("describe_people", {"model": "gpt-4o", "ask_gender": True}, "No key"),
    ("detect_faces", {"detector": "yunet", "weights": "/no/such.onnx"}, "no/such.onnx"),
    ("evaluate_face_attributes", {}, "holds no predictions"),
    ("write_face_attribute_report", {}, "holds no evaluation"),
    ("stop_face_attribute_runs", {}, "No run is under way"),
    ("load_face_dataset", {"data": "utkface", "data_folder": "/no/such"}, "'/no/such' is not there"),
    ("check_face_dataset", {"fields": ["nowhere"]}, "Field 'nowhere' is not there"),
    ("compare_face_attribute_runs", {}, "Two runs are needed to compare"),
    ("measure_wording_sensitivity", {"model": "other", "checkpoint": "/no/such", "ask_gender": True}, "/no/such"),
    ("plan_number_of_faces", {"base_rate": 85}, "such as 0.85 for 85 %"),
    (
        "train_face_attribute_model",
        {"model": "other", "checkpoint": "/no/such", "attributes": ["gender"], "folder": "/tmp/tuned"},
        "/no/such",
    ),
    ("try_on_one_face", {"model": "other", "checkpoint": "/no/such", "ask_gender": True}, "/no/such"),
]
MENU = "face_attributes_menu"
"""Takes no parameter, and opens the forms of the others."""


@pytest.mark.parametrize(("name", "params", "said"), BAD, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(BAD)])
def test_what_is_wrong_is_said_in_the_prompt(
    faces: fo.Dataset, monkeypatch: pytest.MonkeyPatch, name: str, params: dict[str, Any], said: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    faces.add_sample_field("age_gender", fo.StringField)
    assert said in failed(sent(URI + name, faces, **params))["label"].replace("\\", "")


def test_every_operator_has_a_failing_run_above() -> None:
    uris = {
        o.uri
        for o in foo.list_operators(builtin=False, type="operator")
        if o.uri.startswith(URI) and not o.config.unlisted
    }
    assert uris == {URI + name for name, _, _ in BAD}


def test_models_are_let_go_of_some_time_after_a_run_in_the_app(faces: fo.Dataset) -> None:
    before = backends._idle
    sent(STOP, faces)
    counting = backends._idle
    assert counting is not None
    assert counting is not before
    assert counting.function is backends.unload
    assert counting.interval == backends.IDLE_SECONDS


def test_a_server_that_says_no_in_the_midst(faces: fo.Dataset) -> None:
    good = iter([Act(completion('{"gender": "Male"}'))] * 12)
    bad = Act({"error": {"message": "the quota of this account is used up", "code": "insufficient_quota"}}, 429)
    with running(after_probe(lambda request: next(good, bad))) as server:
        params: dict[str, Any] = {
            "model": "api",
            "api_model": "m",
            "base_url": server.base_url,
            "concurrency": 1,
            "prefix": "x",
        }
        steps = sent(APPLY, faces, ask_gender=True, **params)
    view = failed(steps)
    assert "quota" in view["label"]
    faces.reload()
    kept = faces.count("x_gender")
    assert kept
    assert f"Done before, and kept: {kept} of 96 faces" in view["description"]
    assert [s["body"]["operator_uri"] for s in steps[-2:]] == ["reload_dataset", "show_output"]
    record = runs.read(faces, "facevlm_x")
    assert record["status"] == "stopped"
    assert "quota" in record["error"]


def test_an_error_that_is_not_ours_is_named_and_logged(
    faces: fo.Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("ratio of\x1b nothing")

    monkeypatch.setattr("facevlm.store.runs.prefixes", broken)
    with caplog.at_level(logging.WARNING, "facevlm"):
        assert "ZeroDivisionError" in failed(sent(URI + MENU, faces))["label"]
        view = failed(sent(URI + "evaluate_face_attributes", faces))
    assert "ZeroDivisionError: ratio of\\\\x1b nothing" in view["label"]
    assert any(r.exc_info and r.exc_info[0] is ZeroDivisionError for r in caplog.records)


def test_a_form_that_cannot_be_made_says_why(faces: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("ratio of nothing")

    monkeypatch.setattr("facevlm.store.runs.prefixes", broken)
    for name in ("evaluate_face_attributes", "compare_face_attribute_runs", MENU):
        uri = URI + name
        form = foo.get_operator(uri).resolve_input(ExecutionContext({"dataset_name": faces.name}, operator_uri=uri))
        found = form.to_json()["type"]["properties"]["broken"]
        assert found["invalid"]
        assert "ZeroDivisionError: ratio of nothing" in found["error_message"]


def test_called_from_python_it_raises(faces: fo.Dataset) -> None:
    params = {"model": "other", "checkpoint": "/no/such", "ask_gender": True}
    with pytest.raises(ExecutionError, match="/no/such"):
        foo.execute_operator(APPLY, ctx={"dataset": faces, "params": params})


def headless(dataset: fo.Dataset, **params: Any) -> Any:
    """A run by a program that sends a dataset's name and parameters alone, as FiftyOne's MCP server does."""
    request = {"dataset_name": dataset.name, "params": params}
    result = asyncio.run(execute_or_delegate_operator(APPLY, request, exhaust=True))
    result.raise_exceptions()
    return result.result


def test_a_program_without_a_browser_gets_the_error_and_the_words(faces: fo.Dataset) -> None:
    with pytest.raises(ExecutionError, match="/no/such"):
        headless(faces, model="other", checkpoint="/no/such", ask_gender=True)
    told = headless(faces, ask_gender=True, prefix="x")
    assert told["title"] == "Predictions are stored"
    assert "96 faces asked" in told["summary"]
    done = foo.execute_operator(APPLY, ctx={"dataset": faces, "params": {"ask_gender": True, "prefix": "x"}})
    assert "all 96 faces have their answers" in done.result["summary"]


def test_a_run_is_stopped_by_another_operator_and_keeps_what_it_did(faces: fo.Dataset) -> None:
    said: list[Any] = []

    def stop_once(step: Any) -> None:
        if not said and " of 96 faces" in json.dumps(step):
            thread = threading.Thread(target=lambda: said.append(shown(sent(STOP, faces))))
            thread.start()
            thread.join()

    steps = sent(APPLY, faces, stop_once, ask_gender=True, prefix="x", batch_size=8)
    assert said[0][0] == "Told to stop"
    title, fields = shown(steps)
    assert title == "Apply VLM face attributes: stopped"
    faces.reload()
    kept = faces.count("x_gender")
    assert 0 < kept < 96
    assert f"Stopped at {kept} of 96 faces" in fields["error"]["label"]
    assert runs.read(faces, "facevlm_x")["status"] == "stopped"
    assert _running.jobs() == []
    assert shown(sent(APPLY, faces, ask_gender=True, prefix="x"))[0] == "Predictions are stored"
    faces.reload()
    assert faces.count("x_gender") == 96


def progress(steps: list[Any]) -> dict[str, dict[str, Any]]:
    """Of every progress with buttons, by its line: what the buttons are called and do."""
    found = {}
    for body in (step["body"] for step in steps if step["body"]["operator_uri"] == "show_output"):
        fields = body["params"]["outputs"]["type"]["properties"]
        if "progress" in fields:
            row = fields["what"]["type"]["properties"].values()
            buttons = {p["view"]["label"]: (p["view"]["operator"], p["view"]["params"]) for p in row}
            found[fields["progress"]["view"]["label"]] = buttons
    return found


def test_the_progress_says_counts_and_offers_to_stop(faces: fo.Dataset) -> None:
    steps = progress(sent(APPLY, faces, ask_gender=True, prefix="x", batch_size=32))
    assert "32 of 96 faces" in steps
    [(stop, run), (hide, same)] = (steps["32 of 96 faces"][name] for name in ("Stop", "Work on meanwhile"))
    assert (stop, hide) == (STOP, URI + "hide_face_attribute_run")
    assert run == same


def test_a_run_that_is_taken_out_of_the_way_tells_its_end_alone(faces: fo.Dataset) -> None:
    def hide_once(step: Any) -> None:
        for job in _running.jobs():
            context = ExecutionContext({"dataset_name": faces.name, "params": {"run": job.key}}, executor=Executor())
            foo.get_operator(URI + "hide_face_attribute_run").execute(context)

    steps = sent(APPLY, faces, hide_once, ask_gender=True, prefix="x", batch_size=32)
    assert list(progress(steps)) == ["32 of 96 faces"]
    assert [s["body"]["operator_uri"] for s in steps].count("console_log") == 2
    assert shown(steps)[0] == "Predictions are stored"
