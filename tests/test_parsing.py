"""Replies into predictions: every kind of reply ends as exactly one outcome, and nothing is guessed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevlm import parsing
from facevlm.attributes import get
from facevlm.errors import InputError
from facevlm.types import Attribute, Face, Prediction, Question, Reply, logsumexp

RACE = get("race5")
FACE = Face("s1", "/a.jpg", (0.0, 0.0, 0.5, 0.5), "l1")
FORMS = (("white",), ("black",), ("asian", "east or south-east asian"), ("indian",), ("none",))
QUESTION = Question(RACE, "which?", FORMS)


def said(reply: Reply) -> Prediction:
    prediction = parsing.predict(FACE, QUESTION, reply)
    assert prediction.face is FACE
    assert prediction.attribute == "race5"
    return prediction


def logs(*shares: float) -> tuple[float, ...]:
    return tuple(math.log(s) if s else -math.inf for s in shares)


# Scored replies


def test_scores_become_shares_of_the_label_set_and_their_total_the_coverage() -> None:
    prediction = said(Reply(log_probs=logs(0.1, 0.4, 0.1, 0.1, 0.1)))
    assert (prediction.outcome, prediction.label, prediction.reason) == ("ok", "Black", None)
    assert prediction.confidence == pytest.approx(0.5)
    assert prediction.coverage == pytest.approx(0.8)
    assert prediction.log_probs == pytest.approx(logs(0.125, 0.5, 0.125, 0.125, 0.125))


def test_the_greedy_choice_goes_before_the_likeliest_label() -> None:
    prediction = said(Reply(log_probs=logs(0.1, 0.4, 0.3, 0.1, 0.1), choice=2))
    assert (prediction.label, prediction.rival) == ("Asian", "Black")
    assert prediction.confidence == pytest.approx(0.3)


def test_the_most_probable_label_is_taken_where_that_was_decided() -> None:
    prediction = said(Reply(log_probs=logs(0.1, 0.4, 0.3, 0.1, 0.1), choice=2, decision="probable"))
    assert (prediction.label, prediction.rival) == ("Black", "Asian")
    assert prediction.confidence == pytest.approx(0.4)
    agreed = said(Reply(log_probs=logs(0.1, 0.4, 0.3, 0.1, 0.1), choice=1, decision="probable"))
    assert (agreed.label, agreed.rival) == ("Black", None)


def test_the_first_choice_is_a_choice() -> None:
    assert said(Reply(log_probs=logs(0.1, 0.9, 0, 0, 0), choice=0)).label == "White"


def test_impossible_labels_do_no_harm() -> None:
    prediction = said(Reply(log_probs=logs(0, 0, 0.25, 0, 0)))
    assert (prediction.label, prediction.confidence, prediction.coverage) == ("Asian", 1.0, pytest.approx(0.25))


@given(st.lists(st.floats(-600, 0), min_size=5, max_size=5), st.floats(-50, 0))
@settings(deadline=None, max_examples=60)
def test_shares_sum_to_one_and_the_label_is_the_likeliest(raw: list[float], total: float) -> None:
    log_probs = [value - logsumexp(raw) + total for value in raw]
    prediction = said(Reply(log_probs=tuple(log_probs)))
    assert prediction.log_probs is not None
    assert math.fsum(map(math.exp, prediction.log_probs)) == pytest.approx(1)
    assert log_probs[RACE.labels.index(str(prediction.label))] == pytest.approx(max(log_probs), abs=1e-9)
    assert prediction.confidence == pytest.approx(math.exp(max(prediction.log_probs)))
    assert prediction.coverage == pytest.approx(math.exp(total))


def test_coverage_does_not_rise_above_one_by_rounding() -> None:
    assert said(Reply(log_probs=logs(1.0000001, 0, 0, 0, 0))).coverage == 1.0


@pytest.mark.parametrize(
    ("scores", "total"),
    [(logs(0.53, 0.53, 0, 0, 0), "0.0583"), ((0.0,) * 5, "1.61"), ((2.0, 35.5, -1.0, 0.0, 3.0), "35.5")],
    ids=["more than rounding", "all certain", "raw scores"],
)
def test_scores_that_sum_to_more_than_one_are_a_failure(scores: tuple[float, ...], total: str) -> None:
    prediction = said(Reply(log_probs=scores))
    assert (prediction.outcome, prediction.label, prediction.coverage) == ("failed", None, None)
    assert prediction.reason == f"the scores are no log-probabilities: their total is {total}"


def test_scores_that_sum_to_a_little_more_than_one_are_rounding() -> None:
    prediction = said(Reply(log_probs=logs(0.52, 0.52, 0, 0, 0)))
    assert (prediction.outcome, prediction.coverage) == ("ok", 1.0)
    assert prediction.confidence == pytest.approx(0.5)


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_wrong_number_of_scores_is_a_failure(count: int) -> None:
    prediction = said(Reply(log_probs=(-1.0,) * count))
    assert (prediction.outcome, prediction.label) == ("failed", None)
    assert prediction.reason == f"got {count} scores, expected 5, one per label"


@pytest.mark.parametrize(
    "scores",
    [(math.nan, -1, -1, -1, -1), (-1, -1, -1, -1, math.nan), (-1, math.inf, -1, -1, -1), (-math.inf,) * 5],
    ids=["nan first", "nan last", "infinite", "all impossible"],
)
def test_scores_that_are_not_finite_are_a_failure(scores: tuple[float, ...]) -> None:
    prediction = said(Reply(log_probs=scores))
    assert (prediction.outcome, prediction.label, prediction.confidence) == ("failed", None, None)
    assert str(prediction.reason).startswith("the scores are not finite: [")


# Refusals, errors, nothing


def test_a_refusal_keeps_the_words_of_the_model() -> None:
    prediction = said(Reply(refused=True, text="I can't help with that."))
    assert (prediction.outcome, prediction.label) == ("refused", None)
    assert (prediction.reason, prediction.text) == ("the model declined to answer", "I can't help with that.")


def test_a_refusal_with_a_reason_is_a_refusal_still() -> None:
    prediction = said(Reply(refused=True, error="content filter", log_probs=logs(1, 0, 0, 0, 0)))
    assert (prediction.outcome, prediction.reason, prediction.label) == ("refused", "content filter", None)


def test_an_error_goes_before_any_scores_or_text() -> None:
    prediction = said(Reply(error="timeout after 30 s", text="white", log_probs=logs(1, 0, 0, 0, 0)))
    assert (prediction.outcome, prediction.reason, prediction.text) == ("failed", "timeout after 30 s", "white")


def test_an_empty_error_is_an_error() -> None:
    assert said(Reply(error="", text="white")).outcome == "failed"


def test_an_empty_reply_is_a_failure() -> None:
    assert said(Reply()) == parsing.failed(FACE, QUESTION, "the backend gave neither scores nor text")


# Free text


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("white", "White"),
        (" White.\n", "White"),
        ("BLACK", "Black"),
        ("caucasian", "White"),
        ("South_Asian", "Indian"),
        ("East or  South-East Asian", "Asian"),
        ("none", "Others"),
        ("other", "Others"),
    ],
)
def test_text_that_spells_a_label_is_that_label(text: str, label: str) -> None:
    prediction = said(Reply(text=text))
    assert (prediction.outcome, prediction.label, prediction.text) == ("ok", label, text)
    assert (prediction.confidence, prediction.log_probs, prediction.coverage) == (None, None, None)


@pytest.mark.parametrize(
    "text", ["The person seems to be White.", "white or black", "not white", "whit", "whites", "1", "white, asian"]
)
def test_prose_and_half_answers_are_not_parsed(text: str) -> None:
    prediction = said(Reply(text=text))
    assert (prediction.outcome, prediction.label, prediction.text) == ("unparsed", None, text)
    assert prediction.reason == f"the answer '{text}' is none of: White, Black, Asian, Indian, Others"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_not_parsed(text: str) -> None:
    assert (said(Reply(text=text)).outcome, said(Reply(text=text)).reason) == ("unparsed", "the answer is empty")


def test_a_long_answer_is_cut_in_the_reason_alone() -> None:
    prediction = said(Reply(text="x" * 500))
    assert prediction.text == "x" * 500
    assert str(prediction.reason).startswith(f"the answer '{'x' * (parsing.SHOWN - 1)}…' is none of")


def test_an_answer_that_would_stand_for_two_labels_is_an_error() -> None:
    pair = Attribute("glasses", ("yes", "no"), "glasses?", aliases={"yes": ("wears glasses",)})
    question = Question(pair, "glasses?", (("Y",), ("Wears_Glasses",)))
    with pytest.raises(InputError, match="glasses: the answer 'Wears_Glasses' stands for 'yes' and 'no'"):
        parsing.predict(FACE, question, Reply(text="y"))


def test_the_answer_table_holds_forms_labels_and_aliases() -> None:
    table = parsing.answer_table(QUESTION)
    assert table["none"] == "Others"
    assert table["white"] == "White"
    assert table["caucasian"] == "White"
    assert set(table.values()) == set(RACE.labels)
