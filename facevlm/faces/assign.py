"""Who is who: the people that a model described, met with the faces that are known. Nobody is assigned by guess.

By number where faces are marked, else by the overlap of boxes, else from left to right if everybody is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from facevlm import parsing
from facevlm.faces.matching import match_faces
from facevlm.faces.people import PEOPLE, Described, DescribedPerson, PeoplePicture
from facevlm.types import Face, Inquiry, Outcome, Person, Prediction, Scene

NOWHERE = (0.0, 0.0, 0.0, 0.0)
"""The box of somebody who cannot be placed: it meets no other box."""
FROM_LEFT = "met from left to right, for want of boxes"


def assign(picture: PeoplePicture, scene: Scene, inquiry: Inquiry) -> Described:
    """What the answer about a picture amounts to; every known face that is asked about ends with one outcome."""
    asked = () if inquiry.who is not None else picture.faces or ()
    expected = None if inquiry.who is not None or picture.faces is None else len(picture.faces)
    if scene.problem is not None:
        whole = parsing.problem(Face(picture.sample_id, picture.filepath), PEOPLE, scene.problem)
        if whole is not None:
            people = tuple(_without(face, inquiry, whole.outcome, whole.reason or "") for face in asked)
            return Described(picture, people, whole.outcome, whole.reason, whole.text, expected)
    people = _people(picture, scene, inquiry)
    outcome, reason = _judged(people, len(scene.people), expected, inquiry)
    return Described(picture, people, outcome, reason, None, expected, len(scene.people))


def nobody(picture: PeoplePicture) -> Described:
    """A picture without a known face, about which nothing is asked."""
    return Described(picture, (), "no_face", "no face is given", None, 0, 0)


def _people(picture: PeoplePicture, scene: Scene, inquiry: Inquiry) -> tuple[DescribedPerson, ...]:
    described = scene.people
    if picture.faces is None:
        return tuple(
            _found(_as_said(picture, p), p, inquiry, None if p.box_xywh_rel else "no usable box") for p in described
        )
    known = len(picture.faces)
    miscounted = inquiry.who is None and known != len(described)
    count = f"; got {len(described)} people, expected {known}" if miscounted else ""
    matches = _by_box(picture.faces, described, inquiry) if inquiry.shown == "boxes" else _by_number(known, scene)
    people = []
    for face, match in zip(picture.faces, matches, strict=True):
        if match.person is not None:
            people.append(_found(face, described[match.person], inquiry, match.note or None))
        elif inquiry.who is None:
            people.append(_without(face, inquiry, match.outcome, match.note + count))
    met = {match.person for match in matches}
    rest = f"meets none of the {known} known faces{count}"
    return (*people, *(_found(_as_said(picture, p), p, inquiry, rest) for k, p in enumerate(described) if k not in met))


@dataclass(frozen=True)
class Match:
    """The place of a face's person in the answer, or the outcome of a face that has none; ``note`` is the reason."""

    person: int | None
    note: str = ""
    outcome: Outcome = "no_face"


def _by_box(faces: Sequence[Face], people: Sequence[Person], inquiry: Inquiry) -> list[Match]:
    placed = [k for k, person in enumerate(people) if person.box_xywh_rel is not None]
    if people and not placed:
        if len(people) == len(faces) and inquiry.who is None:
            return [Match(k, FROM_LEFT) for k in range(len(people))]
        return [Match(None, "no box is usable, so nobody can be told apart", "unparsed")] * len(faces)
    true = [face.box_xywh_rel or NOWHERE for face in faces]
    boxes = [people[k].box_xywh_rel or NOWHERE for k in placed]
    at = match_faces([str(n) for n in range(len(faces))], true, [None] * len(boxes), boxes)
    return [Match(placed[k]) if k >= 0 else Match(None, "nobody has a box that meets this face") for k in at]


def _by_number(count: int, scene: Scene) -> list[Match]:
    """A number that was given twice is nobody's."""
    places: dict[int | None, list[int]] = defaultdict(list)
    for k, person in enumerate(scene.people):
        places[person.number].append(k)
    voted = f" in more than half of {scene.samples} answers" if scene.samples > 1 else ""
    return [_numbered(number, places[number], voted) for number in range(1, count + 1)]


def _numbered(number: int, places: Sequence[int], voted: str) -> Match:
    if len(places) > 1:
        return Match(None, f"{len(places)} people have the number {number}", "unparsed")
    return Match(places[0]) if places else Match(None, f"nobody has the number {number}{voted}")


def _without(face: Face, inquiry: Inquiry, outcome: Outcome, reason: str) -> DescribedPerson:
    names = [question.attribute.name for question in inquiry.questions]
    missing = tuple(Prediction(face, name, outcome, reason=reason) for name in names)
    return DescribedPerson(face, missing, dict.fromkeys(inquiry.free), outcome, reason)


def _as_said(picture: PeoplePicture, person: Person) -> Face:
    """Somebody who is no known face: where the model says, or nowhere."""
    return Face(picture.sample_id, picture.filepath, person.box_xywh_rel or NOWHERE)


def _found(face: Face, person: Person, inquiry: Inquiry, note: str | None) -> DescribedPerson:
    predictions = tuple(parsing.predict(face, q, r) for q, r in zip(inquiry.questions, person.replies, strict=True))
    wrong = next((row for row in predictions if row.outcome != "ok"), None)
    free = {name: person.free.get(name) for name in inquiry.free}
    return DescribedPerson(
        face, predictions, free, wrong.outcome if wrong else "ok", note or (wrong.reason if wrong else None)
    )


def _judged(
    people: Sequence[DescribedPerson], got: int, expected: int | None, inquiry: Inquiry
) -> tuple[Outcome, str | None]:
    """The outcome of the picture as a whole, ``ok`` where nothing about it is to be asked again."""
    if expected is not None and got != expected:
        return "unparsed", f"got {got} people, expected {expected}"
    if not got and inquiry.who is None:
        return "no_face", "the model found nobody"
    for person in people:
        if person.outcome != "ok":
            return person.outcome, person.reason
        if person.face.label_id is None and person.reason:
            return "unparsed", f"somebody {person.reason}" if expected is not None else person.reason
    return "ok", None
