"""Label probabilities from token log-probabilities, against a small token model whose label probabilities are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevlm.attributes import define
from facevlm.backends.remote import scores
from facevlm.backends.remote.scores import Token
from facevlm.types import Question

LABELS = ("East Asian", "Southeast Asian", "Black", "White", "Middle Eastern")


def ask(*labels: str) -> Question:
    attribute = define("x", labels, "which?")
    return Question(attribute, "which?", tuple((label,) for label in labels))


RACE = ask(*LABELS)


def answer(
    value: str, tokens: Sequence[Token], question: Question = RACE, ahead: str = '{"x": "'
) -> scores.ValueScores:
    """Scores of a value whose tokens are given, in a JSON answer of otherwise certain tokens."""
    whole = [Token(ahead, 0.0), *tokens]
    return scores.of_value("".join(t.text for t in whole), whole, "x", value, question)


def shares(found: scores.ValueScores) -> dict[str, float]:
    assert found.log_probs is not None
    return {label: round(math.exp(p), 6) for label, p in zip(LABELS, found.log_probs, strict=True)}


def log(share: float) -> float:
    return math.log(share)


def test_alternatives_count_for_the_label_that_they_lead_to() -> None:
    tokens = [
        Token("White", log(0.7), (("Black", log(0.2)), ("Middle", log(0.06)), ("South", log(0.04)))),
        Token('"}', 0.0),
    ]
    assert shares(answer("White", tokens)) == {
        "White": 0.7,
        "Black": 0.2,
        "Middle Eastern": 0.06,
        "Southeast Asian": 0.04,
        "East Asian": pytest.approx(0, abs=1e-6),
    }


def test_what_is_not_listed_is_spread_over_the_labels_not_listed() -> None:
    tokens = [Token("White", log(0.7), (("Black", log(0.2)),)), Token('"}', 0.0)]
    found = shares(answer("White", tokens))
    assert [found[x] for x in LABELS if x not in ("White", "Black")] == [pytest.approx(0.1 / 3, abs=1e-6)] * 3


def test_a_prefix_of_two_labels_is_shared_between_them() -> None:
    question = ask("20-29", "20-39", "More")
    tokens = [Token("More", log(0.5), (("20", log(0.4)), ("Mo", log(0.1)))), Token('"}', 0.0)]
    found = answer("More", tokens, question).log_probs
    assert found is not None
    assert [math.exp(p) for p in found] == pytest.approx([0.2, 0.2, 0.6])


def test_later_tokens_decide_between_labels_that_begin_alike() -> None:
    question = ask("20-29", "20-39", "40")
    tokens = [
        Token("20", log(0.8), (("40", log(0.2)),)),
        Token("-", 0.0),
        Token("29", log(0.75), (("39", log(0.25)),)),
        Token('"', 0),
    ]
    found = answer("20-29", tokens, question).log_probs
    assert found is not None
    assert [math.exp(p) for p in found] == pytest.approx([0.6, 0.2, 0.2])


@pytest.mark.parametrize("ahead", ['{"x":"', '{"x": "', '{\n "x" :\n "', '{"y": "White", "x": "'])
def test_white_space_and_other_keys_do_not_matter(ahead: str) -> None:
    tokens = [Token("White", log(0.7), (("Black", log(0.3)),)), Token('"}', 0.0)]
    assert shares(answer("White", tokens, ahead=ahead))["Black"] == 0.3


def test_quotes_inside_tokens() -> None:
    tokens = [
        Token('"White"', log(0.9), (('"Black"', log(0.06)), ("White", log(0.02)), ('"Black Asian"', log(0.02)))),
        Token("}", 0),
    ]
    assert shares(answer("White", tokens, ahead='{"x": ')) == {
        "White": 0.9,
        "Black": 0.06,
        "East Asian": 0,
        "Southeast Asian": 0,
        "Middle Eastern": 0,
    }


def test_probability_off_the_labels_is_missing_from_the_total() -> None:
    tokens = [Token("White", log(0.6), (("Unsure", log(0.4)),)), Token('"}', 0.0)]
    found = answer("White", tokens).log_probs
    assert found is not None
    assert sum(map(math.exp, found)) == pytest.approx(0.6)


def test_without_alternatives_only_the_answer_has_a_probability() -> None:
    found = answer("East Asian", [Token("East", log(0.5)), Token(" Asian", log(0.9)), Token('"}', 0.0)])
    assert (found.log_probs, found.confidence) == (None, pytest.approx(0.45))


def test_a_token_after_the_text_does_no_harm() -> None:
    whole = [
        Token('{"x": "', 0.0),
        Token("White", -0.1, (("Black", -3.0),)),
        Token('"}', 0.0),
        Token("<|im_end|>", 0.0),
    ]
    assert scores.of_value('{"x": "White"}', whole, "x", "White", RACE).log_probs is not None


@pytest.mark.parametrize(
    ("content", "value"),
    [('{"x": "White"}', "Black"), ('{"x": "Whi"}', "White"), ('{"y": "White"}', "White"), ("", "White")],
)
def test_tokens_that_do_not_fit_give_nothing(content: str, value: str) -> None:
    whole = [Token('{"x": "', 0.0), Token("White", -0.1, (("Black", -3.0),)), Token('"}', 0.0)]
    assert scores.of_value(content, whole, "x", value, RACE) == scores.ValueScores()


@st.composite
def spelled(draw: st.DrawFn) -> tuple[list[str], list[float], int, list[int]]:
    """Labels with probabilities, the number of the answered one, and where its spelling is cut into tokens."""
    labels = draw(st.lists(st.text("ab-", min_size=1, max_size=5), min_size=2, max_size=5, unique=True))
    weights = [draw(st.floats(0.01, 1)) for _ in labels]
    chosen = draw(st.integers(0, len(labels) - 1))
    cuts = sorted(set(draw(st.lists(st.integers(1, len(labels[chosen])), max_size=3))))
    return labels, [w / sum(weights) for w in weights], chosen, cuts


@settings(max_examples=200)
@given(spelled())
def test_a_server_that_lists_everything_gives_the_true_probabilities(
    case: tuple[list[str], list[float], int, list[int]],
) -> None:
    """Every label is spelled with its closing quote as one token wherever it leaves the path of the answered one."""
    labels, probabilities, chosen, cuts = case
    question = Question(define("x", labels, "?"), "?", tuple((x,) for x in labels)) if _distinct(labels) else None
    if question is None:
        return
    ends = [0, *[c for c in cuts if c < len(labels[chosen])], len(labels[chosen]) + 1]
    text, left, tokens = labels[chosen] + '"', dict(zip(labels, probabilities, strict=True)), []
    for start, end in itertools.pairwise(ends):
        piece = text[start:end]
        stay = {x: p for x, p in left.items() if (x + '"').startswith(text[:end])}
        gone = tuple(((x + '"')[start:], log(p / sum(left.values()))) for x, p in left.items() if x not in stay)
        tokens.append(Token(piece, log(sum(stay.values()) / sum(left.values())), gone))
        left = stay
    found = answer(labels[chosen], tokens, question)
    if found.log_probs is not None:
        assert [math.exp(p) for p in found.log_probs] == pytest.approx(probabilities, abs=1e-6)


def _distinct(labels: list[str]) -> bool:
    return len({x.strip(" .").lower() for x in labels}) == len(labels)
