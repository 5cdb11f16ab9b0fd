"""Describe people in pictures: the form, what it says about cost, and a run against a server that looks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext

from facevlm.tasks import sources as sources_task
from tests.servers.onlooker import Onlooker, text_of
from tests.servers.server import Server, running

DESCRIBE = "@facevlm/face-attributes/describe_people"
PICTURES, FACES = 8, 28


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path / "cache"))
    for name in [n for n in os.environ if n.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def groups() -> Iterator[fo.Dataset]:
    dataset = sources_task.sample_groups("test-describe-operator")
    yield dataset
    dataset.delete()


def form(dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=DESCRIBE)
    shape: dict[str, Any] = foo.get_operator(DESCRIBE).resolve_input(context).to_json()
    properties: dict[str, Any] = shape["type"]["properties"]
    json.dumps(properties)
    return properties


def errors(properties: dict[str, Any]) -> dict[str, str]:
    return {name: p["error_message"] for name, p in properties.items() if p.get("invalid")}


def at(base_url: str, **more: Any) -> dict[str, Any]:
    return {"model": "api", "api_model": "m", "base_url": base_url} | more


LOCAL = at("http://localhost:8000/v1")


def test_only_models_behind_an_api_are_offered(groups: fo.Dataset) -> None:
    offered = {c["value"] for c in form(groups)["model"]["view"]["choices"]}
    assert {"gpt-4o", "gemini-flash", "api"} <= offered
    assert "demo" not in offered
    assert "base_url" not in form(groups, model="api")
    assert "No key for api.openai.com" in errors(form(groups))["base_url"]


def test_the_form_follows_what_is_chosen(groups: fo.Dataset) -> None:
    shown = form(groups, **LOCAL)
    assert {"mark", "who", "faces", "free_hair", "free_action", "own_free", "attributes", "prefix"} <= set(shown)
    assert shown["faces"]["default"] == "faces"
    assert "samples" in shown
    assert "samples" not in form(groups, **LOCAL, mark="boxes")
    assert "none_chosen" in shown
    assert "briefing" not in shown
    found = form(groups, **LOCAL, faces="found", ask_gender=True, samples=3)
    assert not {"mark", "samples"} & set(found)
    assert errors(found) == {}
    assert "none_chosen" not in form(groups, **LOCAL, free_hair=True)


def test_the_form_says_where_pictures_go_and_asks_before_a_dear_run(
    groups: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = form(groups, **LOCAL, ask_gender=True)["briefing"]["view"]["label"]
    assert text.startswith(f"{PICTURES} pictures go to localhost:8000")
    assert "at most 1024 pixels" in text
    (tmp_path / "prices.yaml").write_text("date: 2031-01-01\nmodels: {m: {input: 5000, output: 100}}\n")
    monkeypatch.setenv("FACEVLM_PRICES", str(tmp_path / "prices.yaml"))
    assert errors(form(groups, **LOCAL, ask_gender=True)) == {"agreed": "Agree to the cost, or set a budget."}
    assert errors(form(groups, **LOCAL, ask_gender=True, agreed=True)) == {}


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"own_free": ["mood"]}, "own_free", "expected NAME: QUESTION"),
        ({"own_free": ["label: which?"]}, "own_free", "expected names of letters"),
        ({"who": "  ", "ask_gender": True}, "cost", "expected a phrase"),
        ({"prefix": "9 d"}, "prefix", "expected letters"),
        ({"base_url": "nowhere"}, "base_url", "expected an address"),
    ],
)
def test_the_form_validates(groups: fo.Dataset, params: dict[str, Any], where: str, said: str) -> None:
    assert said in errors(form(groups, **LOCAL | params))[where]


def test_questions_of_a_wording_of_ones_own_can_be_ticked(groups: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("describing: {free: {mood: 'what is the mood?'}}")
    shown = form(groups, **LOCAL, template=str(path), free_mood=True)
    assert shown["free_mood"]["view"]["description"] == "what is the mood?"
    assert "briefing" in shown
    assert errors(shown) == {}
    path.write_text("describing: {boxes: all}")
    shown = form(groups, **LOCAL, template=str(path))
    assert "'boxes' under 'describing': got 'all'" in errors(shown)["template"]
    assert "free_mood" not in shown
    assert "free_hair" in shown


@pytest.fixture
def server(groups: fo.Dataset) -> Iterator[Server]:
    with running(Onlooker.of(groups, ["gender"])) as started:
        yield started


def test_a_run_from_the_form(groups: fo.Dataset, server: Server) -> None:
    asked = {"ask_gender": True, "free_clothing": True, "own_free": ["hair: how long is it?"], "prefix": "d"}
    result = foo.execute_operator(DESCRIBE, ctx={"dataset": groups, "params": at(server.base_url, **asked)})
    assert result.error is None
    groups.reload()
    assert groups.count_values("d_people.outcome") == {"ok": PICTURES}
    assert groups.count("d_gender.detections.label") == FACES
    assert groups.count("d_people.detections.clothing") == FACES
    assert all("marked by frames with numbers" in text_of(request) for request in server.asked)
    assert all('"hair": how long is it?' in text_of(request) for request in server.asked)
    before = len(server.asked)
    foo.execute_operator(DESCRIBE, ctx={"dataset": groups, "params": at(server.base_url, **asked)})
    assert len(server.asked) == before == PICTURES
    foo.execute_operator(
        DESCRIBE,
        ctx={"dataset": groups, "params": at(server.base_url, **asked, mode="overwrite", mark="crops", samples=2)},
    )
    assert len(server.asked) == 3 * PICTURES
    assert "Each picture shows one face" in text_of(server.asked[-1])
