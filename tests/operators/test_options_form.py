"""What a model and a service can be told stands in the forms, made from the one table, and reaches the run."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.backends import Options, Remote
from facevlm.backends.options import described
from tests.operators.test_operators import APPLY, errors, execute, form
from tests.servers.server import running

DESCRIBE = "@facevlm/face-attributes/describe_people"
UNOFFERED = {"trust_remote_code", "prices"}
"""One is asked beside a checkpoint of the user's own; the other names a file of the App's machine."""


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


def test_every_option_of_a_local_model_is_behind_a_box_to_tick(dataset: fo.Dataset) -> None:
    names = {row.name for row in described(Options)} - UNOFFERED
    assert not names & set(form(APPLY, dataset))
    shown = form(APPLY, dataset, loading=True)
    assert names <= set(shown)
    for row in described(Options):
        if row.name in names:
            view = shown[row.name]["view"]
            assert (view["label"], view["description"]) == (row.title, row.text)
    assert "Got memory_gb=0, expected" in errors(form(APPLY, dataset, loading=True, memory_gb=0))["loading"]


def test_every_option_of_a_service_is_there_or_behind_a_box(dataset: fo.Dataset) -> None:
    names = {row.name for row in described(Remote)} - UNOFFERED
    chosen = {"model": "api", "api_model": "m", "base_url": "http://localhost:1/v1"}
    assert names <= set(form(APPLY, dataset, **chosen, more=True))
    few = set(form(APPLY, dataset, **chosen))
    assert {"base_url", "key_name", "concurrency", "samples", "budget", "template"} <= few
    assert "attempts" not in few
    assert "Got attempts=0, expected" in errors(form(APPLY, dataset, **chosen, more=True, attempts=0))["concurrency"]
    assert form(DESCRIBE, dataset, **chosen, more=True)["max_side"]["default"] == 1024


def test_several_servers_stand_in_one_field(dataset: fo.Dataset, own_cache: Path) -> None:
    with running() as one, running() as two:
        told = {"model": "api", "api_model": "m", "prefix": "r", "ask_gender": True}
        both = {"base_url": f"{one.base_url}, {two.base_url}"}
        assert errors(form(APPLY, dataset, **told, **both)) == {}
        execute(APPLY, dataset, **told, **both)
        assert len(one.asked) + len(two.asked) == 10
        wrong = {"base_url": f"{one.base_url} http://evil.example.com/v1"}
        assert "asks no server at evil.example.com" in errors(form(APPLY, dataset, **told, **wrong))["base_url"]
    service = dataset.get_run_info("facevlm_r").config.backend["service"]
    assert service["host"] == f"127.0.0.1:{one.port}, 127.0.0.1:{two.port}"


def test_what_the_form_says_reaches_the_run(dataset: fo.Dataset, own_cache: Path) -> None:
    execute(APPLY, dataset, ask_gender=True, device="cpu", dtype="float32", batch_size=3)
    record = dataset.get_run_info("facevlm_demo").config
    assert (record.backend["device"], record.backend["dtype"], record.batch_size) == ("cpu", "float32", 3)
    with running() as server:
        told = {"model": "api", "api_model": "m", "base_url": server.base_url, "max_side": 64, "order": "reversed"}
        execute(APPLY, dataset, ask_gender=True, prefix="r", **told)
        assert len(server.asked) == 10
    service = dataset.get_run_info("facevlm_r").config.backend["service"]
    assert (service["max_side"], service["order"]) == (64, "reversed")
