"""Chat Completions, the protocol of OpenAI, that Gemini, Azure, vLLM, Ollama and others speak, too."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from facevlm.backends.remote import meanings, numbers, thoughts
from facevlm.backends.remote.exchange import Abilities, Asked, Completion, Turn, Usage
from facevlm.backends.remote.scores import Token

MESSAGES = ("message", "detail", "msg", "error_msg", "base_resp")
"""Keys under which a body that holds no choice says why, where it does not say so under ``error``."""


class ChatCompletions:
    """The :class:`~facevlm.backends.remote.dialects.Dialect`."""

    path = "/chat/completions"

    def skeleton(self, asked: Asked) -> dict[str, Any]:
        extra = {name: value for name, value in asked.extra.items() if name not in asked.abilities.dropped}
        fields = parameters(asked.abilities, asked.temperature, asked.max_tokens, asked.schema)
        return {"model": asked.model, "messages": messages(asked.turns, asked.detail), **extra, **fields}

    def with_pictures(self, skeleton: Mapping[str, Any], jpegs: Sequence[bytes], detail: str) -> dict[str, Any]:
        *before, last = skeleton["messages"]
        shown = _shown(jpegs, detail)
        return {**skeleton, "messages": [*before, {**last, "content": [*shown, *last["content"]]}]}

    def read(self, body: object) -> Completion:
        """The first choice of a chat completion."""
        if not isinstance(body, Mapping):
            kind = "text that is no JSON" if isinstance(body, (str, bytes)) else f"a JSON {type(body).__name__}"
            return Completion(error=f"the server answered with {kind}, expected a chat completion")
        usage = _usage(body.get("usage"))
        if body.get("error"):
            return _from_error(body["error"], usage)
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
            return _without_choice(body, usage)
        if choices[0].get("error"):
            return _from_error(choices[0]["error"], usage)
        return _of_choice(choices[0], usage)


# Requests


def messages(turns: Sequence[Turn], detail: str) -> list[dict[str, Any]]:
    """A conversation: text alone is a string, text that goes with pictures a list of parts."""
    return [{"role": turn.role, "content": _content(turn, detail)} for turn in turns]


def _content(turn: Turn, detail: str) -> str | list[dict[str, Any]]:
    if turn.jpegs is None:
        return turn.text
    return [*(_picture(jpeg, detail) for jpeg in turn.jpegs), {"type": "text", "text": turn.text}]


def _picture(jpeg: bytes, detail: str) -> dict[str, Any]:
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}


def _shown(jpegs: Sequence[bytes], detail: str) -> list[dict[str, Any]]:
    """One picture as it is; several, each behind its number."""
    if len(jpegs) == 1:
        return [_picture(jpegs[0], detail)]
    numbered = [({"type": "text", "text": f"Picture {k}:"}, _picture(jpeg, detail)) for k, jpeg in enumerate(jpegs, 1)]
    return [part for pair in numbered for part in pair]


def parameters(abilities: Abilities, temperature: float, max_tokens: int, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that depend on what the server honours."""
    fields: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    if "max_tokens" in abilities.dropped:
        fields["max_completion_tokens"] = max_tokens
    if abilities.structure == "schema":
        answer = {"name": "answers", "strict": True, "schema": schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": answer}
    elif abilities.structure == "json":
        fields["response_format"] = {"type": "json_object"}
    if abilities.top:
        fields |= {"logprobs": True, "top_logprobs": abilities.top}
    return {name: value for name, value in fields.items() if name not in abilities.dropped}


# Answers


def _of_choice(choice: Mapping[str, Any], usage: Usage) -> Completion:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return Completion(error="the server answered without a message", usage=usage)
    finish = str(choice.get("finish_reason") or "")
    content = _text(message.get("content"))
    if refusal := _refusal(message):
        return Completion(content, refusal=refusal, finish=finish, usage=usage)
    if stop := meanings.stops(choice):
        return Completion(content, refusal=f"stopped by the provider: {stop}", finish=finish, usage=usage)
    if content is None or not content.strip():
        return _empty(choice, message, finish, usage)
    answer = thoughts.answer_of(content)
    read = thoughts.tokens_of(answer, tokens(choice.get("logprobs")))
    return Completion(answer, tokens=read, finish=finish, usage=usage)


def _empty(choice: Mapping[str, Any], message: Mapping[str, Any], finish: str, usage: Usage) -> Completion:
    """A choice without text: declined, or an answer that went where thoughts go, or a failure."""
    if reason := meanings.declined(choice):
        return Completion(refusal=f"stopped by the provider: {reason}", finish=finish, usage=usage)
    thought = thoughts.thought_of(message)
    answer = thoughts.answer_of(thought)
    if thoughts.is_json(answer):
        # Servers with a parser of thoughts that wait for the end of one take the whole answer for a thought.
        return Completion(answer, finish=finish, usage=usage)
    only = "; the model only thought, so a larger max_tokens may help" if thought else ""
    error = f"the answer is empty (finish reason: {finish or 'none'}{only})"
    return Completion(error=error, finish=finish, usage=usage)


def _refusal(message: Mapping[str, Any]) -> str | None:
    """The words of a message that is a refusal by the protocol, in a field or a part of its own."""
    content = message.get("content")
    parts = [p.get("refusal") for p in content if isinstance(p, Mapping)] if isinstance(content, list) else []
    said = (r for r in (message.get("refusal"), *parts) if isinstance(r, str) and r.strip())
    return next(said, None)


def _text(content: object) -> str | None:
    """A message's content: a string, or the text parts of a list that are no thought."""
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and not thoughts.is_thought(p)]
        return "".join(p for p in parts if isinstance(p, str))
    return content if isinstance(content, str) else None


def _usage(raw: object) -> Usage:
    if not isinstance(raw, Mapping):
        return Usage()
    said = (raw.get("prompt_tokens"), raw.get("completion_tokens"))
    return Usage(*(numbers.count(value, numbers.MOST_TOKENS) for value in said))


def _from_error(error: object, usage: Usage) -> Completion:
    fault = meanings.of_error(error)
    if fault.means == "declined":
        return Completion(refusal=f"the provider declined: {fault.text}", usage=usage)
    return Completion(error=fault.reason, usage=usage, fault=fault)


def _without_choice(body: Mapping[str, Any], usage: Usage) -> Completion:
    if reason := meanings.declined(body):
        return Completion(refusal=f"stopped by the provider: {reason}", usage=usage)
    if body.get("object") == "error" or any(body.get(name) for name in MESSAGES):
        return _from_error(body, usage)
    return Completion(error="the server answered without a choice", usage=usage)


def tokens(raw: object) -> tuple[Token, ...]:
    """The tokens in a choice's ``logprobs``; none where there are none or they are of another shape."""
    content = raw.get("content") if isinstance(raw, Mapping) else None
    if not isinstance(content, list):
        return ()
    read = [_token(item) for item in content]
    return tuple(t for t in read if t is not None) if None not in read else ()


def _token(item: object) -> Token | None:
    pair = _pair(item)
    if pair is None or not isinstance(item, Mapping):
        return None
    listed = item.get("top_logprobs")
    others = [_pair(o) for o in listed] if isinstance(listed, list) else []
    return Token(pair[0], pair[1], tuple(o for o in others if o is not None and o[0] != pair[0]))


def _pair(item: object) -> tuple[str, float] | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("token"), str):
        return None
    value = numbers.log_prob(item.get("logprob"))
    return None if value is None else (item["token"], value)
