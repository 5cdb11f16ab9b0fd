"""Which faces come next, and how many an interval takes, against the interval itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.errors import InputError
from facevlm.evaluation.metrics import score
from facevlm.evaluation.sampling import at_random, faces_needed, least_sure, of_small_groups


def half(right: float, n: int) -> float:
    low, high = score(right, n)
    return (high - low) / 2


@given(st.floats(0.01, 0.4), st.floats(0.3, 0.7))
def test_so_many_faces_and_no_fewer_give_the_interval(half_width: float, share: float) -> None:
    n = faces_needed(half_width, share)
    assert half(share * n, n) <= half_width + 1e-9
    if n > 1:
        assert half(share * (n - 1), n - 1) > half_width - 1e-9


def test_known_numbers() -> None:
    assert (faces_needed(0.05), faces_needed(0.1), faces_needed(0.05, 0.9)) == (381, 93, 141)


@pytest.mark.parametrize(("half_width", "share"), [(0.0, 0.5), (0.5, 0.5), (-1, 0.5), (0.1, 1.2)])
def test_widths_and_shares_that_are_none(half_width: float, share: float) -> None:
    with pytest.raises(InputError, match=r"Got (half_width|share)="):
        faces_needed(half_width, share)


def test_the_least_sure_comes_first_and_one_without_a_score_before() -> None:
    assert least_sure([0, 1, 2, 3], [0.9, None, 0.2, 0.5]) == [1, 2, 3, 0]


def test_groups_take_turns_and_the_one_that_lacks_most_comes_first() -> None:
    groups = ["big"] * 4 + ["small"] * 2 + [None]
    sure = [0.4, 0.3, 0.2, 0.1, 0.9, 0.8, 0.0]
    order = of_small_groups(range(7), sure, groups, {}, {"big": 4, "small": 2})
    assert order == [5, 3, 2, 4, 1, 0, 6]
    done = of_small_groups(range(7), sure, groups, {"small": 2}, {"big": 4, "small": 2})
    assert done[:4] == [3, 2, 1, 0]


def test_a_draw_is_that_of_its_seed_and_of_every_group() -> None:
    ids = [f"face{k}" for k in range(100)]
    groups = ["a" if k % 10 else "b" for k in range(100)]
    needed = {"a": 20, "b": 5}
    drawn = at_random(ids, groups, needed)
    assert (len(drawn), sum(groups[k] == "b" for k in drawn)) == (25, 5)
    assert at_random(ids, groups, needed) == drawn
    assert at_random(ids[::-1], groups[::-1], needed) == [99 - k for k in drawn]
    assert at_random(ids, groups, needed, seed=1) != drawn
    assert set(drawn) <= set(at_random(ids, groups, {"a": 30, "b": 5}))
    assert at_random(ids, [None] * 100, {}) == []
