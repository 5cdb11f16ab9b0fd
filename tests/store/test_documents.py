"""Stored documents as plain dicts, and faces read back from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facevlm.detection import FoundFace, Searched
from facevlm.faces.people import Described, DescribedPerson, PeoplePicture
from facevlm.faces.quality import Quality
from facevlm.store import documents
from facevlm.types import Face, Prediction

BOX = (0.1, 0.2, 0.3, 0.4)
FACE = Face("s", "/s.png", BOX, "f1", side_px=20.0)


def test_an_answer_about_a_picture() -> None:
    prediction = Prediction(Face("s", "/s.png"), "gender", "ok", "Male", 0.9, (-0.1, -2.3), 0.8, None, "Male.")
    assert documents.answer(prediction, "run:1") == {
        "label": "Male",
        "confidence": 0.9,
        "logits": (-0.1, -2.3),
        "outcome": "ok",
        "reason": None,
        "coverage": 0.8,
        "text": "Male.",
        "run": "run:1",
    }


def test_an_answer_about_a_face_is_tied_to_it() -> None:
    scored = documents.face_answer(Prediction(FACE, "gender", "ok", "Male", 0.9, (-0.1, -2.3)), None)
    logits = scored.pop("logits")
    assert isinstance(logits, np.ndarray)
    assert logits.tolist() == [-0.1, -2.3]
    assert list(scored)[:3] == ["bounding_box", "face", "small"]
    assert (scored["bounding_box"], scored["face"], scored["small"], scored["run"]) == (list(BOX), "f1", True, None)
    refused = documents.face_answer(Prediction(Face("s", "/s.png"), "gender", "refused", reason="no"), "run:1")
    assert (refused["logits"], refused["bounding_box"], refused["small"], refused["reason"]) == (None, [], None, "no")


def test_a_description_is_that_of_persons_and_of_the_picture() -> None:
    person = DescribedPerson(FACE, (), {"hair": "red", "hat": None}, "refused", "no")
    assert documents.person(person, "run:1") == {
        "label": "person",
        "bounding_box": list(BOX),
        "face": "f1",
        "outcome": "refused",
        "reason": "no",
        "run": "run:1",
        "hair": "red",
        "hat": None,
    }
    described = Described(PeoplePicture("s", "/s.png"), (person,), "unparsed", "why", "text", 2, 1)
    assert documents.described_picture(described, "run:1", ["f"]) == {
        "outcome": "unparsed",
        "reason": "why",
        "text": "text",
        "expected": 2,
        "got": 1,
        "run": "run:1",
        "answered": ["f"],
    }


def test_found_faces_carry_their_quality_where_it_was_measured() -> None:
    faces = (FoundFace(BOX, 0.9, ((0.1, 0.2), (0.3, 0.4))), FoundFace(BOX))
    plain = documents.found_faces(Searched(FACE, faces, "ok"))
    assert plain == [
        {"label": "face", "bounding_box": list(BOX), "confidence": 0.9, "landmarks": [0.1, 0.2, 0.3, 0.4]},
        {"label": "face", "bounding_box": list(BOX), "confidence": None, "landmarks": None},
    ]
    quality = Quality(*[0.5] * len(Quality.__dataclass_fields__))
    measured = documents.found_faces(Searched(FACE, faces, "ok", None, (quality, quality)))
    assert measured == [face | dict.fromkeys(Quality.__dataclass_fields__, 0.5) for face in plain]
    assert documents.found_faces(Searched(FACE, (), "no_face", "nobody")) == []
    with pytest.raises(ValueError, match="zip"):
        documents.found_faces(Searched(FACE, faces, "ok", None, (quality,)))


def test_a_stored_face_is_read_with_its_eyes() -> None:
    points = [[0.1, 0.2], [0.3, 0.4], [0.2, 0.3]]
    face = documents.face("s", "/s.png", "f1", [0, 0.5, 1, 0.5], points)
    assert (face.box_xywh_rel, face.label_id) == ((0.0, 0.5, 1.0, 0.5), "f1")
    assert face.eyes_xy_rel == ((0.1, 0.2), (0.3, 0.4))


@pytest.mark.parametrize("box", [None, [], [0.1, 0.2, 0.3], [0.1] * 5])
def test_a_box_that_is_none_is_not_the_whole_picture(box: list[float] | None) -> None:
    face = documents.face("s", "/s.png", "f1", box)
    assert face.box_xywh_rel is not None
    assert all(math.isnan(part) for part in face.box_xywh_rel)


@pytest.mark.parametrize("points", [None, [], [[0.1, 0.2]], [[0.1, 0.2], [0.3]], [[0.1, 0.2, 0.3], [0.1, 0.2]]])
def test_eyes_that_are_none_are_left_out(points: list[list[float]] | None) -> None:
    assert documents.face("s", "/s.png", "f1", BOX, points).eyes_xy_rel is None
