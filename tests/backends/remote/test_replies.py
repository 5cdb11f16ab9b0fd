"""Chat completions into replies: documented shapes of providers, odd bodies, votes. Prose never becomes a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm import parsing
from facevlm.attributes import get
from facevlm.backends.remote import replies
from facevlm.backends.remote.dialects.chat import ChatCompletions
from facevlm.backends.remote.exchange import Completion, Usage
from facevlm.types import Face, Prediction, Question, Reply

SHAPES = sorted((Path(__file__).parent / "shapes").glob("*.json"))
FACE = Face("1", "1.jpg")
CHAT = ChatCompletions()


def ask(name: str) -> Question:
    attribute = get(name)
    return Question(attribute, attribute.question, tuple(attribute.spellings(x) for x in attribute.labels))


GENDER, AGE = ask("gender"), ask("age5")
BOTH = [GENDER, AGE]


def predict(body: Any, questions: list[Question] = BOTH) -> list[Prediction]:
    answered = replies.to_replies(CHAT.read(body), questions)
    return [parsing.predict(FACE, q, r) for q, r in zip(questions, answered, strict=True)]


def body(content: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


@pytest.mark.parametrize("path", SHAPES, ids=[p.stem for p in SHAPES])
def test_documented_shapes(path: Path) -> None:
    shape = json.loads(path.read_text(encoding="utf-8"))
    found = predict(shape["reply"])
    assert [[p.outcome, p.label] for p in found] == [e[:2] for e in shape["expected"]]
    for prediction, (_, _, confidence) in zip(found, shape["expected"], strict=True):
        assert prediction.confidence == (None if confidence is None else pytest.approx(confidence, abs=1e-4))
        assert prediction.reason or prediction.outcome == "ok"


def test_there_is_a_shape_of_every_provider() -> None:
    assert {p.stem.partition("_")[0] for p in SHAPES} >= {"openai", "azure", "gemini", "vllm", "ollama"}


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {},
        "<html>",
        3,
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {}}]},
        body(None),
        body(""),
        body("  "),
        body([]),
        body(7),
        {"error": {"message": "overloaded"}},
        {"error": "overloaded"},
    ],
)
def test_odd_bodies_are_failures_with_a_reason(odd: Any) -> None:
    assert [(p.outcome, bool(p.reason)) for p in predict(odd)] == [("failed", True)] * 2


@pytest.mark.parametrize(
    "prose",
    [
        "Female",
        "The person is Female.",
        '"Female"',
        '["Female", "20-39"]',
        'Sure! {"gender": "Female", "age5": "0-9"}',
        "{'gender': 'Female'}",
        '{"gender": "Female"',
        "gender: Female\nage5: 20-39",
        "```\nFemale\n```",
    ],
)
def test_prose_never_becomes_a_label(prose: str) -> None:
    assert [p.label for p in predict(body(prose))] == [None, None]
    assert [p.text for p in predict(body(prose))] == [prose, prose]
    assert {p.outcome for p in predict(body(prose))} == {"unparsed"}


@pytest.mark.parametrize("count", [True, -5, 2.5, "7", None])
def test_odd_counts_of_tokens_are_none(count: Any) -> None:
    assert CHAT.read({**body("x"), "usage": {"prompt_tokens": count, "completion_tokens": 3}}).usage == Usage(0, 3)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_json_ends_as_an_outcome(data: Any) -> None:
    for content in (json.dumps(data), data):
        for prediction in predict(body(content)):
            assert prediction.outcome in ("unparsed", "failed", "refused")
    assert len(predict(data)) == 2


@pytest.mark.parametrize(
    ("value", "outcome", "label"),
    [
        ("Female", "ok", "Female"),
        ("female", "ok", "Female"),
        ("Woman.", "ok", "Female"),
        ("unknown", "unparsed", None),
        ("Male or Female", "unparsed", None),
        ("", "unparsed", None),
        (None, "unparsed", None),
        (1, "unparsed", None),
        (["Female"], "unparsed", None),
        ({"label": "Female"}, "unparsed", None),
        ("I can't determine that", "refused", None),
    ],
)
def test_values_are_checked_one_by_one(value: Any, outcome: str, label: str | None) -> None:
    gender, age = predict(body(json.dumps({"gender": value, "age5": "0-9"})))
    assert (gender.outcome, gender.label) == (outcome, label)
    assert (age.outcome, age.label) == ("ok", "0-9")


def test_one_question_may_be_answered_by_the_bare_label() -> None:
    assert [p.label for p in predict(body("female"), [GENDER])] == ["Female"]
    assert predict(body("She is Female"), [GENDER])[0].outcome == "unparsed"


def test_a_missing_key_is_unparsed_and_further_keys_do_no_harm() -> None:
    gender, age = predict(body('{"gender": "Male", "mood": "fine"}'))
    assert (gender.label, age.outcome) == ("Male", "unparsed")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I am sorry.",
        "I can’t determine the race of a person from an image.",
        "I cannot identify people",
        "I'm unable to classify this person.",
        "We do not infer such attributes; it is against our policies.",
    ],
)
def test_refusals_in_words(text: str) -> None:
    found = predict(body(text))
    assert [p.outcome for p in found] == ["refused"] * 2
    assert found[0].text == text


@pytest.mark.parametrize("text", ["A sorry sight.", "The person cannot be seen clearly", "He is able to help", "Male"])
def test_other_words_are_no_refusals(text: str) -> None:
    assert [p.outcome for p in predict(body(text))] == ["unparsed"] * 2


def test_the_protocols_refusal_wins_and_its_words_are_kept() -> None:
    found = predict(body(None, refusal="I will not label people."))
    assert (found[0].outcome, found[0].text, found[0].reason) == ("refused",) + ("I will not label people.",) * 2


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": '{"gender": "Male",'}, {"type": "text", "text": ' "age5": "0-9"}'}]
    assert [p.label for p in predict(body(parts))] == ["Male", "0-9"]


def test_a_cut_answer_says_so() -> None:
    assert "cut off by max_tokens" in str(predict(body('{"gender": "Ma', finish="length"))[0].text)
    assert predict(body("Male", finish="length"), [GENDER])[0].label is None


@pytest.mark.parametrize(
    ("raw", "usage"),
    [({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 2)), (None, Usage()), ({"prompt_tokens": "7"}, Usage())],
)
def test_usage_is_what_the_server_counts(raw: Any, usage: Usage) -> None:
    assert CHAT.read({**body("{}"), "usage": raw}).usage == usage


def test_samples_vote_and_the_share_is_the_confidence() -> None:
    said = ["Male", "Female", "man", "prose"]
    samples = [replies.to_replies(Completion(json.dumps({"gender": s})), [GENDER]) for s in said]
    [voted] = replies.vote(samples, [GENDER])
    assert (voted.text, voted.confidence) == ("Male", 0.5)
    assert parsing.predict(FACE, GENDER, voted).confidence == 0.5


def test_without_any_label_the_first_sample_stands() -> None:
    samples = [[Reply(text="no", refused=True)], [Reply(error="lost")]]
    assert replies.vote(samples, [GENDER]) == [Reply(text="no", refused=True)]


def test_one_sample_is_taken_as_it_is() -> None:
    reply = Reply(text="Male", log_probs=(-0.1, -2.4), choice=0)
    assert replies.vote([[reply]], [GENDER]) == [reply]
