"""Core types: what they refuse, and what their fingerprints depend on."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevlm.types import OUTCOMES, Attribute, Face, Outcome, Prediction, Question, digest, logsumexp

GENDER = Attribute("gender", ("Male", "Female"), "which?", aliases={"Male": ("man", "Male", "man")})
QUESTION = Question(GENDER, "which?", (("male",), ("female",)))
FACE = Face("s1", "/a.jpg", (0.1, 0.2, 0.3, 0.4), "l1")


def test_spellings_start_with_the_label_and_hold_no_repeats() -> None:
    assert GENDER.spellings("Male") == ("Male", "man")
    assert GENDER.spellings("Female") == ("Female",)


def test_a_question_needs_one_group_of_forms_per_label() -> None:
    with pytest.raises(ValueError, match="gender: got 1 groups of surface forms, expected 2"):
        Question(GENDER, "which?", (("male",),))


@pytest.mark.parametrize(
    "change",
    [
        {"text": "what?"},
        {"surface_forms": (("Male",), ("female",))},
        {"context": "both?"},
        {"cue": "gender "},
        {"attribute": dataclasses.replace(GENDER, labels=("Female", "Male"))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_fingerprint_changes_with_anything_that_is_asked(change: dict[str, Any]) -> None:
    assert dataclasses.replace(QUESTION, **change).fingerprint() != QUESTION.fingerprint()


def test_a_fingerprint_does_not_change_with_what_is_not_asked() -> None:
    retitled = dataclasses.replace(GENDER, title="Perceived gender", aliases={})
    assert dataclasses.replace(QUESTION, attribute=retitled).fingerprint() == QUESTION.fingerprint()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_label_goes_with_ok_alone(outcome: Outcome) -> None:
    label, wrong = ("Male", None) if outcome == "ok" else (None, "Male")
    assert Prediction(FACE, "gender", outcome, label=label).label == label
    with pytest.raises(ValueError, match="a label goes with 'ok' alone"):
        Prediction(FACE, "gender", outcome, label=wrong)


def test_a_face_survives_pickling_and_can_be_a_key() -> None:
    copy = pickle.loads(pickle.dumps(FACE))
    assert copy == FACE
    assert {FACE: 1}[copy] == 1


@given(st.lists(st.floats(-800, 0) | st.just(-math.inf), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_logsumexp_agrees_with_numpy(values: list[float]) -> None:
    assert logsumexp(values) == pytest.approx(float(np.logaddexp.reduce(values)), abs=1e-12)


def test_logsumexp_of_nothing_is_minus_infinity() -> None:
    assert logsumexp([]) == -math.inf
    assert logsumexp([-math.inf, -math.inf]) == -math.inf


def test_logsumexp_does_not_hide_a_nan() -> None:
    assert not math.isfinite(logsumexp([math.nan, -1.0]))
    assert not math.isfinite(logsumexp([-1.0, math.nan]))


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2, max_size=5))
@settings(deadline=None, max_examples=40)
def test_a_digest_is_eight_hex_digits_that_do_not_depend_on_key_order(data: dict[str, int]) -> None:
    turned = dict(reversed(data.items()))
    assert digest(data) == digest(turned)
    assert len(digest(data)) == 8
    int(digest(data), 16)
