"""What a report is built from: figures as they were stored, the record of the run, and perhaps the surest errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """A wrong answer; the picture's file is read for its thumbnail and named nowhere."""

    filepath: str
    true: str
    predicted: str
    confidence: float | None


@dataclass(frozen=True)
class Source:
    """A stored evaluation as plain data. ``record`` is empty where no run of the prefix was recorded.

    ``others`` are records of further runs, where attributes were answered by different ones.
    ``mistakes`` are there when pictures are asked for, by predicted attribute; ``evaluated`` is a date.
    ``changed`` are sentences about answers that are no longer those that were judged.
    """

    dataset: str
    prefix: str
    evaluation: Mapping[str, Any]
    record: Mapping[str, Any] = field(default_factory=dict)
    view: str = ""
    evaluated: str = ""
    mistakes: Mapping[str, Sequence[Mistake]] | None = None
    others: Sequence[Mapping[str, Any]] = ()
    changed: Sequence[str] = ()
