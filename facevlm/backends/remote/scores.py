"""Label probabilities from the token log-probabilities of a chat completion.

Along the tokens of the answered value, every alternative that the server lists leads to labels whose spelling goes on
that way. Its probability counts for these labels; what is not listed is spread evenly over the labels that are not
listed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facevlm.types import Question

LEAST = math.log(1e-12)
"""The log-probability of a label of which nothing is left."""


@dataclass(frozen=True)
class Token:
    """A generated token with its natural-log probability, and the alternatives (text, log-probability) in its place."""

    text: str
    log_prob: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ValueScores:
    """Natural-log probabilities of all labels, or the probability of the answered one where no other is listed."""

    log_probs: tuple[float, ...] | None = None
    confidence: float | None = None


def of_value(
    content: str, read: Sequence[Token], name: str, value: str, question: Question, after: int = 0
) -> ValueScores:
    """What the tokens of the whole answer say about the value of one key; empty where they do not fit it.

    ``content`` is the JSON text, in which the first key ``name`` from place ``after`` on has the string ``value``.
    """
    start = _start(content, name, value, after)
    path = _path(content, read, start, value) if start is not None else []
    spellings = _spellings(question)
    if not path or value not in spellings:
        return ValueScores()
    if not any(token.others for _, _, token in path):
        return ValueScores(confidence=math.exp(sum(token.log_prob for _, _, token in path)))
    masses, listed, before = [0.0] * len(question.attribute.labels), 0.0, 0.0
    for lead, known, token in path:
        for text, log_prob in token.others:
            mass = math.exp(before + log_prob)
            listed += mass
            if text.startswith(lead):
                _share(masses, mass, _leads_to(known + text[len(lead) :], spellings))
        before += token.log_prob
    masses[spellings[value]] += math.exp(before)
    rest = max(0.0, 1.0 - listed - math.exp(before))
    _share(masses, rest, {k for k, mass in enumerate(masses) if mass == 0.0})
    return ValueScores(tuple(math.log(mass) if mass > 0 else LEAST for mass in masses))


def _share(masses: list[float], mass: float, labels: set[int]) -> None:
    for k in labels:
        masses[k] += mass / len(labels)


def _spellings(question: Question) -> dict[str, int]:
    """Every string that stands for a label -> the label's number; the labels themselves come first."""
    table: dict[str, int] = {}
    for k, (label, forms) in enumerate(zip(question.attribute.labels, question.surface_forms, strict=True)):
        for form in (label, *forms, *question.attribute.spellings(label)):
            table.setdefault(form, k)
    return table


def _leads_to(text: str, spellings: Mapping[str, int]) -> set[int]:
    """The labels that a value beginning with ``text`` may become, or is if its closing quote is in it."""
    said, closed, _ = text.partition('"')
    if closed:
        return {spellings[said]} if said in spellings else set()
    return {k for form, k in spellings.items() if form.startswith(said)} if said else set()


def _start(content: str, name: str, value: str, after: int) -> int | None:
    """Where the value of a key begins in the JSON text, behind its opening quote."""
    key = content.find(json.dumps(name), after)
    at = content.find(f'"{value}"', key + len(name) + 2) if key >= 0 else -1
    between = content[key + len(name) + 2 : at] if at >= 0 else ""
    return at + 1 if between.strip() == ":" else None


def _path(content: str, read: Sequence[Token], start: int, value: str) -> list[tuple[str, str, Token]]:
    """The tokens that make up the value: (text of the token before the value begins, value so far, token).

    Empty where the tokens do not spell the content, as with bytes of one character in two tokens.
    """
    end = start + len(value)
    if "".join(t.text for t in read)[:end] != content[:end]:
        return []
    path, at = [], 0
    for token in read:
        after = at + len(token.text)
        if after > start and at < end:
            path.append((token.text[: max(0, start - at)], content[start : max(start, at)], token))
        at = after
    return path
