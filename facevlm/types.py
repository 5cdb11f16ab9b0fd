"""Core types: a face goes in, a typed answer comes out. All frozen, all without pixels or models."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "refused", "unparsed", "no_face", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "refused", "unparsed", "no_face", "failed")
Kind = Literal["nominal", "ordinal"]
DECISIONS = GREEDY, PROBABLE = ("greedy", "probable")
"""How scores become a label: by the one that greedy decoding takes token by token, or by the most probable one."""
SMALL_PX = 32
"""A face whose box has a shorter side than this, in pixels, is flagged: it is shown to a model at several times its
size."""


@dataclass(frozen=True)
class Attribute:
    """What is asked about a face: a closed set of labels.

    ``family`` ties label sets of one concept together (``race`` for race5, race6, race7). Labels of an
    ordinal attribute stand in their order. ``aliases`` are other spellings of a label.
    """

    name: str
    labels: tuple[str, ...]
    question: str
    kind: Kind = "nominal"
    family: str = ""
    title: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def spellings(self, label: str) -> tuple[str, ...]:
        """The label itself and its aliases, without repeats."""
        return tuple(dict.fromkeys((label, *self.aliases.get(label, ()))))


@dataclass(frozen=True)
class Face:
    """A reference to one face: cheap, picklable, no pixels.

    ``box_xywh_rel`` is x, y, width, height as shares of the picture, or None for the whole picture; ``eyes_xy_rel``
    are the person's right and left eye, where they are known. ``side_px`` is the shorter side of the box in pixels,
    known once the picture was opened.
    """

    sample_id: str
    filepath: str
    box_xywh_rel: tuple[float, float, float, float] | None = None
    label_id: str | None = None
    eyes_xy_rel: tuple[tuple[float, float], tuple[float, float]] | None = None
    side_px: float | None = None

    @property
    def small(self) -> bool | None:
        """Whether the face is smaller than ``SMALL_PX``; None where its size is not known."""
        return None if self.side_px is None else self.side_px < SMALL_PX


@dataclass(frozen=True)
class Question:
    """What is asked, and the strings by which a model may answer each label.

    ``surface_forms`` has one tuple of strings per label of the attribute. ``context`` and ``cue``
    are set when several attributes share one prompt: ``context`` is that prompt, ``cue`` opens this attribute's branch.
    """

    attribute: Attribute
    text: str
    surface_forms: tuple[tuple[str, ...], ...]
    context: str | None = None
    cue: str = ""

    def __post_init__(self) -> None:
        if len(self.surface_forms) != len(self.attribute.labels):
            raise ValueError(
                f"{self.attribute.name}: got {len(self.surface_forms)} groups of surface forms, "
                f"expected {len(self.attribute.labels)}, one per label"
            )

    def fingerprint(self) -> str:
        """Eight hex digits that change with anything the model is asked."""
        return digest(
            {
                "labels": self.attribute.labels,
                "text": self.text,
                "forms": self.surface_forms,
                "context": self.context,
                "cue": self.cue,
            }
        )


@dataclass(frozen=True)
class Reply:
    """What a backend really said about one question; can be parsed again without a model.

    ``log_probs`` are natural-log probabilities of the labels, not normalised over the label set: their
    total is the coverage. ``choice`` is the index of the label that constrained greedy decoding
    takes, and ``decision`` says whether that label is the answer or the most ``probable`` one. ``text`` is a free
    answer, and ``confidence`` its probability where that alone is known. ``error`` is set when there is no answer. A
    ``malformed`` text is not in the form that was asked for, and never read as a label.
    """

    log_probs: tuple[float, ...] | None = None
    choice: int | None = None
    decision: str = GREEDY
    text: str | None = None
    confidence: float | None = None
    error: str | None = None
    refused: bool = False
    malformed: bool = False
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Inquiry:
    """What is asked about all people of a picture: closed questions, and ``free`` ones by name, answered in words.

    ``who`` is a phrase that says who is meant, None for everybody. ``shown`` is how people are told apart: by the
    ``boxes`` of their faces, which are asked for, or by ``numbers`` that are drawn on the picture, or by the order of
    ``crops``.
    """

    questions: tuple[Question, ...]
    free: Mapping[str, str] = field(default_factory=dict)
    who: str | None = None
    shown: Literal["boxes", "numbers", "crops"] = "boxes"


@dataclass(frozen=True)
class Person:
    """One person as a model described them: a reply per closed question, in order, and words per free one.

    ``box_xywh_rel`` is around the face, in shares of the picture, None where the model gave none that can be used;
    ``number`` is that of the marked face, from 1 on.
    """

    replies: tuple[Reply, ...]
    free: Mapping[str, str | None] = field(default_factory=dict)
    box_xywh_rel: tuple[float, float, float, float] | None = None
    number: int | None = None


@dataclass(frozen=True)
class Scene:
    """The people of one picture in the order of the answer; or ``problem``, the reply that came instead of people.

    ``samples`` is of how many answers it is the vote.
    """

    people: tuple[Person, ...] = ()
    problem: Reply | None = None
    samples: int = 1


@dataclass(frozen=True)
class Prediction:
    """One face, one attribute, one outcome. ``label`` is set exactly when the outcome is ``ok``.

    ``log_probs`` are normalised over the label set; ``confidence`` is the label's share; ``coverage``
    is how much of the model's total probability lay on the label set. ``rival`` is the label that the other way of
    deciding takes (greedy decoding, or the most probable label) where that is another one.
    """

    face: Face
    attribute: str
    outcome: Outcome
    label: str | None = None
    confidence: float | None = None
    log_probs: tuple[float, ...] | None = None
    coverage: float | None = None
    reason: str | None = None
    text: str | None = None
    rival: str | None = None

    def __post_init__(self) -> None:
        if (self.label is not None) != (self.outcome == "ok"):
            raise ValueError(f"outcome '{self.outcome}' with label {self.label!r}: a label goes with 'ok' alone")


def logsumexp(values: Sequence[float]) -> float:
    """log of the sum of exponentials; minus infinity for nothing."""
    top = max(values, default=-math.inf)
    return top if math.isinf(top) else top + math.log(sum(math.exp(v - top) for v in values))


def digest(data: object) -> str:
    """Eight hex digits of a JSON-able value."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]
