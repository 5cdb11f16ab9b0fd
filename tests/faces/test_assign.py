"""Who is who: nobody is assigned by guess, and every known face ends with one outcome."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.faces.assign import FROM_LEFT, NOWHERE, assign, nobody
from facevlm.faces.people import Described, PeoplePicture
from facevlm.types import Face, Inquiry, Person, Reply, Scene

QUESTIONS = tuple(questions_for(find("openai:m"), [get("gender")]))
BOXES = [(0.1, 0.2, 0.1, 0.2), (0.4, 0.2, 0.1, 0.2), (0.7, 0.2, 0.1, 0.2)]
PICTURE = PeoplePicture("s", "/p.jpg", tuple(Face("s", "/p.jpg", box, f"f{k}") for k, box in enumerate(BOXES)))
LABELS = ("Male", "Female", "Male")


def person(k: int, **more: Any) -> Person:
    """Somebody whose words tell who it is."""
    return Person((Reply(text=LABELS[k % 3]),), {"hair": f"h{k}"}, **more)


def asked(shown: Any = "boxes", who: str | None = None) -> Inquiry:
    return Inquiry(QUESTIONS, {"hair": "?"}, who, shown)


def by_face(described: Described) -> dict[str | None, tuple[str, str | None]]:
    return {f.face.label_id: (f.outcome, f.free["hair"]) for f in described.people if f.face.label_id}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_boxes_and_numbers_tell_who_is_who_in_any_order(order: tuple[int, ...]) -> None:
    everybody = {f"f{k}": ("ok", f"h{k}") for k in range(3)}
    boxed = Scene(tuple(person(k, box_xywh_rel=BOXES[k]) for k in order))
    assert by_face(assign(PICTURE, boxed, asked())) == everybody
    numbered = Scene(tuple(person(k, number=k + 1) for k in order))
    described = assign(PICTURE, numbered, asked("numbers"))
    assert by_face(described) == everybody
    assert (described.outcome, described.reason, described.wrong_count) == ("ok", None, False)


@given(st.lists(st.sampled_from([*BOXES, None, (0.0, 0.9, 0.1, 0.1)]), max_size=5), st.booleans())
def test_every_face_has_one_outcome_and_no_answer_is_lost_or_doubled(boxes: list[Any], marked: bool) -> None:
    said = [
        person(k, number=(1 + BOXES.index(b) if b in BOXES else None)) if marked else person(k, box_xywh_rel=b)
        for k, b in enumerate(boxes)
    ]
    described = assign(PICTURE, Scene(tuple(said)), asked("numbers" if marked else "boxes"))
    ids = [f.face.label_id for f in described.people if f.face.label_id]
    assert sorted(ids) == ["f0", "f1", "f2"]
    words = [f.free["hair"] for f in described.people if f.free["hair"]]
    assert sorted(words) == sorted(f"h{k}" for k in range(len(boxes)))
    assert (described.got, described.expected) == (len(boxes), 3)
    assert described.outcome == "ok" or described.reason
    if described.wrong_count:
        assert described.reason == f"got {len(boxes)} people, expected 3"


def test_order_counts_only_without_any_box_and_with_everybody_there() -> None:
    described = assign(PICTURE, Scene(tuple(person(k) for k in range(3))), asked())
    assert by_face(described) == {f"f{k}": ("ok", f"h{k}") for k in range(3)}
    assert {f.reason for f in described.people} == {FROM_LEFT}
    one_box = Scene((person(0), person(1), person(2, box_xywh_rel=BOXES[0])))
    found = by_face(assign(PICTURE, one_box, asked()))
    assert found == {"f0": ("ok", "h2"), "f1": ("no_face", None), "f2": ("no_face", None)}
    named = assign(PICTURE, Scene(tuple(person(k) for k in range(3))), asked(who="all of them"))
    assert by_face(named) == {}
    assert [f.face.box_xywh_rel for f in named.people] == [NOWHERE] * 3


def test_a_phrase_leaves_faces_out_without_an_outcome() -> None:
    described = assign(PICTURE, Scene((person(1, number=2),)), asked("numbers", "the one in the middle"))
    assert by_face(described) == {"f1": ("ok", "h1")}
    assert (described.outcome, described.expected) == ("ok", None)
    assert assign(PICTURE, Scene(()), asked("numbers", "a dog")).outcome == "ok"


def test_without_known_faces_the_boxes_count_as_they_are() -> None:
    found = assign(PeoplePicture("s", "/p.jpg"), Scene((person(0, box_xywh_rel=BOXES[2]), person(1))), asked())
    assert [f.face.box_xywh_rel for f in found.people] == [BOXES[2], NOWHERE]
    assert [f.reason for f in found.people] == [None, "no usable box"]
    assert (found.outcome, found.reason, found.expected, found.got) == ("unparsed", "no usable box", None, 2)
    empty = assign(PeoplePicture("s", "/p.jpg"), Scene(()), asked())
    assert (empty.outcome, empty.reason) == ("no_face", "the model found nobody")


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (Reply(text="no", refused=True), "refused"),
        (Reply(error="HTTP 500"), "failed"),
        (Reply(text="two women", malformed=True), "unparsed"),
    ],
)
def test_a_problem_is_that_of_every_face(problem: Reply, outcome: str) -> None:
    described = assign(PICTURE, Scene(problem=problem), asked())
    assert described.outcome == outcome
    assert [f.predictions[0].outcome for f in described.people] == [outcome] * 3
    assert (described.got, described.wrong_count) == (None, False)
    assert assign(PICTURE, Scene(problem=problem), asked(who="x")).people == ()


def test_a_picture_without_faces() -> None:
    described = nobody(PeoplePicture("s", "/p.jpg", ()))
    assert (described.outcome, described.people, described.wrong_count) == ("no_face", (), False)


def test_a_number_given_twice_is_nobodys_and_both_answers_are_kept() -> None:
    said = Scene((person(0, number=1), person(1, number=1), person(2, number=3)))
    described = assign(PICTURE, said, asked("numbers"))
    assert by_face(described) == {"f0": ("unparsed", None), "f1": ("no_face", None), "f2": ("ok", "h2")}
    assert [f.reason for f in described.people[:2]] == ["2 people have the number 1", "nobody has the number 2"]
    assert [f.free["hair"] for f in described.people if f.face.label_id is None] == ["h0", "h1"]
