"""Replies into predictions: pure functions, no model, no picture. Nothing is guessed."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from facevlm.attributes import fold
from facevlm.errors import InputError
from facevlm.types import PROBABLE, Face, Prediction, Question, Reply, logsumexp

SHOWN = 80
TOO_MUCH = 0.05
"""Log of the largest total probability that rounding explains."""


def predict(face: Face, question: Question, reply: Reply) -> Prediction:
    """The one prediction that a reply amounts to.

    Scored replies are decided by constrained greedy decoding (``choice``), or by the most probable label where that is
    their ``decision`` or nothing was decoded.
    Free text counts only when the whole of it spells a label.
    """
    name = question.attribute.name
    if (unanswered := problem(face, name, reply)) is not None:
        return unanswered
    if reply.log_probs is not None:
        return _scored(face, question, reply)
    return _read(face, question, reply.text or "", reply.confidence)


def problem(face: Face, name: str, reply: Reply) -> Prediction | None:
    """What a reply amounts to that answers nothing: refused, failed, or not in the form asked for; else None."""
    if reply.refused:
        return Prediction(face, name, "refused", reason=reply.error or "the model declined to answer", text=reply.text)
    if reply.error is not None:
        return Prediction(face, name, "failed", reason=reply.error, text=reply.text)
    if reply.text is not None and reply.malformed and reply.log_probs is None:
        reason = f"the answer '{_shown(reply.text)}' is not in the form that was asked for"
        return Prediction(face, name, "unparsed", reason=reason, text=reply.text)
    if reply.log_probs is None and reply.text is None:
        return Prediction(face, name, "failed", reason="the backend gave neither scores nor text")
    return None


def failed(face: Face, question: Question, reason: str) -> Prediction:
    """A face that never reached the model."""
    return Prediction(face, question.attribute.name, "failed", reason=reason)


def too_small(face: Face, question: Question, reason: str) -> Prediction:
    """A face that was left out for its size: there is no face here that a model could be asked about."""
    return Prediction(face, question.attribute.name, "no_face", reason=reason)


def _scored(face: Face, question: Question, reply: Reply) -> Prediction:
    name, labels = question.attribute.name, question.attribute.labels
    log_probs = reply.log_probs or ()
    if len(log_probs) != len(labels):
        reason = f"got {len(log_probs)} scores, expected {len(labels)}, one per label"
        return Prediction(face, name, "failed", reason=reason)
    total = logsumexp(log_probs)
    if not math.isfinite(total):
        return Prediction(face, name, "failed", reason=f"the scores are not finite: {list(log_probs)}")
    if total > TOO_MUCH:
        return Prediction(
            face, name, "failed", reason=f"the scores are no log-probabilities: their total is {total:.3g}"
        )
    shares = tuple(value - total for value in log_probs)
    likeliest = max(range(len(labels)), key=shares.__getitem__)
    greedy = likeliest if reply.choice is None else reply.choice
    best, other = (likeliest, greedy) if reply.decision == PROBABLE else (greedy, likeliest)
    return Prediction(
        face,
        name,
        "ok",
        label=labels[best],
        confidence=math.exp(shares[best]),
        log_probs=shares,
        coverage=math.exp(min(0.0, total)),
        text=reply.text,
        rival=None if other == best else labels[other],
    )


def answer_table(question: Question) -> Mapping[str, str]:
    """Folded answer string -> label, from the surface forms and the attribute's spellings.

    Raises :class:`~facevlm.errors.InputError` where a string would stand for two labels.
    """
    attribute = question.attribute
    spellings = tuple(attribute.spellings(label) for label in attribute.labels)
    return _answer_table(attribute.name, attribute.labels, question.surface_forms, spellings)


@functools.lru_cache(maxsize=256)
def _answer_table(
    name: str,
    labels: tuple[str, ...],
    surface_forms: tuple[tuple[str, ...], ...],
    spellings: tuple[tuple[str, ...], ...],
) -> Mapping[str, str]:
    table: dict[str, str] = {}
    for label, forms, spelled in zip(labels, surface_forms, spellings, strict=True):
        for form in (*forms, *spelled):
            if table.setdefault(fold(form), label) != label:
                raise InputError(f"{name}: the answer '{form}' stands for '{table[fold(form)]}' and '{label}'.")
    return table


def _read(face: Face, question: Question, text: str, confidence: float | None) -> Prediction:
    label = answer_table(question).get(fold(text))
    if label is not None:
        return Prediction(face, question.attribute.name, "ok", label=label, confidence=confidence, text=text)
    expected = ", ".join(question.attribute.labels)
    reason = f"the answer '{_shown(text)}' is none of: {expected}" if text.strip() else "the answer is empty"
    return Prediction(face, question.attribute.name, "unparsed", reason=reason, text=text)


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
