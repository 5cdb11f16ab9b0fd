"""A dry run of any command says what would be done, with no key and no server, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import pytest

from facevlm import cli
from facevlm.tasks import sources
from tests.servers.server import Act, running

Run = Callable[..., tuple[int, str, str]]
COMMANDS = ("apply", "describe", "sensitivity", "probe", "batch submit")
HERE = ("apply", "sensitivity", "probe")
"""Those that a model on this machine does, too."""


@pytest.fixture
def dataset(dataset_name: str) -> fo.Dataset:
    return sources.sample_faces(dataset_name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def started(command: str, *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([*command.split(), *arguments, "--attributes", "gender", "--dry-run"])
        return status, *capsys.readouterr()

    return started


def state(dataset: fo.Dataset) -> list[Any]:
    dataset.reload()
    stored = list(dataset._sample_collection.find())
    return [stored, list(dataset.get_field_schema(flat=True)), dataset.list_runs(), dataset.list_saved_views()]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_key_is_needed(dataset: fo.Dataset, run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    before = state(dataset)
    status, out, said = run(command, dataset.name, "--model", "gpt-4o-mini")
    assert (status, out) == (0, ""), said
    assert "pictures" in said
    assert "api.openai.com (a remote service)" in said
    assert "$" in said
    assert state(dataset) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_no_server_is_asked(dataset: fo.Dataset, run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("FACEVLM_API_KEY", "sk-none")
    before = state(dataset)
    with running(lambda request: Act({"error": "not to be asked"}, 500)) as server:
        status, out, said = run(command, dataset.name, "--model", "openai:m", "--base-url", server.base_url)
        assert server.served == 0
    assert (status, out) == (0, ""), said
    assert "on this machine or network" in said
    assert state(dataset) == before


@pytest.mark.parametrize("command", HERE)
def test_a_model_that_runs_here_is_not_asked(dataset: fo.Dataset, run: Run, command: str) -> None:
    before = state(dataset)
    status, out, said = run(command, dataset.name, "--model", "demo")
    assert (status, out) == (0, "")
    assert "to be asked about; no picture leaves this process." in said
    assert state(dataset) == before


def test_no_faces_are_found_for_it(dataset: fo.Dataset, run: Run) -> None:
    before = state(dataset)
    status, out, _ = run("apply", dataset.name, "--model", "demo", "--detect")
    assert status == 0
    assert "found first, in up to 96 pictures, for the field 'faces'" in out
    assert state(dataset) == before
    dataset.delete_samples(dataset.skip(2))
    cli.main(["apply", dataset.name, "--model", "demo", "--attributes", "gender"])
    before = state(dataset)
    assert run("apply", dataset.name, "--model", "demo") == (
        0,
        "",
        "0 faces to be asked about; no picture leaves this process.\n",
    )
    assert state(dataset) == before
