"""What a model thought before its answer is not the answer, however a server marks it."""

from __future__ import annotations

from typing import Any

import pytest

from facevlm.backends.remote import thoughts
from facevlm.backends.remote.dialects.chat import ChatCompletions
from facevlm.backends.remote.scores import Token
from tests.servers.server import completion, token

ANSWER = '{"gender": "Female"}'
CHAT = ChatCompletions()


@pytest.mark.parametrize(
    "content",
    [
        ANSWER,
        f"<think>Short hair, {{}}.</think>\n\n{ANSWER}",
        f"Short hair.\n</think>\n\n{ANSWER}",
        f"a</think>b</think>{ANSWER}",
        f"<THINKING>x</Thinking>{ANSWER}",
        f"<reasoning>x</reasoning>\n{ANSWER}",
        f"[THINK]x[/THINK]{ANSWER}",
        f"◁think▷x◁/think▷{ANSWER}",
        f"<unused94>thought\nx<unused95>{ANSWER}",
        f"<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"<|channel>thought\nx<channel|>{ANSWER}",
        f"<think>x</think><answer>{ANSWER}</answer>",
        f"<|begin_of_box|>{ANSWER}<|end_of_box|>",
    ],
)
def test_the_answer_stands_behind_the_thought(content: str) -> None:
    assert CHAT.read(completion(content)).content == ANSWER


@pytest.mark.parametrize(
    "content", ["<think>cut off", "<think>all of it</think>", '{"gender": "</think>"}', "Female", "```json\n{}\n```"]
)
def test_what_has_no_answer_behind_a_thought_stays_as_it_is(content: str) -> None:
    assert CHAT.read(completion(content)).content == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}, {"type": "text", "text": ANSWER}], {}),
        ([{"type": "reasoning", "text": "x"}, {"type": "text", "text": ANSWER}], {}),
        ([{"type": "text", "text": "x", "thought": True}, {"type": "text", "text": ANSWER}], {}),
        (ANSWER, {"reasoning_content": "x"}),
        (None, {"reasoning_content": ANSWER}),
        ("", {"reasoning": f"x</think>{ANSWER}"}),
    ],
)
def test_thoughts_in_fields_and_parts_of_their_own(content: Any, message: dict[str, Any]) -> None:
    assert CHAT.read(completion(content, **message)).content == ANSWER


def test_a_thought_alone_is_no_answer_and_the_reason_says_so() -> None:
    said = CHAT.read(completion(None, finish="length", reasoning_content="Let me see"))
    assert said.error == (
        "the answer is empty (finish reason: length; the model only thought, so a larger max_tokens may help)"
    )


def test_the_tokens_of_the_answer_stay_with_it() -> None:
    listed = [token(text, -0.1, other=-3.0) for text in ("think", "</think>", '\n\n{"gender"', ': "', "Female", '"}')]
    read = CHAT.read(completion(f"think</think>\n\n{ANSWER}", logprobs=listed)).tokens
    assert "".join(t.text for t in read) == ANSWER
    assert read[0] == Token('{"gender"', -0.1)
    assert read[2].others == (("other", -3.0),)


def test_a_server_that_parts_thought_and_answer_lists_the_tokens_of_both() -> None:
    tokens = (Token("thought", -1.0), Token("</think>", -1.0), Token(ANSWER, -0.5), Token("<|im_end|>", -0.1))
    assert thoughts.tokens_of(ANSWER, tokens) == tokens[2:]
    assert thoughts.tokens_of(ANSWER, tokens[:2]) == tokens[:2]
