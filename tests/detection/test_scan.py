"""Pictures searched whole and in tiles: every pixel is looked at, and a face that is found twice is one face."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facevlm.detection import Search, open_detector
from facevlm.detection.scan import OVERLAP, SAME, Pixels, _Spotted, joined, scan, suppressed, tiles
from facevlm.errors import InputError, UnknownName

RED = (255, 0, 0)
any_number = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-50, 50))
any_box = st.lists(any_number, min_size=4, max_size=4)


def red_squares(pixels: Pixels) -> _Spotted:
    """Finds red squares of at least 10 pixels: a detector whose truth is known. Half a square is half a square."""
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
    boxes, left = [], red.copy()
    while left.any():
        y, x = np.argwhere(left)[0]
        w = int(np.argmin(np.append(left[y, x:], False)))
        h = int(np.argmin(np.append(left[y:, x], False)))
        left[y : y + h, x : x + w] = False
        if min(w, h) >= 10:
            boxes.append((x, y, w, h))
    table = np.array(boxes, dtype=float).reshape(-1, 4)
    return _Spotted(table, np.minimum(1.0, table[:, 2:].prod(1) / 1e4))


def picture(size: tuple[int, int], squares: list[tuple[int, int, int]]) -> Image.Image:
    made = Image.new("RGB", size)
    for x, y, side in squares:
        made.paste(RED, (x, y, x + side, y + side))
    return made


def in_pixels(faces: Any, size: tuple[int, int]) -> list[tuple[int, ...]]:
    return sorted(tuple(round(v * s) for v, s in zip(f.box_xywh_rel, size * 2, strict=True)) for f in faces)


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(100, 1300))
def test_tiles_cover_a_picture_and_overlap(width: int, height: int, side: int) -> None:
    made = list(tiles(width, height, side))
    for low, high, full in ((0, 2, width), (1, 3, height)):
        spans = sorted({(tile[low], tile[high]) for tile in made})
        assert spans[0][0] == 0
        assert spans[-1][1] == full
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start >= math.floor(side * OVERLAP) - 1
        assert all(end - start == min(side, full) for start, end in spans)


def test_small_faces_in_a_large_picture_are_found_in_tiles() -> None:
    size = (1000, 700)
    squares = [(20 + 120 * k, 15 + 80 * k, 24) for k in range(8)]
    made = picture(size, squares)
    # At a side of 200 they are 5 pixels large: nothing is seen of them.
    assert scan(made, red_squares, 200, Search(tiles="off")) == []
    found = scan(made, red_squares, 200, Search(tiles="on"))
    assert in_pixels(found, size) == sorted((x, y, s, s) for x, y, s in squares)


def test_tiles_are_worth_their_time_where_faces_are_small_or_many() -> None:
    small = picture((1000, 700), [(100, 100, 60), (500, 300, 20)])
    assert len(scan(small, red_squares, 200, Search())) == 2
    large = picture((1000, 700), [(100, 100, 200), (500, 300, 20)])
    assert len(scan(large, red_squares, 200, Search())) == 1
    crowd = picture((1000, 700), [*((10 + 150 * (k % 6), 10 + 200 * (k // 6), 125) for k in range(12)), (700, 650, 20)])
    assert len(scan(crowd, red_squares, 200, Search(tiles="off"))) == 12
    assert len(scan(crowd, red_squares, 200, Search())) == 13


def test_a_very_large_picture_that_shows_nobody_is_searched_in_tiles() -> None:
    """At 200 pixels the face has 5, of which nothing is found; less than twice 200 is searched once."""
    large = picture((1000, 700), [(700, 600, 25)])
    assert scan(large, red_squares, 200, Search(tiles="off")) == []
    assert len(scan(large, red_squares, 200, Search())) == 1
    searched: list[tuple[int, ...]] = []

    def nothing(pixels: Pixels) -> _Spotted:
        searched.append(pixels.shape[:2])
        return _Spotted(np.zeros((0, 4)), np.zeros(0))

    scan(picture((390, 300), []), nothing, 200, Search())
    assert searched == [(154, 200)]


def test_a_face_across_tiles_is_one_face() -> None:
    size = (900, 300)
    found = scan(picture(size, [(110, 60, 150)]), red_squares, 200, Search(tiles="on"))
    assert len(found) == 1
    assert in_pixels(found, size)[0] == pytest.approx((110, 60, 150, 150), abs=7)


def test_size_and_number_of_faces_can_be_limited() -> None:
    made = picture((400, 300), [(10, 10, 20), (50, 10, 40), (120, 10, 80)])
    sides = [round(f.box_xywh_rel[2] * 400) for f in scan(made, red_squares, 400, Search())]
    assert sides == [80, 40, 20], "the most confident first"
    assert len(scan(made, red_squares, 400, Search(min_face_px=40))) == 2
    assert len(scan(made, red_squares, 400, Search(max_faces=1))) == 1
    assert scan(made, red_squares, 400, Search(), scored=False)[0].confidence is None


def test_boxes_are_clipped_to_the_picture() -> None:
    def beyond(_: Pixels) -> _Spotted:
        boxes = np.array([[-10.0, -10, 40, 40], [90, 90, 50, 50], [200, 0, 10, 10], [0, 0, 1e9, 1e9]])
        return _Spotted(boxes, np.array([0.9, 0.8, 0.7, 0.1]), np.zeros((4, 5, 2)))

    found = scan(Image.new("RGB", (100, 100)), beyond, 640, Search())
    assert [f.box_xywh_rel for f in found] == [pytest.approx((0, 0, 0.3, 0.3)), pytest.approx((0.9, 0.9, 0.1, 0.1))]


@settings(deadline=None)
@given(st.lists(st.tuples(any_box, st.floats(allow_nan=True)), max_size=12))
def test_what_is_kept_does_not_overlap_and_is_finite(rows: list[tuple[list[float], float]]) -> None:
    boxes = np.array([box for box, _ in rows], dtype=float).reshape(-1, 4)
    scores = np.array([score for _, score in rows], dtype=float)
    kept = suppressed(boxes, scores)
    assert np.isfinite(boxes[kept]).all()
    assert (boxes[kept][:, 2:] >= 1).all()
    assert (np.diff(scores[kept]) <= 0).all()
    for n, k in enumerate(kept):
        for other in kept[n + 1 :]:
            assert not _is_same(boxes[k], boxes[other])
    usable = (np.abs(boxes) < 1e6).all(1) & (boxes[:, 2:] >= 1).all(1) & np.isfinite(scores)
    assert bool(len(kept)) == bool(usable.any())


def _is_same(a: Any, b: Any) -> bool:
    sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    if min(sides) <= 0:
        return False
    return bool(sides[0] * sides[1] / min(a[2] * a[3], b[2] * b[3]) > SAME + 1e-9)


def test_landmarks_move_with_their_face() -> None:
    part = _Spotted(np.array([[10.0, 20, 30, 40]]), np.array([0.9]), np.full((1, 5, 2), 15.0))
    moved = part.moved(0.5, 100, 200)
    assert moved.boxes.tolist() == [[120, 240, 60, 80]]
    assert moved.landmarks is not None
    assert moved.landmarks[0, 0].tolist() == [130, 230]
    assert joined([part, moved]).boxes.shape == (2, 4)
    assert joined([part, _Spotted(part.boxes, part.scores)]).landmarks is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_confidence": 2}, "between 0 and 1"),
        ({"min_face_px": 0}, "min_face_px=0, expected a whole number"),
        ({"max_faces": 1.5}, "max_faces=1.5"),
        ({"tiles": "maybe"}, "expected one of auto, on, off"),
    ],
)
def test_bad_searches_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Search(**options)


def test_unknown_detectors_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"Unknown detector 'yunett'.*Did you mean 'yunet'"):
        open_detector("yunett")
