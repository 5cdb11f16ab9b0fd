"""Requests about all people of a picture and answers to them, without a server: words, schema, every value checked."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.backends.options import Remote
from facevlm.backends.remote import describe, templates, words
from facevlm.backends.remote.exchange import Completion
from facevlm.backends.remote.scores import Token
from facevlm.types import Inquiry, Scene

GENDER = tuple(questions_for(find("openai:m"), [get("gender")]))
BOX = {"left": 100, "top": 200, "right": 300, "bottom": 600}


def read(content: str | None, count: int | None = None, **more: Any) -> Scene:
    shown = "numbers" if count else "boxes"
    inquiry = Inquiry(GENDER, {"hair": "what hair?"}, shown=shown)  # type: ignore[arg-type]
    return describe.read(Completion(content, **more), inquiry, count)


def people(*found: Any) -> str:
    return json.dumps({"people": list(found)})


def test_a_person_is_read() -> None:
    [person] = read(people({"box": BOX, "gender": "Female", "hair": " long,\n dark "})).people
    assert person.box_xywh_rel == (0.1, 0.2, pytest.approx(0.2), pytest.approx(0.4))
    assert (person.replies[0].text, person.free, person.number) == ("Female", {"hair": "long, dark"}, None)


@pytest.mark.parametrize(
    "box",
    [
        None,
        [100, 200, 300, 600],
        "here",
        BOX | {"left": 300},
        BOX | {"bottom": 1001},
        BOX | {"top": -1},
        BOX | {"right": "300"},
        BOX | {"right": True},
        BOX | {"right": math.nan},
        {k: v for k, v in BOX.items() if k != "top"},
        {k: v / 1000 for k, v in BOX.items()},
    ],
)
def test_what_is_no_box_is_none(box: Any) -> None:
    assert describe.box_of(box) is None


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4))
def test_a_box_lies_in_the_picture(edges: list[int]) -> None:
    box = describe.box_of(dict(zip(describe.EDGES, edges, strict=True)))
    if box is not None:
        x, y, w, h = box
        assert w > 0
        assert h > 0
        assert 0 <= x < x + w <= 1 + 1e-9
        assert 0 <= y < y + h <= 1 + 1e-9


@pytest.mark.parametrize(
    ("said", "number"), [(1, 1), ("2", 2), (3, None), (0, None), (True, None), (1.0, None), (None, None), ("x", None)]
)
def test_a_number_is_that_of_a_marked_face(said: Any, number: int | None) -> None:
    assert read(people({"number": said, "gender": "Male"}), count=2).people[0].number == number


def test_words_that_decline_or_are_none_are_no_words() -> None:
    said: list[Any] = ["I'm sorry, I can't help with that.", "", None, 3, ["dark"]]
    found = read(people(*({"hair": s, "gender": "Male", "box": BOX} for s in said))).people
    assert [p.free for p in found] == [{"hair": None}] * len(said)


def test_a_value_that_is_missing_or_wrong_is_not_guessed() -> None:
    first, second, third = read(people({"gender": 3}, {}, {"gender": "mostly male"})).people
    assert [p.replies[0].malformed for p in (first, second, third)] == [False, True, False]
    assert [p.replies[0].text for p in (first, second, third)] == ["3", "{}", "mostly male"]


@pytest.mark.parametrize(
    "content", ["Two women.", "[]", '{"persons": []}', people(3), '{"people": {"gender": "Male"}}', "{"]
)
def test_another_form_is_the_scenes_problem(content: str) -> None:
    scene = read(content)
    assert scene.people == ()
    assert scene.problem is not None
    assert (scene.problem.malformed, scene.problem.text) == (True, content)


def test_refusals_errors_and_cut_answers_are_told_apart() -> None:
    refused, failed = read(None, refusal="no").problem, read(None, error="HTTP 500").problem
    assert refused is not None
    assert failed is not None
    assert (refused.refused, failed.refused, failed.error) == (True, False, "HTTP 500")
    cut = read('{"people": [{"gen', finish="length").problem
    assert cut is not None
    assert "cut off by max_tokens" in str(cut.text)
    said = read("I'm sorry, but I can't assist with that.").problem
    assert said is not None
    assert said.refused


def test_halves_of_characters_can_be_stored() -> None:
    scene = read('{"people": [{"gender": "Male", "hair": "dark \\ud800", "box": null}]}')
    assert scene.people[0].free["hair"] == "dark ?"
    scene = read('{"people": "\\ud800"}')
    assert scene.problem is not None
    str(scene.problem.text).encode()


@given(st.text(max_size=60), st.integers(0, 3))
def test_any_answer_is_a_scene(text: str, n: int) -> None:
    read(text)
    found = read(people(*[{"gender": text, "hair": text, "box": text}] * n))
    assert len(found.people) == n


def test_confidence_is_that_of_each_person() -> None:
    pieces = ['{"people": [{"gender": "', "Male", '", "hair": null, "box": null}, {"gender": "', "Male", '"}]}']
    shares = {1: 0.9, 3: 0.6}
    tokens = tuple(
        Token(t, math.log(shares[k]), (("Female", math.log(1 - shares[k])),)) if k in shares else Token(t, 0.0)
        for k, t in enumerate(pieces)
    )
    scene = read("".join(pieces), tokens=tokens)
    found = [[math.exp(p) for p in person.replies[0].log_probs or ()] for person in scene.people]
    assert found == [pytest.approx([0.9, 0.1]), pytest.approx([0.6, 0.4])]


def test_a_text_that_cannot_be_walked_through_costs_only_confidence() -> None:
    content = '<think>"people" [ no</think>' + people({"gender": "Male", "box": BOX, "hair": None})
    scene = read(content, tokens=(Token(content, -0.1),))
    assert scene.people[0].replies[0].text == "Male"
    assert scene.people[0].replies[0].log_probs is None


def test_the_words_name_who_and_every_key() -> None:
    template = templates.load(Remote())
    inquiry = Inquiry(GENDER, {"hair": "what {hair}?"}, who="anyone with {braces}", shown="numbers")
    system, user = describe._turns(template, words.shipped(), inquiry, 3)
    text = user.text
    assert system.text == template.system
    assert "numbers from 1 to 3" in text
    assert 'this phrase fits: "anyone with {braces}"' in text
    assert '- "hair": what {hair}?' in text
    assert 'the keys "number", "gender", "hair"' in text
    assert "Male, Female" in text
    everybody = describe._turns(template, words.shipped(), Inquiry(GENDER), None)[1].text
    assert "every person whose face can be seen" in everybody
    assert "thousandths" in everybody


def test_a_schema_for_strict_servers() -> None:
    inquiry = Inquiry(GENDER, {"hair": "?"})

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert node["required"] == list(node["properties"])
            for value in node.values():
                check(value)

    check(describe.schema(inquiry, None))
    assert describe.schema(inquiry, None)["properties"]["people"]["items"]["required"] == ["box", "gender", "hair"]
