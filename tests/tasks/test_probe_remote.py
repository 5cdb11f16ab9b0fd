"""probe and sensitivity with a model behind an API: said where pictures go, asked at the server that was named."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import fiftyone as fo
import pytest

import facevlm
from facevlm import cli
from facevlm.backends import Options, Remote
from tests.servers.server import Act, Request, after_probe, completion, running


def test_probe_tallies_what_a_server_answers(
    dataset_name: str, pictures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = fo.Dataset(dataset_name)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)

    def answer(request: Request) -> Act:
        said = "Male" if request.level < 100 else "a woman" if request.level < 180 else "female"
        return Act(completion(json.dumps({"gender": said})))

    with running(after_probe(answer)) as server, caplog.at_level(logging.INFO, "facevlm"):
        options = Options(remote=Remote(base_url=server.base_url))
        [result] = facevlm.probe(made, "openai:m", ["gender"], options=options)
    assert {a.text: (a.count, a.label, a.proposal) for a in result.answers} == {
        "Male": (5, "Male", None),
        "a woman": (4, None, "Female"),
        "female": (1, "Female", None),
    }
    assert result.readable == 0.6
    assert "10 pictures of faces go to" in caplog.text
    assert made.list_runs() == []


def test_sensitivity_asks_every_wording_at_the_named_server(
    dataset_name: str, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    question = ["--model", "openai:m", "--attributes", "gender", "--paraphrase", "gender=man or woman?"]
    with running() as server:
        assert cli.main(["sensitivity", dataset_name, *question, "--base-url", server.base_url]) == 0
        words = {r.body["messages"][-1]["content"][1]["text"].count("man or woman?") for r in server.asked}
    assert words == {0, 1}
    assert len(server.asked) == 20
    assert "gender" in capsys.readouterr().out
    made.reload()
    assert made.count("m_words_w1_gender.label") == 10


def test_the_command_line_probes_the_named_server(
    dataset_name: str, pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    path = tmp_path / "probe.json"
    with running() as server:
        arguments = [
            "--model",
            "openai:m",
            "--attributes",
            "gender",
            "--base-url",
            server.base_url,
            "--json",
            str(path),
        ]
        assert cli.main(["probe", dataset_name, *arguments]) == 0
    [data] = json.loads(path.read_text(encoding="utf-8"))
    assert (data["n"], data["readable"]) == (10, 1.0)
    assert "100% of 10 answers are read as a label." in capsys.readouterr().out
