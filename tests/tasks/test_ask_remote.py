"""Whom a phrase fits, decided by a model behind an API that sees numbers on the faces."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends import Briefing
from facevlm.tasks import ask as ask_task
from facevlm.tasks import sources as sources_task
from tests.scripted import keeping
from tests.servers.onlooker import Onlooker, Person, text_of
from tests.servers.server import Server, running

FACES, PICTURES = 28, 8
REQUEST = "gender of everyone wearing glasses"


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


@pytest.fixture
def model(groups: fo.Dataset) -> Onlooker:
    """Whoever is asked for is the leftmost face of every picture."""
    return Onlooker.of(groups, ["gender"])


@pytest.fixture
def server(model: Onlooker) -> Iterator[Server]:
    model.spoil = lambda people: [told(p) for p in people if p["number"] == 1]
    with running(model) as started:
        yield started


def told(person: Person) -> Person:
    return person | {"evidence": "dark rims"}


def ask(groups: fo.Dataset, server: Server, request: str = REQUEST, **options: Any) -> ask_task.AskResult:
    given: dict[str, Any] = {"grounding": "openai:m", "base_url": server.base_url, "progress": False} | options
    return facevlm.ask(groups, request, **given)


def leftmost(sample: fo.Sample, among: Container[str] | None = None) -> str:
    faces = [d for d in sample.faces.detections if among is None or d.id in among]
    return str(min(faces, key=lambda d: d.bounding_box[0] + d.bounding_box[2] / 2).id)


def test_those_whom_the_phrase_fits_are_picked_by_number(groups: fo.Dataset, server: Server) -> None:
    said: list[Briefing] = []
    result = ask(groups, server, confirm_sending=keeping(said, True))
    assert said[0].text.startswith(f"{PICTURES} pictures go to 127.0.0.1")
    assert "Whom the words fit, openai:m decides, by numbers drawn on the faces." in result.sentences
    assert set(result.faces) == {leftmost(s) for s in groups}
    assert (result.undecided, groups.count("demo_gender.detections")) == ({}, PICTURES)
    assert len(server.asked) == PICTURES
    assert all("person wearing glasses" in text_of(request) for request in server.asked)
    again = ask(groups, server)
    assert (again.faces, len(server.asked)) == (result.faces, PICTURES)


def test_labels_decide_first_and_only_the_rest_is_shown(groups: fo.Dataset, model: Onlooker, server: Server) -> None:
    facevlm.apply(groups, attributes=["gender"], faces="faces", progress=False)
    men = {d.face for s in groups for d in s.demo_gender.detections if d.label == "Male"}
    result = ask(groups, server, "age of the men wearing glasses")
    shown = [k for k, s in enumerate(groups) if men & {d.id for d in s.faces.detections}]
    assert 0 < len(shown) < PICTURES
    assert sorted(model.seen) == shown
    # Number 1 is drawn on the leftmost of the men, and on no woman.
    first = {leftmost(s, men) for k, s in enumerate(groups) if k in shown}
    assert set(result.faces) == first
    assert (sorted(groups.values("demo_age5.detections.face", unwind=True)), result.undecided) == (sorted(first), {})


def test_an_answer_that_cannot_be_used_decides_nothing(groups: fo.Dataset, model: Onlooker, server: Server) -> None:
    model.spoil = lambda people: "I would rather not say."
    result = ask(groups, server)
    assert (result.faces, result.applied, sum(result.undecided.values())) == ((), None, FACES)
    assert all("the model's answer is" in reason for reason in result.undecided)
    model.spoil = lambda people: [told(p) for p in people[:1]] * 2
    twice = ask(groups, server, REQUEST.replace("glasses", "hats"))
    assert (twice.faces, sum(twice.undecided.values())) == ((), FACES)


def test_nothing_is_sent_where_that_is_not_agreed_to(groups: fo.Dataset, server: Server) -> None:
    result = ask(groups, server, confirm_sending=lambda briefing: False)
    assert (result.faces, result.undecided, server.asked) == ((), {"the model was not asked": FACES}, [])
    plan = ask_task.plan(groups, REQUEST, grounding="openai:m")
    assert plan.plan.who == "person wearing glasses"
    assert server.asked == []
