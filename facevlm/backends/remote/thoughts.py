"""What a model thought before its answer, taken off where it enters; the marks are data in ``assets/remote.yaml``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from facevlm.backends.remote import services
from facevlm.backends.remote.scores import Token


def answer_of(content: str) -> str:
    """The text behind the last end of a thought, without marks around it.

    A text that is JSON as it is has no thought before it, whatever its values hold; one that ends with its thought is
    left as it is.
    """
    if is_json(content):
        return content
    thought = list(_marks("ends").finditer(content))
    behind = content[thought[-1].end() :] if thought else content
    around = _marks("around")
    while (found := around.match(behind.lstrip())) is not None:
        behind = behind.lstrip()[found.end() :]
    while (last := _last(around, behind)) is not None:
        behind = behind[: last.start()]
    return (behind.strip() if behind != content else content) or content


def _last(marks: re.Pattern[str], text: str) -> re.Match[str] | None:
    """A mark at the end of a text."""
    found = list(marks.finditer(text))
    return found[-1] if found and not text[found[-1].end() :].strip() else None


@functools.cache
def _marks(kind: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(mark) for mark in services.data()["thoughts"][kind]), re.IGNORECASE)


def is_json(text: str) -> bool:
    """Whether a text is a JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def tokens_of(answer: str, tokens: Sequence[Token]) -> tuple[Token, ...]:
    """The tokens that spell an answer, where those of a thought stand before them."""
    said = "".join(token.text for token in tokens)
    start = said.rfind(answer)
    if start <= 0 or not answer:
        return tuple(tokens)
    at, kept = 0, list[Token]()
    for token in tokens:
        ahead = max(0, start - at)
        at += len(token.text)
        if ahead < len(token.text):
            kept.append(Token(token.text[ahead:], token.log_prob) if ahead else token)
    return tuple(kept)


def is_thought(part: Mapping[str, Any]) -> bool:
    """Whether a part of a message's content is a thought, by its type."""
    return part.get("type") in services.data()["thoughts"]["parts"] or part.get("thought") is True


def thought_of(message: Mapping[str, Any]) -> str:
    """The thought that a server sends in a field of its own; empty where it sends none."""
    fields = services.data()["thoughts"]["fields"]
    return next((v for name in fields if isinstance(v := message.get(name), str) and v.strip()), "")
