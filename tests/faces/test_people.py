"""People of pictures as plain data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.faces.people import Described, PeoplePicture, from_left
from facevlm.types import Face


@given(st.permutations(range(4)))
def test_faces_stand_from_left_to_right_by_the_middle_of_their_boxes(order: list[int]) -> None:
    widths = (0.4, 0.1, 0.3, 0.05)
    middles = (0.2, 0.25, 0.3, 0.6)
    faces = [Face("s", "/s.png", (middles[k] - widths[k] / 2, 0.0, widths[k], 0.1), f"f{k}") for k in order]
    assert [face.label_id for face in from_left(faces)] == ["f0", "f1", "f2", "f3"]
    assert from_left([]) == ()


@pytest.mark.parametrize(
    ("expected", "got", "wrong"), [(2, 3, True), (3, 3, False), (None, 3, False), (2, None, False)]
)
def test_a_count_is_wrong_where_both_are_known_and_differ(expected: int | None, got: int | None, wrong: bool) -> None:
    picture = PeoplePicture("s", "/s.png")
    assert Described(picture, (), "ok", expected=expected, got=got).wrong_count is wrong
