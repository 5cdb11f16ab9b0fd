"""Which faces are asked about, by what is known of them and by what is stored already."""

from __future__ import annotations

import pytest

from facevlm.errors import InputError
from facevlm.faces.selection import NOTHING, Selection, lacking
from facevlm.types import Face


@pytest.mark.parametrize(
    ("selection", "label", "confidence", "taken"),
    [
        (Selection("faces"), None, None, True),
        (Selection("faces", ("face",)), "face", 0.1, True),
        (Selection("faces", ("face",)), "cat", 0.9, False),
        (Selection("faces", ("face",)), None, 0.9, False),
        (Selection("faces", min_confidence=0.5), "cat", 0.5, True),
        (Selection("faces", min_confidence=0.5), "face", 0.49, False),
        (Selection("faces", min_confidence=0.5), "face", None, True),
        (Selection("faces", ("face",), 0.5), "cat", None, False),
    ],
)
def test_labels_and_confidence_decide(
    selection: Selection, label: str | None, confidence: float | None, taken: bool
) -> None:
    assert selection.takes(label, confidence) is taken


def test_a_selection_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"Got face_labels='face', expected a list such as \['face'\]"):
        Selection("faces", "face")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Got min_confidence=1\.5, expected a share between 0 and 1"):
        Selection("faces", min_confidence=1.5)


def test_faces_are_asked_together_about_what_they_lack() -> None:
    faces = [Face(str(k), f"/{k}.png") for k in range(5)]
    done, other, failed = ("ok", "run:1"), ("ok", "run:0"), ("failed", "run:1")
    states = {"gender": [done, NOTHING, done, failed, done], "age5": [done, NOTHING, other, done, ("ok", "run:2")]}
    assert lacking(faces, states, {"gender": "run:1", "age5": "run:1"}) == {
        ("gender", "age5"): [faces[1]],
        ("age5",): [faces[2], faces[4]],
        ("gender",): [faces[3]],
    }
    assert lacking([], {"gender": []}, {"gender": "run:1"}) == {}
