"""The rules of a check on plain lists, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from facevlm.attributes import align, get, shipped
from facevlm.checks import faults
from facevlm.checks.faults import (
    DUPLICATE,
    KINDS,
    MEANING,
    Finding,
    bad_boxes,
    conflicts,
    contradictions,
    leaks,
    members,
)
from facevlm.checks.fingerprints import Fingerprints


def prints(files: Sequence[int], errors: dict[int, str] | None = None) -> Fingerprints:
    """Fingerprints that differ by the number of their file alone."""
    n = len(files)
    digests = np.zeros((n, 16), np.uint8)
    digests[:, 0] = files
    return Fingerprints(
        digests, digests, np.zeros((n, 32), np.uint8), np.full((n, 2), 10), np.ones(n, bool), errors or {}
    )


def said(findings: Sequence[Finding]) -> list[tuple[tuple[int, ...], str]]:
    return [(f.members, f.reason) for f in findings]


def test_every_kind_has_a_meaning_and_is_a_tag() -> None:
    assert set(KINDS) == set(MEANING)
    assert all(kind.isidentifier() for kind in KINDS)


def test_groups_are_in_order_and_have_two_members_at_least() -> None:
    assert members(np.array([4, 9, 4, 2, 9, 4])) == [(0, 2, 5), (1, 4)]
    assert members(np.array([3, 1, 2])) == []
    assert members(np.array([], dtype=np.int64)) == []


def test_of_copies_all_but_the_first_are_at_fault() -> None:
    one, two = faults.copies(prints([1, 2, 1, 3]), [(0, 2), (1, 3)])
    assert (one.flagged, one.reason) == ((2,), "2 times the same file")
    assert (two.flagged, two.reason) == ((3,), "2 times the same pixels in 2 different files")
    assert Finding("near_duplicate", (0, 2), "").flagged == (0, 2)


def test_near_copies_are_not_identical() -> None:
    same, nearest = np.array([0, 0, 1, 2, 2]), [0, 0, 12, 0, 0]
    alike = [(0, 1, 2), (3, 4)]
    found = faults.near_copies(same, alike, nearest, {})
    reason = "2 pictures that look alike: up to 12 of 256 bits from the next one"
    assert said(found) == [((0, 1, 2), reason)]
    differing = faults.near_copies(same, alike, nearest, {"race": ["a", "a", "b", "a", "a"], "n": [1, 1, None, 2, 2]})
    assert said(differing) == [((0, 1, 2), f"{reason}; race: a or b")]


def test_labels_conflict_where_both_are_known() -> None:
    labels: dict[str, list[Any]] = {
        "gender": ["Male", "Female", None, "Male"],
        "race": ["White", "White", "Black", "White"],
        "n": [1, 2, 3, 1],
    }
    assert said(conflicts([(0, 1)], {"gender": labels["gender"]})) == [((0, 1), "gender: Female or Male")]
    assert conflicts([(0, 2)], {"gender": labels["gender"]}) == []
    assert conflicts([(0, 3)], labels) == []
    assert said(conflicts([(0, 1, 2)], labels)) == [
        ((0, 1, 2), "gender: Female or Male; race: Black or White; n: 1 or 2 or 3")
    ]


def test_leaks_are_between_splits() -> None:
    splits = [frozenset({name} - {""}) for name in ("train", "test", "", "train", "train")]
    assert said(leaks([(0, 1), (2, 3), (3, 4)], splits)) == [((0, 1), "1 in test, 1 in train")]
    assert said(leaks([(0, 1, 2, 3)], splits)) == [((0, 1, 2, 3), "1 in test, 2 in train")]


def test_a_picture_in_two_splits_is_a_leak_of_its_own() -> None:
    both, train = frozenset({"train", "val"}), frozenset({"train"})
    assert said(leaks([], [train, both])) == [((1,), "itself in train and val")]
    assert said(leaks([(0, 1)], [train, both])) == [((0, 1), "2 in train, 1 in val")]


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (-1.0, "the age -1 is negative"),
        (math.nan, "the age nan is not a number"),
        (math.inf, "the age inf is not a number"),
        (121, "the age 121 is beyond 120"),
        ("9-March", "the age '9-March' is not a number"),
        (True, "the age True is not a number"),
    ],
)
def test_ages_that_cannot_be(age: Any, reason: str) -> None:
    assert said(faults.ages([30, None, age, 0, 116.0, 120])) == [((2,), reason)]
    assert faults.ages([119], oldest=116)[0].reason == "the age 119 is beyond 116"


def test_an_age_outside_of_its_group() -> None:
    to_group = align(get("age5"), [1.0], shipped()).to_truth
    years, labels = [9, 10, 39.9, None, 70, -3, math.nan], ["0-9", "0-9", "20-39", "0-9", None, "0-9", "0-9"]
    found = contradictions(years, labels, to_group, "age_group")
    assert said(found) == [((1,), "the age 10 lies in 10-19, age_group says 0-9")]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.1, 0.1, 0, 0.5], "faces[1] has no area"),
        ([0.1, 0.1, 0.2, -0.5], "faces[1] has no area"),
        ([0.9, 0.1, 0.2, 0.5], "faces[1] reaches out of the picture"),
        ([0.1, -0.3, 0.2, 0.5], "faces[1] reaches out of the picture"),
        ([1.2, 0.1, 0.2, 0.5], "faces[1] lies outside of the picture"),
        ([0.1, -0.6, 0.2, 0.5], "faces[1] lies outside of the picture"),
        ([0.1, math.nan, 0.2, 0.5], "faces[1] is [0.1, nan, 0.2, 0.5], expected four finite numbers"),
        ([0.1, 0.1, 0.5], "faces[1] is [0.1, 0.1, 0.5], expected four finite numbers"),
    ],
)
def test_boxes_that_cannot_be(box: list[float], reason: str) -> None:
    good = [0.0, 0.0, 1.0, 1.0]
    found = bad_boxes([[good], None, [], [good, box, good]], [(100, 200)] * 4, "faces")
    assert said(found) == [((3,), reason)]


def test_a_box_may_reach_out_by_a_pixel_and_several_faults_are_one_finding() -> None:
    assert bad_boxes([[[-0.01, 0.5, 1.02, 0.505]]], [(100, 200)], "faces") == []
    assert len(bad_boxes([[[-0.01, 0.5, 1.02, 0.505]]], [(0, 0)], "faces")) == 1
    two = bad_boxes([[[0, 0, 0, 0], [2, 2, 1, 1]]], [(100, 200)], "people")
    assert said(two) == [((0,), "people[0] has no area; people[1] lies outside of the picture")]


def test_unreadable_pictures_keep_their_reason() -> None:
    found = faults.unreadable(prints([1, 2, 3], {2: "no picture", 0: "not found"}))
    assert said(found) == [((0,), "not found"), ((2,), "no picture")]
    assert DUPLICATE not in {f.kind for f in found}
