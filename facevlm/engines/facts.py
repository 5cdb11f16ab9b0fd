"""What a run's record says about its model and its questions. No secret."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from facevlm.backends import BackendInfo
from facevlm.types import Question, digest

SPENT = ("requests", "input_tokens", "output_tokens", "dollars")


def facts(info: BackendInfo, questions: Mapping[str, Question]) -> dict[str, Any]:
    """The part of a run's record about when, what and by which model."""
    backend = asdict(info)
    identity = [{"checkpoint": k, "revision": v} for k, v in sorted(backend.pop("identity").items())]
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "questions": {name: _public(question) for name, question in questions.items()},
        "identity": identity,
        "backend": backend,
    }


def machine() -> str:
    """What tells this machine from others, and nothing else about it."""
    return digest(platform.node())


def ways(told: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    """Of :func:`facts`, what is kept by each mark that answers carry, whatever runs come later under the prefix.

    ``marks`` are those of attributes.
    """
    asked: dict[str, dict[str, Any]] = {mark: {} for mark in marks.values()}
    for name, question in told["questions"].items():
        asked[marks[name]][name] = question
    common = {part: told[part] for part in ("time", "identity", "backend")}
    return {mark: {"questions": questions, **common} for mark, questions in asked.items()}


def spent(info: BackendInfo, before: Mapping[str, float]) -> dict[str, float]:
    """Requests, tokens and dollars of a run, with those of the runs that it goes on from."""
    now = {name: info.usage[name] for name in SPENT if info.usage.get(name) is not None}
    return {name: before.get(name, 0) + value for name, value in now.items()}


def _public(question: Question) -> dict[str, Any]:
    return {
        "text": question.text,
        "context": question.context,
        "labels": list(question.attribute.labels),
        "fingerprint": question.fingerprint(),
    }
