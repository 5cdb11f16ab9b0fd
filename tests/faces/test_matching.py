"""Boxes that mean the same face meet: by id, else by overlap, each once; picture by picture, or all at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.faces.matching import MIN_IOU, iou, match_faces, match_pictures

BOX = st.tuples(*[st.floats(0, 0.5)] * 2, *[st.floats(0, 0.5)] * 2)


@given(st.lists(BOX, max_size=6), st.lists(BOX, max_size=6))
def test_every_prediction_meets_one_face_at_most(
    true: list[tuple[float, ...]], predicted: list[tuple[float, ...]]
) -> None:
    ids = [f"t{k}" for k in range(len(true))]
    at = match_faces(ids, true, [None] * len(predicted), predicted)
    assert len(at) == len(true)
    taken = [k for k in at if k >= 0]
    assert len(taken) == len(set(taken))
    for box, k in zip(true, at, strict=True):
        if k >= 0:
            assert iou(np.array([box]), np.array([predicted[k]]))[0, 0] >= 0.5


@given(st.permutations(range(5)))
def test_ids_count_before_overlap(order: list[int]) -> None:
    boxes = [(0.2 * k, 0.0, 0.1, 0.1) for k in range(5)]
    ids = [f"t{k}" for k in range(5)]
    assert match_faces(ids, boxes, [ids[k] for k in order], boxes) == [order.index(k) for k in range(5)]
    # A prediction that names a face of another picture is nobody's of this one by overlap either way round.
    assert match_faces(ids, boxes, ["elsewhere"] * 5, boxes) == list(range(5))


def test_overlap_by_hand() -> None:
    a = np.array([[0.0, 0.0, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0], [np.nan, 0.0, 0.1, 0.1]])
    b = np.array([[0.1, 0.0, 0.2, 0.2], [0.0, 0.0, 0.2, 0.2]])
    assert iou(a, b).tolist() == [pytest.approx([1 / 3, 1.0]), [0.0, 0.0], [0.0, 0.0]]


@given(st.lists(st.one_of(st.none(), st.tuples(st.lists(BOX, max_size=4), st.lists(BOX, max_size=4))), max_size=4))
def test_pictures_are_matched_one_by_one_and_counted_through(
    pictures: list[tuple[list[tuple[float, ...]], list[tuple[float, ...]]] | None],
) -> None:
    true = [None if picture is None else picture[0] for picture in pictures]
    predicted = [None if picture is None else picture[1] for picture in pictures]
    names = [None if boxes is None else [None] * len(boxes) for boxes in predicted]
    ids = [f"t{k}" for k in range(sum(len(boxes or ()) for boxes in true))]
    expected, earlier = [], 0
    for mine, others in zip(true, predicted, strict=True):
        alone = match_faces(["own"] * len(mine or ()), mine or (), [None] * len(others or ()), others or ())
        expected += [k if k < 0 else k + earlier for k in alone]
        earlier += len(others or ())
    assert match_pictures(ids, true, names, predicted) == expected


def test_ids_count_in_their_own_picture_alone() -> None:
    box = (0.1, 0.1, 0.2, 0.2)
    far = (0.7, 0.7, 0.2, 0.2)
    assert match_pictures(["a", "b"], [[box], [far]], [["b"], ["b"]], [[far], [box]]) == [-1, 1]


def test_a_pair_that_overlaps_enough_is_not_given_up_for_many_that_do_not() -> None:
    true = [[0.2, 0.2, 0.3, 0.3], [0.413, 0.2, 0.3, 0.3]]
    predicted = [[0.29, 0.2, 0.3, 0.3], [0.086, 0.2, 0.3, 0.3]]
    overlap = iou(np.array(true), np.array(predicted))
    assert overlap[0, 0] > MIN_IOU > overlap[0, 1]
    assert overlap[0, 1] + overlap[1, 0] > overlap[0, 0] + overlap[1, 1], "the crossed pairs overlap more together"
    assert match_faces(["a", "b"], true, [], predicted) == [0, -1]
