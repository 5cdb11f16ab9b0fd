"""Requests in words: what they mean, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevlm import attributes
from facevlm.errors import InputError
from facevlm.language import grammar
from facevlm.language.phrases import Condition, Place, Plan, Vocabulary, words

SHIPPED = attributes.shipped()
DEMO = Vocabulary(SHIPPED, ["gender", "race5", "age5", "emotion7"])
ALL = Vocabulary(SHIPPED)
CHILD, MAN, WOMAN = "age5=0-9", "gender=Male", "gender=Female"
HAPPY, SAD, OLD = "emotion7=happy", "emotion7=sad", "age5=More than 60"
NOT_HAPPY = "emotion7=neutral|sad|surprise|fear|disgust|anger"

# Request -> attributes asked; conditions; phrase for a model that looks; place.
READ: list[tuple[str, str, list[str], str | None, Place | None]] = [
    ("age group and emotion of the child", "age5 emotion7", [CHILD], None, None),
    ("Age Group and EMOTION of the Child!", "age5 emotion7", [CHILD], None, None),
    ("age, gender and race of everyone", "age5 gender race5", [], None, None),
    ("age & gender for all people", "age5 gender", [], None, None),
    ("emotion", "emotion7", [], None, None),
    ("facial expression of the girl", "emotion7", [CHILD, WOMAN], None, None),
    ("how old is the child?", "age5", [CHILD], None, None),
    ("How old are they?", "age5", [], None, None),
    ("what emotion does the child have?", "emotion7", [CHILD], None, None),
    ("how do the children feel", "emotion7", [CHILD], None, None),
    ("what is the gender of the person?", "gender", [], None, None),
    ("please tell me the ethnicity of the men", "race5", [MAN], None, None),
    ("show me the smiling women", "", [HAPPY, WOMAN], None, None),
    ("the child's age", "age5", [CHILD], None, None),
    ("the children’s emotion", "emotion7", [CHILD], None, None),
    ("children: age, emotion", "age5 emotion7", [CHILD], None, None),
    ("emotion: everyone wearing a hat", "emotion7", [], "person wearing a hat", None),
    ("age of boys", "age5", [CHILD, MAN], None, None),
    ("emotion of kids", "emotion7", [CHILD], None, None),
    ("gender of teenagers", "gender", ["age5=10-19"], None, None),
    ("emotion of the elderly", "emotion7", [OLD], None, None),
    ("emotion of the old man", "emotion7", [OLD, MAN], None, None),
    ("emotion of elderly women", "emotion7", [OLD, WOMAN], None, None),
    ("race of middle-aged men", "race5", ["age5=40-59", MAN], None, None),
    ("gender of adults", "gender", ["age5=20-39|40-59|More than 60"], None, None),
    ("the happy woman", "", [HAPPY, WOMAN], None, None),
    ("age of the smiling man", "age5", [HAPPY, MAN], None, None),
    ("age of angry people", "age5", ["emotion7=anger"], None, None),
    ("age of the surprised child", "age5", ["emotion7=surprise", CHILD], None, None),
    ("happy or surprised people", "", ["emotion7=happy|surprise"], None, None),
    ("gender of the happy, neutral or sad children", "gender", ["emotion7=neutral|happy|sad", CHILD], None, None),
    ("happy and white women", "", [HAPPY, "race5=White", WOMAN], None, None),
    ("gender of black people", "gender", ["race5=Black"], None, None),
    ("emotion of the Asian man", "emotion7", ["race5=Asian", MAN], None, None),
    ("emotion of men and women", "emotion7", ["gender=Male|Female"], None, None),
    ("who is smiling?", "", [HAPPY], None, None),
    ("who looks sad", "", [SAD], None, None),
    ("age of the women who look sad", "age5", [WOMAN, SAD], None, None),
    ("age of people who are not happy", "age5", [NOT_HAPPY], None, None),
    ("age of people who aren't happy", "age5", [NOT_HAPPY], None, None),
    ("age of people not smiling", "age5", [NOT_HAPPY], None, None),
    ("not happy women", "", [NOT_HAPPY, WOMAN], None, None),
    ("gender of people whose emotion is happy", "gender", [HAPPY], None, None),
    ("age of the woman with a happy expression", "age5", [WOMAN, HAPPY], None, None),
    ("what emotion do happy people have", "emotion7", [HAPPY], None, None),
    ("is the man smiling?", "emotion7", [MAN], None, None),
    ("are the children happy", "emotion7", [CHILD], None, None),
    ("are the men happy or sad?", "emotion7", [MAN], None, None),
    ("are there any happy children?", "", [HAPPY, CHILD], None, None),
    ("how many women are there?", "", [WOMAN], None, None),
    ("number of children who are sad", "", [CHILD, SAD], None, None),
    ("emotion of people aged 20-39", "emotion7", ["age5=20-39"], None, None),
    ("emotion of people aged 10 to 39", "emotion7", ["age5=10-19|20-39"], None, None),
    ("women aged between 20 and 39", "", [WOMAN, "age5=20-39"], None, None),
    ("emotion of people over 60", "emotion7", [OLD], None, None),
    ("emotion of people 60 or older", "emotion7", [OLD], None, None),
    ("people 60+", "", [OLD], None, None),
    ("gender of everybody younger than 20", "gender", ["age5=0-9|10-19"], None, None),
    ("adults older than 40", "", ["age5=40-59|More than 60"], None, None),
    ("how old is the leftmost woman?", "age5", [WOMAN], None, Place("x", 1)),
    ("gender of the rightmost face", "gender", [], None, Place("x", -1)),
    ("gender of the person on the left", "gender", [], None, Place("x", 1)),
    ("second face from the left", "", [], None, Place("x", 2)),
    ("gender of the third person from the right", "gender", [], None, Place("x", -3)),
    ("emotion of the 2nd man from the left", "emotion7", [MAN], None, Place("x", 2)),
    ("age of the biggest face", "age5", [], None, Place("size", -1)),
    ("age of the second largest face", "age5", [], None, Place("size", -2)),
    ("age of the smallest face", "age5", [], None, Place("size", 1)),
    ("age of the person in the middle", "age5", [], None, Place("x", 0)),
    ("emotion of the happy woman in the middle", "emotion7", [HAPPY, WOMAN], None, Place("x", 0)),
    ("everyone wearing glasses", "", [], "person wearing glasses", None),
    ("age of the man in a red shirt", "age5", [MAN], "person in a red shirt", None),
    ("age of the man in a red shirt on the left", "age5", [MAN], "person in a red shirt", Place("x", 1)),
    ("age of everyone wearing a hat who is smiling", "age5", [HAPPY], "person wearing a hat", None),
    ("people without glasses", "", [], "person without glasses", None),
    ("people not wearing glasses", "", [], "person not wearing glasses", None),
    ("people who are not wearing glasses", "", [], "person who are not wearing glasses", None),
    ("age of people wearing black", "age5", [], "person wearing black", None),
    ("emotion of the woman holding a baby", "emotion7", [WOMAN], "person holding a baby", None),
    ("emotion of the man next to the child", "emotion7", [MAN], "person next to the child", None),
    ("age of the bearded man", "age5", [MAN], "bearded person", None),
    ("the tall man with black hair", "", [MAN], "tall person with black hair", None),
    ("gender of the baby", "gender", [], "baby person", None),
    ("age of the young woman", "age5", [WOMAN], "young person", None),
    ("age5 of everyone", "age5", [], None, None),
    ("Perceived gender of all", "gender", [], None, None),
]

REFUSED = [
    ("", "expected a request in words"),
    ("   ", "expected a request in words"),
    ("?", "neither an attribute nor which faces"),
    ("please", "neither an attribute nor which faces"),
    ("everyone", "neither an attribute nor which faces"),
    ("x" * 301, "at most 300"),
    ("who is this?", "never answered"),
    ("Who is the woman on the left", "never answered"),
    ("who's that man", "never answered"),
    ("who", "never answered"),
    ("name of the man", "never answered"),
    ("identify everyone", "never answered"),
    ("is this the famous actor", "never answered"),
    ("emotion of Angela Merkel", "never answered"),
    ("who is Angela", "never answered"),
    ("nationality of the man", "'nationality' is none of the attributes that can be asked"),
    ("attractiveness of the women", "none of the attributes that can be asked: gender, race5"),
    ("wieght of the man", "none of the attributes that can be asked"),
    ("emotoin of the child", "Did you mean 'emotion'?"),
    ("everything about the women", "What can be asked: gender, race5, age5, emotion7."),
    ("skin tone of the women", "Understood 'skin tone', but the model does not answer that"),
    ("age9 of everyone", "Understood 'age9', but the model does not answer that"),
    ("age of the hapy woman", "Did you mean 'happy'?"),
    ("age of people wering glasses", "Did you mean 'wearing'?"),
    ("age of the chld", "Did you mean 'child'?"),
    ("emotion of women and children", "are two groups"),
    ("age group of children and emotion of women", "two things of two groups"),
    ("age and women", "write 'of' before the people"),
    ("adult children", "at once"),
    ("the happy sad man", "at once"),
    ("second child", "Write 'second from the left'"),
    ("leftmost person on the right", "second position"),
    ("emotion of people over 50", "no groups of age begin or end at"),
    ("gender of everyone except children", "'except' is not known"),
    ("the oldest man", "'oldest' is not known"),
    ("very happy women", "'very' is not known"),
    ("race of the two women", "'two' is not known"),
    ("age of everyone wearing", "nothing follows 'wearing'"),
    ("age; drop table", "is not known"),
    ("children glasses", "'glasses' is not known"),
    ("Alter des Kindes", "Cannot read"),
    ("âge des enfants", "Cannot read"),
    ("edad y emoción del niño", "Cannot read"),
    ("возраст ребёнка", "Cannot read"),
    ("孩子的年龄", "Cannot read"),
    ("عمر الطفل", "Cannot read"),
    ("😀", "Cannot read"),
]


def conditions(plan: Plan) -> list[str]:
    return [f"{c.attribute}={'|'.join(c.labels)}" for c in plan.conditions]


@pytest.mark.parametrize(("request_", "asked", "who_fits", "phrase", "place"), READ, ids=[row[0] for row in READ])
def test_requests_are_read(
    request_: str, asked: str, who_fits: list[str], phrase: str | None, place: Place | None
) -> None:
    plan = grammar.read(request_, DEMO)
    assert (list(plan.attributes), conditions(plan)) == (asked.split(), who_fits)
    assert (plan.who, plan.place) == (phrase, place)
    assert plan.request == request_


@pytest.mark.parametrize(("request_", "said"), REFUSED, ids=[row[0][:40] for row in REFUSED])
def test_what_cannot_be_read_is_refused_with_what_can(request_: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        grammar.read(request_, DEMO)
    assert said in str(error.value)
    assert (
        "xample" in str(error.value)
        or "There are age5: 0-9" in str(error.value)
        or "choose another" in str(error.value)
    )


def test_the_examples_that_are_shown_can_be_read() -> None:
    for example in words()["examples"]:
        assert grammar.read(example, DEMO).request == example


def test_no_text_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="expected a request in words"):
        grammar.read(None, DEMO)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "asked", "expected"),
    [
        ("race of Asian people", ("race7",), [Condition("race7", ("East Asian", "Southeast Asian"))]),
        ("gender of the baby", ("gender",), [Condition("age9", ("0-2",))]),
        ("people with black hair", (), [Condition("hair_color", ("black",))]),
        ("curly haired women", (), [Condition("hair_type", ("curly",)), Condition("gender", ("Female",))]),
        ("hair colour of contemptuous men", ("hair_color",), [("emotion8", "contempt"), ("gender", "Male")]),
        ("people whose hair color is black", (), [Condition("hair_color", ("black",))]),
    ],
)
def test_all_label_sets_of_the_registry_can_decide(
    request_: str, asked: tuple[str, ...], expected: list[object]
) -> None:
    plan = grammar.read(request_, ALL)
    wanted = [e if isinstance(e, Condition) else Condition(e[0], (e[1],)) for e in expected]  # type: ignore[index]
    assert (plan.attributes, list(plan.conditions)) == (asked, wanted)


def test_what_is_stored_decides_before_what_would_have_to_be_asked() -> None:
    stored = Vocabulary(SHIPPED, ["gender", "age5"], ["age9"])
    plan = grammar.read("age of the baby", stored)
    assert (plan.attributes, plan.conditions) == (("age5",), (Condition("age9", ("0-2",)),))


def test_attributes_of_ones_own_are_words_too(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "attributes:\n  headwear:\n    title: What is on the head\n    question: what is on the head?\n"
        "    labels: [helmet, turban, none]\n"
    )
    own = Vocabulary(attributes.load(file))
    assert grammar.read("headwear of the men", own).attributes == ("headwear",)
    assert conditions(grammar.read("age of people whose headwear is none", own)) == ["headwear=none"]
    assert conditions(grammar.read("helmet people", own)) == ["headwear=helmet"]


def test_a_plan_says_what_it_will_do() -> None:
    said = grammar.read("age of the second woman from the left wearing a hat", DEMO).sentences(SHIPPED)
    assert said == [
        "Asked: Apparent age, 5 groups (age5).",
        "Only faces with Perceived gender (gender): Female.",
        "Only those whom the words 'person wearing a hat' fit, as a model decides that sees the whole picture.",
        "In each picture only the second from the left of these.",
        "'woman' is read as gender Female.",
    ]
    assert grammar.read("emotion", DEMO).sentences(SHIPPED)[1] == "Of all faces."
    assert grammar.read("smiling men", DEMO).sentences(SHIPPED)[0].startswith("Nothing is asked")


VOCABULARY = sorted({word for key in DEMO.table for word in key} | set(words()["openers"]) | set(words()["filler"]))
PIECES = st.sampled_from([*VOCABULARY, "and", "or", ",", ":", "not", "20", "60+", "10-19", "xyz", "Ann", "who's"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map(" ".join)))
def test_any_text_is_a_plan_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        plan = grammar.read(text, DEMO)
        assert plan.attributes or plan.conditions or plan.who or plan.place
        assert set(plan.attributes) <= {"gender", "race5", "age5", "emotion7"}
        assert all(set(c.labels) < set(SHIPPED.get(c.attribute).labels) or c.labels for c in plan.conditions)
        assert all(plan.sentences(SHIPPED))
