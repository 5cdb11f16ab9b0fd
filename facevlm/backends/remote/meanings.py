"""What a server says when it does not answer, by its meaning: the words are data in ``assets/remote.yaml``.

An error may come as a status of HTTP or inside an answer with status 200, in any field, spelled in any way; what it
means for the request and the run is decided here, once. Pure functions, no network.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facevlm.backends.remote import replies, services
from facevlm.backends.remote.exchange import Fault, Meaning

ECHOES = ("input", "body", "request", "messages", "ctx", "flagged_input", "failed_generation")
"""Parts of an error in which servers repeat what they were sent, or what the model said."""
STATUS_KEYS = ("code", "status", "status code", "http status", "http code", "error code")
STOP_KEYS = ("finish reason", "native finish reason", "stop reason", "block reason")
PASSING = (408, 409, 425)
NEVER = (501, 505)
"""Statuses of 500 and above that do not pass."""
OTHER_MATTERS = (401, 402, 404, 407, 408, 429)
"""Statuses with which words about contents do not mean that a picture was declined."""
CASES = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
BETWEEN = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """Words in lower case with single blanks between and around, however they were joined: ``PerDay``, ``PER_DAY``."""
    return f" {BETWEEN.sub(' ', CASES.sub(' ', text)).strip().lower()} "


@functools.cache
def _phrases(table: str, name: str) -> tuple[str, ...]:
    found = services.data()[table]
    return tuple(_phrase(word) for word in (found[name] if name else found))


def _phrase(word: str) -> str:
    """A phrase to be looked for in plain words. Scripts without blanks have no ends of words."""
    return plain(word) if word.isascii() else plain(word).strip()


def holds(words: str, table: str, name: str = "") -> bool:
    """Whether plain words hold a phrase of a table in ``assets/remote.yaml``."""
    return any(phrase in words for phrase in _phrases(table, name))


def of_status(said: object, status: int) -> Fault:
    """The meaning of an error with a status of HTTP."""
    text = replies.error_text(said)
    return _fault(said, status, f"HTTP {status}: {text}")


def of_error(said: object) -> Fault:
    """The meaning of an error inside an answer, by the status that it names."""
    return _fault(said, _status_in(said), f"the server reports: {replies.error_text(said)}")


def _fault(said: object, status: int, reason: str) -> Fault:
    strings = list(_strings(said))
    words = " ".join(plain(text) for text in strings)
    codes = " ".join(plain(text) for text in strings if not re.search(r"\s", text.strip()))
    means = _means(status, words, codes)
    if means != "key" and (_declines(status, words, codes) or (_may_decline(status) and _has_sign(said))):
        means = "declined"
    return Fault(status, reason, replies.error_text(said), means, words)


def _means(status: int, words: str, codes: str) -> Meaning:
    """What is not about the picture's contents."""
    limited = status == 429 or (status < 500 and holds(words, "meanings", "busy"))
    if status in (401, 407) or holds(words, "meanings", "key"):
        return "key"
    if status == 402 or holds(words, "meanings", "quota"):
        return "quota"
    if (limited or status == 403) and holds(words, "meanings", "day"):
        return "day"
    if 300 <= status < 400:
        return "moved"
    if limited:
        return "busy"
    if status in PASSING or (status >= 500 and status not in NEVER):
        return "trouble"
    if status == 404 or (status in (0, 400) and holds(words, "meanings", "missing")):
        return "missing"
    if status == 403:
        return "forbidden"
    return "trouble" if not status and holds(words, "meanings", "trouble") else "request"


def _may_decline(status: int) -> bool:
    return status < 500 and status not in OTHER_MATTERS


def _declines(status: int, words: str, codes: str) -> bool:
    """By any word of an error about the request; by a code alone where the status speaks of something else."""
    return holds(words if _may_decline(status) else codes, "meanings", "declined") and status not in (401, 402, 407)


def names(fault: Fault, feature: str) -> bool:
    """Whether an error names a part of the request: one of ``features`` in the table, or the field of that name."""
    if feature in services.data()["features"]:
        return holds(fault.words, "features", feature)
    return plain(feature) in fault.words


def is_sure(fault: Fault) -> bool:
    """Whether an error says in words that there is no such model, as a status of 404 alone does not."""
    return fault.means == "missing" and holds(fault.words, "meanings", "missing")


# Answers without an answer


def stops(choice: Mapping[str, Any]) -> str | None:
    """The reason for which a provider ended a choice, where it is a refusal."""
    for name, value in choice.items():
        if isinstance(value, str) and plain(name).strip() in STOP_KEYS and holds(plain(value), "stops"):
            return value
    return None


def declined(body: Mapping[str, Any]) -> str | None:
    """Why a provider declined in an answer that holds nothing to read; None where it does not say that it did."""
    for part in _mappings(body):
        if reason := stops(part):
            return reason
    if _has_sign(body):
        return next(_signs(body), "contents were filtered")
    return None


def _has_sign(said: object) -> bool:
    return next(_signs(said), None) is not None


def _signs(said: object) -> Iterator[str]:
    for part in _mappings(said):
        for name, value in part.items():
            if plain(str(name)) in _phrases("signs", "") and _is_set(value):
                yield f"{name}: {value}" if isinstance(value, str) else str(name)


def _is_set(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and plain(value) not in _phrases("no_sign", "")
    return value is True


def _mappings(said: object) -> Iterator[Mapping[str, Any]]:
    """All objects in an answer, the outermost first."""
    waiting = [said]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, Mapping):
            yield found
            waiting += [value for name, value in found.items() if name not in ECHOES]
        elif isinstance(found, list):
            waiting += found


def _strings(said: object) -> Iterator[str]:
    """The texts of an error, without those of the request that it repeats."""
    if isinstance(said, (str, bytes)):
        yield said if isinstance(said, str) else said.decode("utf-8", "replace")
    elif isinstance(said, list):
        for value in said:
            yield from _strings(value)
    elif isinstance(said, Mapping):
        for name, value in said.items():
            if name not in ECHOES:
                yield from _strings(value)


def _status_in(said: object) -> int:
    """The status that an error names by number or by word, its outermost one; 0 for none."""
    found = list(_mappings(said))
    for part in found:
        for name, value in part.items():
            if plain(str(name)).strip() in STATUS_KEYS and (number := _number(value)):
                return number
    return next((number for part in found for number in _by_word(part)), 0)


def _number(value: object) -> int:
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[45]\d\d", text, re.ASCII) else 0


def _by_word(part: Mapping[str, Any]) -> Iterator[int]:
    """Statuses that short words of an error, such as its type, stand for."""
    said: Sequence[str] = [plain(v) for v in part.values() if isinstance(v, str) and len(v.split()) == 1]
    for status, words in services.data()["statuses"].items():
        if any(plain(word) in said for word in words):
            yield int(status)
