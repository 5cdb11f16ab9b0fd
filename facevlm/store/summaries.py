"""All answers about a face on one box, so that they can be read, filtered and coloured together in the App.

One field of Detections per attribute is what is evaluated and filtered by confidence; but boxes that lie on one another
hide each other's labels. The summary is made of these fields inside the database, in the update that changes them, so
that it never says anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from facevlm.store import predictions, schema
from facevlm.store.documents import UNKNOWN
from facevlm.store.schema import BOUNDING_BOX, CONFIDENCE, DETECTIONS, FACE, LABEL, OUTCOME, RUN, confidence_of

Expression = Any
"""An aggregation expression of MongoDB."""


class Summary:
    """A field of Detections: for every face that was asked about its box, a label such as ``Female, 20-39, happy``, and
    per attribute its label and confidence.

    ``faces`` is the field of the faces; ``fields`` maps attributes to the fields that hold the answers.
    """

    def __init__(self, name: str, faces: str, fields: Mapping[str, str]) -> None:
        self.name, self.faces, self._fields = name, faces, fields

    def declare(self, dataset: fo.Dataset) -> None:
        """Add the field and its attributes, so that the App's sidebar offers them."""
        attributes, parts = ", ".join(self._fields), schema.summary(self._fields)
        predictions.declare(dataset, {attributes: self.name}, {attributes: "all of the prefix"}, fo.Detections, parts)

    def stages(self) -> list[Mapping[str, Any]]:
        """Stages of an update that make the field of what the others hold by then."""
        faces = {"$ifNull": [f"${self.faces}.{DETECTIONS}", []]}
        every = {"$map": {"input": faces, "as": "f", "in": self._face()}}
        kept = {"$filter": {"input": every, "cond": {"$ne": [f"$$this.{OUTCOME}", None]}}}
        return [{"$set": {self.name: {"_cls": "Detections", DETECTIONS: kept}}}]

    def _face(self) -> Expression:
        """The Detection of the face ``$$f``; without an outcome where it was not asked about."""
        # By number: a variable of MongoDB must begin with a small letter, which attributes need not.
        answers = {f"a{k}": _answer(field) for k, field in enumerate(self._fields.values())}
        parts: dict[str, Expression] = {}
        for k, attribute in enumerate(self._fields):
            parts[attribute] = _or_null(f"$$a{k}.{LABEL}")
            parts[confidence_of(attribute)] = _or_null(f"$$a{k}.{CONFIDENCE}")
        detection = {
            "_id": "$$f._id",
            "_cls": "Detection",
            "attributes": {},
            "tags": {"$ifNull": ["$$summary.tags", []]},
            LABEL: _text(list(answers)),
            BOUNDING_BOX: f"$$f.{BOUNDING_BOX}",
            FACE: {"$toString": "$$f._id"},
            OUTCOME: _outcome(list(answers)),
            RUN: {"$first": _present([f"$${name}.{RUN}" for name in answers])},
            **parts,
        }
        # Tags that somebody gave to the face as a whole stay on it.
        same = {"$eq": ["$$this._id", "$$f._id"]}
        earlier = {"$first": {"$filter": {"input": {"$ifNull": [f"${self.name}.{DETECTIONS}", []]}, "cond": same}}}
        return {"$let": {"vars": {**answers, "summary": earlier}, "in": detection}}


def _answer(field: str) -> Expression:
    """The answer in a field about the face ``$$f``, or null."""
    its_own = {"$eq": [f"$$this.{FACE}", {"$toString": "$$f._id"}]}
    first = {"$first": {"$filter": {"input": {"$ifNull": [f"${field}.{DETECTIONS}", []]}, "cond": its_own}}}
    return {"$ifNull": [first, None]}


def _or_null(value: str) -> Expression:
    """A field that is missing would leave out its key, and FiftyOne expects every declared one."""
    return {"$ifNull": [value, None]}


def _present(values: list[Expression]) -> Expression:
    return {"$filter": {"input": values, "cond": {"$ne": [_or_null("$$this"), None]}}}


def _text(answers: list[str]) -> Expression:
    """The labels one after the other, in place of a missing one a question mark, nothing for what was not asked."""
    words = []
    for answer in answers:
        asked = {"$ne": [_or_null(f"$${answer}.{OUTCOME}"), None]}
        words.append({"$cond": [asked, {"$ifNull": [f"$${answer}.{LABEL}", UNKNOWN]}, None]})
    joined = {"$concat": ["$$value", {"$cond": [{"$eq": ["$$value", ""]}, "", ", "]}, "$$this"]}
    return {"$reduce": {"input": _present(words), "initialValue": "", "in": joined}}


def _outcome(answers: list[str]) -> Expression:
    """``ok`` where all answers are, else the first outcome that is not; null where there is no answer."""
    outcomes = _present([f"$${a}.{OUTCOME}" for a in answers])
    wrong = {"$filter": {"input": outcomes, "cond": {"$ne": ["$$this", "ok"]}}}
    return {"$ifNull": [{"$first": wrong}, {"$first": outcomes}, None]}
