"""Requests that the grammar cannot read, read by a chat model behind real HTTP, which sees no picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import cli
from facevlm.errors import FacevlmError, InputError, ModelError
from facevlm.language.phrases import Condition
from facevlm.tasks import ask as ask_task
from facevlm.tasks import sources as sources_task
from tests.servers.server import Act, Request, Server, completion, obedient, running

ODD = "kindly tell me how the ladies feel"
PLAN = {
    "attributes": ["emotion7"],
    "conditions": [{"attribute": "gender", "labels": ["Female"]}],
    "place": "none",
    "who": "",
    "readable": True,
}


class Planner:
    """A server that answers with a plan, or with whatever it is told."""

    def __init__(self) -> None:
        self.said: Any = PLAN

    def __call__(self, request: Request) -> Act:
        if request.is_probe:
            return obedient(request)
        said = self.said
        return Act(completion(said if isinstance(said, str) else json.dumps(said)))


@pytest.fixture
def planner() -> Planner:
    return Planner()


@pytest.fixture
def server(planner: Planner) -> Iterator[Server]:
    with running(planner) as started:
        yield started


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


def plan(groups: fo.Dataset, server: Server, request: str = ODD) -> ask_task.Proposal:
    return ask_task.plan(groups, request, planner="openai:m", base_url=server.base_url)


def test_a_request_that_the_grammar_cannot_read_is_read_and_done(groups: fo.Dataset, server: Server) -> None:
    with pytest.raises(InputError):
        ask_task.plan(groups, ODD)
    proposal = plan(groups, server)
    assert proposal.plan.attributes == ("emotion7",)
    assert proposal.plan.conditions == (Condition("gender", ("Female",)),)
    assert "Read by openai:m, which saw the words alone." in proposal.text
    [asked] = server.asked
    assert ODD in json.dumps(asked.body["messages"])
    assert "image_url" not in json.dumps(asked.body)
    properties = asked.body["response_format"]["json_schema"]["schema"]["properties"]
    assert properties["attributes"]["items"]["enum"] == ["gender", "race5", "age5", "emotion7"]
    result = facevlm.ask(groups, ODD, planner="openai:m", base_url=server.base_url, device="cpu", progress=False)
    # What was planned is what is done: the plan is kept, and not asked for again.
    assert (result.plan, server.asked) == (proposal.plan, [asked])
    women = {d.face for s in groups for d in s.demo_gender.detections if d.label == "Female"}
    assert set(result.faces) == women
    assert result.applied is not None
    assert result.applied.outcomes["emotion7"] == {"ok": len(women)}


def test_what_the_grammar_reads_is_not_sent(groups: fo.Dataset, server: Server) -> None:
    assert plan(groups, server, "emotion of the women").plan.attributes == ("emotion7",)
    for request in ("who is this", ""):
        with pytest.raises(InputError):
            plan(groups, server, request)
    assert server.requests == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"place": "leftmost"}, "leftmost"),
        ({"conditions": [], "who": "  person  wearing glasses "}, "a model decides that sees the whole picture"),
    ],
)
def test_places_and_phrases(
    groups: fo.Dataset, planner: Planner, server: Server, said: dict[str, Any], expected: str
) -> None:
    planner.said = PLAN | said
    proposal = ask_task.plan(groups, ODD, planner="openai:m", base_url=server.base_url, grounding="openai:m")
    assert expected in proposal.text
    assert proposal.plan.who == ("person wearing glasses" if "who" in said else None)


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (PLAN | {"readable": False}, InputError, "cannot read"),
        (PLAN | {"attributes": ["income"]}, InputError, "the attribute 'income'"),
        (PLAN | {"conditions": [{"attribute": "gender", "labels": ["Robot"]}]}, InputError, "of gender"),
        (PLAN | {"conditions": [{"attribute": "mood", "labels": ["happy"]}]}, InputError, "a condition on 'mood'"),
        (PLAN | {"conditions": "women"}, InputError, "conditions that are none"),
        (PLAN | {"place": "upstairs"}, InputError, "the place 'upstairs'"),
        (PLAN | {"place": ["leftmost"]}, InputError, r"the place '\['leftmost'\]'"),
        (PLAN | {"attributes": "emotion7"}, InputError, "a list of words"),
        ({"readable": True, "attributes": [], "conditions": []}, InputError, "an empty plan"),
        ("I would rather not.", ModelError, "gave no JSON"),
    ],
)
def test_what_it_says_is_checked(
    groups: fo.Dataset, planner: Planner, server: Server, said: Any, error: type[FacevlmError], text: str
) -> None:
    planner.said = said
    with pytest.raises(error, match=text):
        plan(groups, server)


def test_only_a_model_behind_an_api_plans(groups: fo.Dataset) -> None:
    with pytest.raises(InputError, match="expected a model behind an API"):
        ask_task.plan(groups, ODD, planner="demo")


def test_the_command_line_shows_the_plan(
    groups: fo.Dataset, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ask", groups.name, ODD, "--planner", "openai:m", "--base-url", server.base_url, "--dry-run"]
    assert cli.main(command) == 0
    assert "Read by openai:m" in capsys.readouterr().err
    assert cli.main(["ask", groups.name, ODD, "--dry-run"]) == 2
