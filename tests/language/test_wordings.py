"""Ways of putting one question: which prompts come of a model's template, paraphrases and orders of labels."""

from __future__ import annotations

import math
import re

import pytest

from facevlm.attributes import define, get, shipped
from facevlm.backends.cards import ANY, Card, find
from facevlm.errors import InputError
from facevlm.language import wordings
from facevlm.types import Attribute

HAIR = define("hair", ["dark", "fair", "grey"], "what colour is the hair?")
LISTING = Card("listing", {ANY: "x"}, prompt="answer {question} choose from: {labels}")
PLAIN = Card("plain", {ANY: "x"}, prompt="{question}")


def prompts(card: Card, attribute: Attribute, *given: str, orders: int = 1) -> list[str]:
    return [w.prompt for w in wordings.wordings(card, attribute, given, orders=orders)]


def test_every_shipped_attribute_has_paraphrases_that_name_no_answer() -> None:
    known, texts_of = set(), wordings.shipped()
    for attribute in shipped().attributes.values():
        key = attribute.name if attribute.name in texts_of else attribute.family
        known.add(key)
        assert len({*texts_of[key], attribute.question}) == 4
        # No answer is named, but where the question itself names them: the ends of a scale, or both of two.
        named = set(re.findall(r"\w+", attribute.question.lower()))
        labels = {label.lower() for label in attribute.labels} - named
        assert not any(label in text.split() for text in texts_of[key] for label in labels)
    assert known == set(texts_of)
    assert "facial expression" in wordings.shipped()["emotion"][0]


def test_a_paraphrase_goes_where_the_models_template_has_the_question() -> None:
    assert prompts(LISTING, HAIR, "which hair?") == [
        "answer what colour is the hair? choose from: dark, fair, grey",
        "answer which hair? choose from: dark, fair, grey",
    ]


def test_a_paraphrase_with_labels_is_the_whole_prompt() -> None:
    found = wordings.wordings(PLAIN, HAIR, ["hair: {labels}?", "which?"], orders=2)
    assert [(w.ending, w.prompt) for w in found][:2] == [("w0", HAIR.question), ("w1", "hair: dark, fair, grey?")]
    assert [w.ending for w in found] == ["w0", "w1", "w1o1", "w2"]
    assert [w.labels is None for w in found] == [True, False, False, True]
    assert found[2].prompt == f"hair: {', '.join(found[2].labels or ())}?"


def test_labels_are_listed_in_several_orders() -> None:
    found = wordings.wordings(LISTING, HAIR, ["which hair?"], orders=3)
    assert [w.ending for w in found] == ["w0", "w0o1", "w0o2", "w1", "w1o1", "w1o2"]
    assert [(w.paraphrase, w.order) for w in found] == [(p, o) for p in (0, 1) for o in (0, 1, 2)]
    orders = [w.labels for w in found[:3]]
    assert orders[0] == HAIR.labels
    assert len(set(orders)) == 3
    assert [w.labels for w in found[3:]] == orders
    assert all(w.labels and w.prompt.endswith(f"choose from: {', '.join(w.labels)}") for w in found)
    assert [w.given for w in found] == [None, *(w.prompt for w in found[1:])], "the first is left to the model"


def test_orders_are_all_different_and_the_same_for_a_seed() -> None:
    labels = get("emotion8").labels
    some = wordings.permutations(labels, 20, seed=3)
    assert len(set(some)) == 20
    assert all(sorted(order) == sorted(labels) for order in some)
    assert some == wordings.permutations(labels, 20, seed=3)
    assert some[:5] == wordings.permutations(labels, 5, seed=3), "more orders keep those asked before"
    assert some != wordings.permutations(labels, 20, seed=4)
    assert len(wordings.permutations(HAIR.labels, 99, seed=0)) == math.factorial(3)
    assert wordings.permutations(("a", "b"), 99, seed=0) == [("a", "b"), ("b", "a")]
    assert wordings.permutations(HAIR.labels, 1, seed=0) == [HAIR.labels]


def test_a_tuned_models_own_prompt_comes_first_and_lists_no_labels() -> None:
    gender, demo = get("gender"), find("demo")
    joint = wordings.wordings(demo, gender, orders=5)
    assert joint[0].prompt == "what are the gender, race, age group and emotion of the person in the image?"
    assert [w.ending for w in joint] == ["w0", "w1", "w2", "w3"]
    assert [w.prompt for w in joint[1:]] == list(wordings.shipped()["gender"])
    apart = wordings.wordings(demo, gender, joint=False)
    assert apart[0].prompt == "what is the gender of the person in the image?"
    assert not any(w.labels for w in joint + apart)


def test_a_shipped_preset_asks_in_its_own_frame() -> None:
    found = wordings.wordings(find("paligemma"), get("emotion7"), orders=2)
    assert found[0].prompt.startswith("answer en what is the emotion of the person in the image? choose from: neutral,")
    assert found[2].prompt.startswith("answer en what is the facial expression of the person in the image? choose from")
    assert len(found) == 8


def test_a_wording_that_is_there_already_is_not_asked_twice() -> None:
    assert prompts(PLAIN, HAIR, "which?", HAIR.question, "which?", "what?") == [HAIR.question, "which?", "what?"]
    assert [w.ending for w in wordings.wordings(PLAIN, HAIR, ["a?", "a?", "b?"])] == ["w0", "w1", "w3"]


def test_braces_in_a_paraphrase_are_text() -> None:
    assert prompts(LISTING, HAIR, "{hair} or {}?")[1] == "answer {hair} or {}? choose from: dark, fair, grey"


@pytest.mark.parametrize(
    ("card", "orders", "said"),
    [
        (PLAIN, 9, "the prompt lists no labels whose order could be changed"),
        (LISTING, 1, "the prompt is asked in one order of labels"),
    ],
)
def test_one_way_of_asking_is_too_few(card: Card, orders: int, said: str) -> None:
    with pytest.raises(InputError, match=rf"There is only one way to ask '{card.name}' about hair: .*{said}.*'hair'"):
        wordings.wordings(card, HAIR, orders=orders)
    with pytest.raises(InputError, match="only one way"):
        wordings.wordings(PLAIN, HAIR, [HAIR.question])


def test_orders_alone_are_several_ways_of_asking() -> None:
    assert [w.ending for w in wordings.wordings(LISTING, HAIR, orders=2)] == ["w0", "w0o1"]


def test_a_model_that_has_to_be_tuned_first_says_so() -> None:
    with pytest.raises(InputError, match="answers only what it was tuned for"):
        wordings.wordings(find("florence-2"), get("gender"))
