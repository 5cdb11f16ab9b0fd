"""Chat Completions: how a request is written, how log-probabilities are read; and how dialects are found."""

from __future__ import annotations

import json

import pytest

from facevlm.attributes import get
from facevlm.backends.options import Remote
from facevlm.backends.remote import dialects, templates
from facevlm.backends.remote.cache import joined
from facevlm.backends.remote.dialects.chat import ChatCompletions, parameters, tokens
from facevlm.backends.remote.exchange import Abilities, Asked, Turn
from facevlm.backends.remote.scores import Token
from facevlm.errors import InputError, UnknownName
from facevlm.types import Question

GENDER = Question(get("gender"), "man or woman?", (("Male",), ("Female",)))
CHAT = ChatCompletions()


def asked(*turns: Turn, detail: str = "low", abilities: Abilities | None = None) -> Asked:
    honoured = abilities or Abilities("text", 0)
    return Asked("m", turns, {"type": "object"}, honoured, 0.0, 9, detail, {"reasoning_effort": "none"})


def test_a_request_to_the_letter() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "q?", (b"one",)), Turn("assistant", "a"), Turn("user", "q!", ()))
    skeleton = CHAT.skeleton(asked(*turns, abilities=Abilities("json", 5)))
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,b25l", "detail": "low"}}
    wanted = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [picture, {"type": "text", "text": "q?"}]},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "q!"}]},
        ],
        "reasoning_effort": "none",
        "temperature": 0.0,
        "max_tokens": 9,
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "top_logprobs": 5,
    }
    # The order of keys counts, too: it is that of the bytes that are sent.
    assert json.dumps(skeleton) == json.dumps(wanted)
    whole = CHAT.with_pictures(skeleton, [b"one"], "low")
    assert whole["messages"][-1] == {"role": "user", "content": [picture, {"type": "text", "text": "q!"}]}
    assert list(whole) == list(skeleton)
    assert json.dumps(skeleton) == json.dumps(wanted)


def test_what_a_server_does_not_take_is_left_out() -> None:
    abilities = Abilities("text", 0, ("reasoning_effort", "temperature"))
    assert set(CHAT.skeleton(asked(Turn("user", "q", ()), abilities=abilities))) == {"model", "messages", "max_tokens"}


def test_the_picture_comes_before_the_words_and_its_detail_may_be_left_out() -> None:
    skeleton = CHAT.skeleton(asked(*templates.load(Remote()).turns([GENDER])))
    first, second = CHAT.with_pictures(skeleton, [b"jpeg"], "low")["messages"][-1]["content"]
    assert first["image_url"] == {"url": "data:image/jpeg;base64,anBlZw==", "detail": "low"}
    assert second["type"] == "text"
    bare = CHAT.with_pictures(skeleton, [b"jpeg"], "")["messages"][-1]["content"]
    assert "detail" not in bare[0]["image_url"]
    assert len(skeleton["messages"][-1]["content"]) == 1


def test_several_pictures_in_one_request_are_told_apart() -> None:
    skeleton = CHAT.skeleton(asked(Turn("user", "q", ())))
    [one] = CHAT.with_pictures(skeleton, [b"a"], "low")["messages"]
    assert [p["type"] for p in one["content"]] == ["image_url", "text"]
    [two] = CHAT.with_pictures(skeleton, [b"a", b"b"], "low")["messages"]
    assert [p.get("text") for p in two["content"]] == ["Picture 1:", None, "Picture 2:", None, "q"]
    assert joined([b"ab", b"c"]) != joined([b"a", b"bc"])
    assert joined([b"abc"]) == b"abc"


def test_parameters_follow_the_abilities() -> None:
    full = parameters(Abilities(), 0.0, 9, {"type": "object"})
    assert full["response_format"]["json_schema"]["strict"] is True
    assert (full["logprobs"], full["top_logprobs"], full["max_tokens"], full["temperature"]) == (True, 20, 9, 0.0)
    least = parameters(Abilities("text", 0, ("max_tokens", "temperature")), 0.0, 9, {})
    assert least == {"max_completion_tokens": 9}
    assert parameters(Abilities("json", 0), 0.0, 9, {})["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        3,
        {},
        {"content": None},
        {"content": [None]},
        {"content": [{"token": 5, "logprob": -1}]},
        {"content": [{"token": "a", "logprob": "x"}]},
        {"content": [{"token": "a", "logprob": 0.5}]},
    ],
)
def test_log_probabilities_of_another_shape_are_none(raw: object) -> None:
    assert tokens(raw) == ()


def test_the_token_itself_is_not_its_own_alternative() -> None:
    raw = {
        "token": "a",
        "logprob": -0.5,
        "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}],
    }
    assert tokens({"content": [raw]}) == (Token("a", -0.5, (("b", -1.5),)),)


def test_dialects_are_found_by_name_or_place() -> None:
    assert isinstance(dialects.find("chat"), ChatCompletions)
    assert isinstance(dialects.find("facevlm.backends.remote.dialects.chat:ChatCompletions"), ChatCompletions)
    with pytest.raises(UnknownName, match="Unknown dialect 'chats'"):
        dialects.find("chats")
    for lost in ("nowhere.at_all:Chat", "facevlm.errors:Chat"):
        with pytest.raises(InputError, match=f"Got the dialect '{lost}', expected module:Class"):
            dialects.find(lost)
