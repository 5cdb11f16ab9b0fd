"""A completion, as a dialect read it, into replies: pure functions, no network. Prose never becomes a label."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from facevlm.attributes import fold
from facevlm.backends.remote import plain, redaction, scores, services, thoughts
from facevlm.backends.remote.exchange import Completion
from facevlm.parsing import answer_table
from facevlm.types import Question, Reply

FENCE = re.compile(r"^```[a-zA-Z]*\s*\n(.*?)\n?```$", re.DOTALL)
MESSAGES = ("message", "detail", "msg", "error_msg", "status_msg", "reason")
"""Keys under which an error says in words what it is."""
PAGE = re.compile(r"^\s*<(?:!doctype|html|head|body|center|h1|\?xml)", re.IGNORECASE)
TITLE = re.compile(r"<(title|h1|h2)[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
SHOWN = 200
LONGEST = 20_000
"""Characters of a reply that are kept."""


def error_text(error: object) -> str:
    """The message of a provider's error object, cut to a length that fits a reason; of a page, its title."""
    said = _message(error)
    text = said if isinstance(said, str) else json.dumps(said, default=str, ensure_ascii=False)
    if PAGE.match(text):
        text = f"a page instead of an answer: {_title(text)}"
    return storable(one_line(text)[:SHOWN]) or "no reason given"


def one_line(text: str) -> str:
    """The text with one blank wherever it has several, or breaks a line."""
    return " ".join(text.split())


def _message(error: object) -> object:
    """The words of an error, wherever servers put them: Gemini in a list, others in a field in a field."""
    if isinstance(error, list) and error and isinstance(error[0], Mapping):
        return _message(error[0])
    if not isinstance(error, Mapping):
        return error
    inner = error.get("error")
    if isinstance(inner, (Mapping, list)) and inner:
        return _message(inner)
    found = next((error[name] for name in (*MESSAGES, "base_resp", "error") if error.get(name)), None)
    return error if found is None else _message(found)


def _title(page: str) -> str:
    found = TITLE.search(page)
    return html.unescape(TAGS.sub(" ", found.group(2) if found else page)).strip() or "without words"


@cache
def _refusals() -> re.Pattern[str]:
    return re.compile("|".join(services.data()["refusals"]), re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Whether a text that is no label declines to answer."""
    return bool(_refusals().search(text.replace("’", "'")))


def to_replies(completion: Completion, questions: Sequence[Question]) -> list[Reply]:
    """One reply per question; each value of the JSON answer is checked on its own, and every text can be stored."""
    return [kept(reply) for reply in _replies(completion, questions)]


def kept(reply: Reply) -> Reply:
    """The reply with texts that can be stored."""
    return replace(reply, text=storable(reply.text), error=storable(reply.error))


def storable(text: str | None) -> str | None:
    """The text without halves of characters, which no database takes, and cut where it is longer than any answer."""
    return None if text is None else text[:LONGEST].encode("utf-8", "replace").decode("utf-8")


def _replies(completion: Completion, questions: Sequence[Question]) -> list[Reply]:
    found = opened(completion, alone=len(questions) == 1)
    if isinstance(found, Reply):
        return [found] * len(questions)
    return [value_of(q, found, completion) for q in questions]


def opened(completion: Completion, *, alone: bool) -> dict[str, Any] | Reply:
    """The JSON object that was answered, or the reply that there is instead of one: refusal, error, or prose."""
    if completion.refusal is not None:
        text = completion.content or completion.refusal
        return Reply(text=text, error=completion.refusal[:SHOWN], refused=True)
    if completion.error is not None or completion.content is None:
        return Reply(error=completion.error or "the answer is empty")
    found = json_object(completion.content)
    return _prose(completion, alone) if found is None else found


def json_object(content: str) -> dict[str, Any] | None:
    """The JSON object that a text is: as it is, in one code fence, or behind a thought. None for anything else, such
    as an object in which a name stands twice: which of the two is the answer is not said."""
    text = thoughts.answer_of(content).strip()
    fenced = FENCE.match(text)
    try:
        found = plain.answer(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _prose(completion: Completion, alone: bool) -> Reply:
    """A text that is no JSON. Where one question was ``alone``, it may be the bare label, as some models answer."""
    text = completion.content or ""
    if is_refusal(text):
        return Reply(text=text, refused=True)
    cut = completion.finish == "length"
    return Reply(text=f"{text} (cut off by max_tokens)" if cut else text, malformed=cut or not alone)


def value_of(question: Question, found: Mapping[str, Any], completion: Completion, after: int = 0) -> Reply:
    """The reply to one question in an object of the answer, whose text begins at place ``after``."""
    name = question.attribute.name
    value = found.get(name)
    if name not in found:
        return Reply(text=completion.content, malformed=True)
    if not isinstance(value, str):
        return Reply(text=written(value))
    label = answer_table(question).get(fold(value))
    if label is None:
        return Reply(text=value, refused=is_refusal(value))
    found_scores = scores.of_value(completion.content or "", completion.tokens, name, value, question, after)
    if found_scores.log_probs is None:
        return Reply(text=value, confidence=found_scores.confidence)
    return Reply(text=value, log_probs=found_scores.log_probs, choice=question.attribute.labels.index(label))


def written(value: object) -> str:
    """Data of an answer as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return redaction.TOO_DEEP


def label_of(reply: Reply, question: Question) -> str | None:
    """The label that a reply's text spells, or None."""
    if reply.text is None or reply.refused or reply.malformed or reply.error is not None:
        return None
    return answer_table(question).get(fold(reply.text))


def vote(samples: Sequence[Sequence[Reply]], questions: Sequence[Question]) -> list[Reply]:
    """The label that most samples gave, with the share of all samples that gave it as the confidence.

    A question that no sample answered with a label keeps the first sample's reply.
    """
    if len(samples) == 1:
        return list(samples[0])
    return [_vote([row[k] for row in samples], question) for k, question in enumerate(questions)]


def _vote(replies: Sequence[Reply], question: Question) -> Reply:
    labels = Counter(label for reply in replies if (label := label_of(reply, question)) is not None)
    if not labels:
        return replies[0]
    [(label, count)] = labels.most_common(1)
    return Reply(text=label, confidence=count / len(replies))
