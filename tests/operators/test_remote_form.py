"""The form about models behind an API: server, key, cost, agreement; and a run from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError

from tests.servers.server import running

APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"
KEY = "sk-test-000011112222"


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path / "cache"))
    for name in [n for n in os.environ if n.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


def form(dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=APPLY)
    shape: dict[str, Any] = foo.get_operator(APPLY).resolve_input(context).to_json()
    properties: dict[str, Any] = shape["type"]["properties"]
    json.dumps(properties)
    return properties


def errors(properties: dict[str, Any]) -> dict[str, str]:
    return {name: p["error_message"] for name, p in properties.items() if p.get("invalid")}


def test_presets_and_any_other_model_are_offered(dataset: fo.Dataset) -> None:
    offered = {c["value"] for c in form(dataset)["model"]["view"]["choices"]}
    assert {"demo", "gpt-4o", "gpt-4o-mini", "gemini-flash", "api", "other"} <= offered
    assert "api_model" in form(dataset, model="api")
    assert "base_url" not in form(dataset, model="api")
    assert "base_url" in form(dataset, model="api", api_model="m")
    assert "base_url" not in form(dataset)


def test_a_missing_key_is_said_in_the_form(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No key for api.openai.com" in errors(form(dataset, model="gpt-4o"))["base_url"]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    shown = form(dataset, model="gpt-4o", ask_gender=True)
    assert errors(shown) == {}
    assert KEY not in json.dumps(shown)


def test_the_form_says_where_how_many_and_what_it_costs(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "briefing" not in form(dataset, model="gpt-4o")
    text = form(dataset, model="gpt-4o", ask_gender=True)["briefing"]["view"]["label"]
    assert text.startswith("10 pictures of faces go to api.openai.com (a remote service)")
    assert "about $0.01" in text
    local = form(dataset, model="api", api_model="m", base_url="http://localhost:8000/v1", ask_gender=True)
    assert "on this machine or network" in local["briefing"]["view"]["label"]
    assert "at no price" in local["briefing"]["view"]["label"]


def test_a_dear_run_is_agreed_to_or_has_a_budget(
    dataset: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.yaml").write_text("date: 2031-01-01\nmodels: {m: {input: 5000, output: 100}}\n")
    monkeypatch.setenv("FACEVLM_PRICES", str(tmp_path / "prices.yaml"))
    with running() as server:
        dear = {"model": "api", "api_model": "m", "base_url": server.base_url, "ask_gender": True}
        assert errors(form(dataset, **dear)) == {"agreed": "Agree to the cost, or set a budget."}
        assert errors(form(dataset, **dear, agreed=True)) == {}
        assert errors(form(dataset, **dear, budget=1.0)) == {}
        with pytest.raises(ExecutionError, match="Agree to the cost, or set a budget"):
            foo.execute_operator(APPLY, ctx={"dataset": dataset, "params": dear})
        assert server.served == 0
        foo.execute_operator(APPLY, ctx={"dataset": dataset, "params": {**dear, "agreed": True}})
    dataset.reload()
    assert dataset.count("m_gender.label") == 10


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"base_url": "nowhere"}, "base_url", "expected an address"),
        ({"base_url": "http://me:pw@localhost/v1"}, "base_url", "expected the bare address"),
        ({"concurrency": 0}, "concurrency", "concurrency=0"),
        ({"budget": -1}, "concurrency", "budget=-1"),
        ({"base_url": "https://models.example/v1", "budget": 1.0, "ask_gender": True}, "cost", "no price is known"),
        ({"base_url": "https://other.example/v1"}, "base_url", "FACEVLM_KEYS='NAME=https://other.example/v1'"),
    ],
)
def test_the_form_validates(
    dataset: fo.Dataset, params: dict[str, Any], where: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_KEYS", "MINE=https://models.example/v1")
    shown = errors(form(dataset, model="api", api_model="m", **params))
    assert said in shown[where]
    assert "pw" not in json.dumps(shown)


def test_a_run_from_the_form(dataset: fo.Dataset) -> None:
    with running() as server:
        params = {"model": "api", "api_model": "m", "base_url": server.base_url, "ask_gender": True, "concurrency": 3}
        foo.execute_operator(APPLY, ctx={"dataset": dataset, "params": params})
        assert server.most_in_flight <= 3
    dataset.reload()
    assert dataset.count_values("m_gender.outcome") == {"ok": 10}


def test_the_key_comes_from_the_apps_secrets_and_is_stored_nowhere(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    with running() as server:
        monkeypatch.setenv("FACEVLM_KEYS", f"FACEVLM_API_KEY={server.base_url}")
        params = {"model": "api", "api_model": "m", "base_url": server.base_url, "ask_gender": True}
        foo.execute_operator(APPLY, ctx={"dataset": dataset, "params": params})
        assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}
    dataset.reload()
    assert KEY not in dataset.get_run_info("facevlm_m").config.to_str()
    assert KEY not in json.dumps(form(dataset, **params))


def test_an_own_attribute_that_is_half_filled_in_breaks_nothing(dataset: fo.Dataset) -> None:
    shown = form(dataset, model="api", api_model="m", base_url="http://localhost:1/v1", own=True, own_name="x")
    assert "cost" in errors(shown)
