"""The vote of several answers about numbered faces, without a server: presence, labels, words, and what stays wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.backends.remote.polls import vote
from facevlm.faces.assign import assign
from facevlm.faces.people import Described, PeoplePicture
from facevlm.types import Face, Inquiry, Person, Reply, Scene

INQUIRY = Inquiry(tuple(questions_for(find("openai:m"), [get("gender"), get("age5")])), {"hair": "?"}, shown="numbers")
PICTURE = PeoplePicture(
    "s", "/p.jpg", tuple(Face("s", "/p.jpg", (0.3 * k, 0.2, 0.1, 0.2), f"f{k + 1}") for k in range(3))
)
FAILED = Scene(problem=Reply(error="HTTP 500"))


def person(number: int | None, gender: Any = "Male", age: Any = "20-39", hair: str | None = "dark") -> Person:
    said = tuple(Reply(text=text) if text else Reply(text="{}", malformed=True) for text in (gender, age))
    return Person(said, {"hair": hair}, number=number)


def scene(*numbers: int | None) -> Scene:
    return Scene(tuple(person(n) for n in numbers))


def described(*scenes: Scene) -> Described:
    return assign(PICTURE, vote(scenes, INQUIRY), INQUIRY)


def outcomes(*scenes: Scene) -> list[str]:
    return [found.outcome for found in described(*scenes).people]


def test_the_share_of_the_label_among_all_samples_is_its_confidence() -> None:
    answers = [
        Scene((person(1, "Male", "0-9", "fair"), person(2, "Female", None))),
        Scene((person(2, "Male"), person(1, "Female", "0-9", "grey"))),
        Scene((person(1, "Male", "20-39"),)),
        FAILED,
    ]
    one, two = vote(answers, INQUIRY).people
    assert [(r.text, r.confidence) for r in one.replies] == [("Male", 0.5), ("0-9", 0.5)]
    assert (one.number, one.free) == (1, {"hair": "fair"})
    assert [r.confidence for r in two.replies] == [0.25, 0.25]


def test_a_value_that_no_sample_spelled_is_the_first_samples_own() -> None:
    answers = [Scene((person(1, "perhaps"),)), Scene((person(1, None),)), FAILED]
    [one] = vote(answers, INQUIRY).people
    assert (one.replies[0].text, one.replies[0].confidence) == ("perhaps", None)
    assert one.replies[1].confidence == pytest.approx(2 / 3)


def test_more_than_half_of_the_answers_have_to_name_somebody() -> None:
    assert outcomes(scene(1, 2, 3), scene(1, 2), scene(1)) == ["ok", "ok", "no_face"]
    assert outcomes(scene(1, 2, 3), scene(1, 2)) == ["ok", "ok", "no_face"]
    assert outcomes(scene(1, 2, 3), FAILED, FAILED) == ["ok"] * 3
    found = described(scene(1, 2, 3), scene(1, 2), scene(1))
    assert (found.outcome, found.got, found.expected) == ("unparsed", 2, 3)
    assert found.people[2].reason == "nobody has the number 3 in more than half of 3 answers; got 2 people, expected 3"


def test_a_number_that_is_given_twice_has_no_vote() -> None:
    twice = scene(1, 1, 2, 3)
    assert outcomes(scene(1, 2, 3), scene(1, 2, 3), twice) == ["ok"] * 3
    assert outcomes(scene(1, 2, 3), twice, twice) == ["unparsed", "ok", "ok", "ok", "ok"]
    unclear = described(scene(1, 2, 3), twice, scene(2, 3)).people[0]
    assert unclear.reason == "2 people have the number 1; got 4 people, expected 3"
    assert outcomes(twice, scene(2, 3), scene(2, 3)) == ["no_face", "ok", "ok"]


def test_people_without_a_number_are_as_many_as_most_answers_have() -> None:
    found = described(scene(1, 2, 3, None), scene(1, 2, 3, None, None), scene(1, 2, 3))
    assert (found.got, found.outcome) == (4, "unparsed")
    assert [f.face.label_id for f in found.people] == ["f1", "f2", "f3", None]
    assert described(scene(1, 2, 3, None), scene(1, 2, 3), scene(1, 2, 3)).outcome == "ok"


def test_without_a_list_of_people_the_first_answer_stands() -> None:
    refused = Scene(problem=Reply(text="no", refused=True))
    assert vote([refused, FAILED], INQUIRY) == refused
    assert outcomes(FAILED, refused) == ["failed"] * 3
    assert vote([scene(2, 1)], INQUIRY) == scene(2, 1)


@given(st.lists(st.lists(st.sampled_from([1, 2, 3, None]), max_size=5), min_size=2, max_size=5))
def test_nobody_is_named_by_a_minority_and_every_face_has_one_outcome(answers: list[list[int | None]]) -> None:
    found = described(*(scene(*numbers) for numbers in answers))
    known = [f for f in found.people if f.face.label_id]
    assert [f.face.label_id for f in known] == ["f1", "f2", "f3"]
    for number, face in enumerate(known, 1):
        once = sum(numbers.count(number) == 1 for numbers in answers)
        assert (face.outcome == "ok") == (once > len(answers) / 2)
        if face.outcome == "ok":
            assert face.predictions[0].confidence == pytest.approx(once / len(answers))
    if found.outcome == "ok":
        assert found.got == 3
