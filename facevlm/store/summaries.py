"""All answers about a face on one box, so that they can be read, filtered and coloured together in the App.

One field of Detections per attribute is what is evaluated and filtered by confidence; but boxes that lie on one another
hide each other's labels. The summary is made of these fields inside the database, in the update that changes them, so
that it never says anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from facevlm.store import predictions

UNKNOWN = "?"
"""Shown in the place of an answer that is not ``ok``; the outcome says why."""
CONFIDENCE = "_confidence"
Expression = Any
"""An aggregation expression of MongoDB."""


class Summary:
    """A field of Detections: for every face that was asked about its box, a label such as ``Female, 20-39, happy``, and
    per attribute its label and confidence.

    ``source`` is the field of the faces; ``fields`` maps attributes to the fields that hold the answers.
    """

    def __init__(self, name: str, source: str, fields: Mapping[str, str]) -> None:
        self.name, self._source, self._fields = name, source, fields

    def declare(self, dataset: fo.Dataset) -> None:
        """Add the field and its attributes, so that the App's sidebar offers them."""
        parts: dict[str, type[fo.Field]] = {"face": fo.StringField, "outcome": fo.StringField, "run": fo.StringField}
        for attribute in self._fields:
            parts |= {attribute: fo.StringField, f"{attribute}{CONFIDENCE}": fo.FloatField}
        said = ", ".join(self._fields)
        predictions.declare(dataset, {said: self.name}, {said: "all of the prefix"}, fo.Detections, parts)

    def stages(self) -> list[Mapping[str, Any]]:
        """Stages of an update that make the field of what the others hold by then."""
        every = {"$map": {"input": {"$ifNull": [f"${self._source}.detections", []]}, "as": "f", "in": self._face()}}
        kept = {"$filter": {"input": every, "cond": {"$ne": ["$$this.outcome", None]}}}
        return [{"$set": {self.name: {"_cls": "Detections", "detections": kept}}}]

    def _face(self) -> Expression:
        """The Detection of the face ``$$f``; without an outcome where it was not asked about."""
        answers = {f"a{k}": _answer(field) for k, field in enumerate(self._fields.values())}
        parts: dict[str, Expression] = {}
        for k, attribute in enumerate(self._fields):
            parts |= {attribute: _or_null(f"$$a{k}.label"), f"{attribute}{CONFIDENCE}": _or_null(f"$$a{k}.confidence")}
        detection = {
            "_id": "$$f._id",
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": _text(list(answers)),
            "bounding_box": "$$f.bounding_box",
            "face": {"$toString": "$$f._id"},
            "outcome": _outcome(list(answers)),
            "run": {"$first": _present([f"$${name}.run" for name in answers])},
            **parts,
        }
        return {"$let": {"vars": answers, "in": detection}}


def _answer(field: str) -> Expression:
    """The answer in a field about the face ``$$f``, or null."""
    about = {"$eq": ["$$this.face", {"$toString": "$$f._id"}]}
    found = {"$first": {"$filter": {"input": {"$ifNull": [f"${field}.detections", []]}, "cond": about}}}
    return {"$ifNull": [found, None]}


def _or_null(value: str) -> Expression:
    """A field that is missing would leave out its key, and FiftyOne expects every declared one."""
    return {"$ifNull": [value, None]}


def _is_there(answer: str) -> Expression:
    return {"$ne": [_or_null(f"$${answer}.outcome"), None]}


def _present(values: list[Expression]) -> Expression:
    return {"$filter": {"input": values, "cond": {"$ne": [_or_null("$$this"), None]}}}


def _text(answers: list[str]) -> Expression:
    """The labels one after the other, in place of a missing one a question mark, nothing for what was not asked."""
    words = [{"$cond": [_is_there(a), {"$ifNull": [f"$${a}.label", UNKNOWN]}, None]} for a in answers]
    joined = {"$concat": ["$$value", {"$cond": [{"$eq": ["$$value", ""]}, "", ", "]}, "$$this"]}
    return {"$reduce": {"input": _present(words), "initialValue": "", "in": joined}}


def _outcome(answers: list[str]) -> Expression:
    """``ok`` where all answers are, else the first outcome that is not; null where there is no answer."""
    outcomes = _present([f"$${a}.outcome" for a in answers])
    wrong = {"$filter": {"input": outcomes, "cond": {"$ne": ["$$this", "ok"]}}}
    return {"$ifNull": [{"$first": wrong}, {"$first": outcomes}, None]}
