"""facevlm probe with a model behind an API: said where pictures go, tallied, nothing stored."""

from __future__ import annotations

import json
import logging

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends import Options, Remote
from tests.remote.server import Act, Request, after_probe, completion, running


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
