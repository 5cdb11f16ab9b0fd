"""Model cards: found by name, completed from folders, turned into questions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facevlm.attributes import define, get
from facevlm.backends.cards import ANY, CARD_FILE, Card, find, is_here, location, questions_for, save, shipped
from facevlm.backends.families import FAMILIES, GENERIC
from facevlm.backends.options import Options
from facevlm.errors import FacevlmError, InputError, ModelError, UnknownName
from facevlm.folders import ASSETS
from facevlm.types import Attribute

GENDER, AGE, RACE = get("gender"), get("age5"), get("race5")
HAT = define("hat", ["Yes", "no"], "does the person wear a hat?", aliases={"Yes": ["Sure"]})

OWN_CARD = {
    "questions": {"gender": "man or woman?", "age5": "how old?"},
    "forms": {"gender": {"Male": ["he", "him"], "Female": ["she"]}},
    "joint": {"context": "describe the face", "cues": {"gender": "gender "}},
}


def folder(path: Path, card: object) -> Card:
    (path / CARD_FILE).write_text(card if isinstance(card, str) else json.dumps(card), encoding="utf-8")
    return find(f"hf:{path}")


@pytest.mark.parametrize(("name", "rule"), [("demo", "greedy"), ("facescan", "greedy"), ("paligemma", "probable")])
def test_models_tuned_for_their_questions_are_decided_as_they_decode(name: str, rule: str) -> None:
    assert find(name).decision(Options()) == rule
    assert find(name).decision(Options(decision="greedy")) == "greedy"
    assert find(name).decision(Options(decision="probable")) == "probable"


# find()


def test_the_published_checkpoints_are_asked_to_the_letter() -> None:
    card = find("facescan")
    assert card.checkpoints == {
        "race7": "NYUAD-ComNets/FaceScanPaliGemma_Race",
        "gender": "NYUAD-ComNets/FaceScanPaliGemma_Gender",
        "age5": "NYUAD-ComNets/FaceScanPaliGemma_Age",
        "emotion8": "NYUAD-ComNets/FaceScanPaliGemma_Emotion",
    }
    assert card.processor == "google/paligemma-3b-pt-224"
    assert card.gated
    asked = questions_for(card, [get(name) for name in ("race7", "gender", "age5", "emotion8")])
    assert [question.text for question in asked] == [
        "what is the race of the person in the image?",
        "what is the gender of the person in the image?",
        "what is the age group of the person in the image?",
        "what is the emotion of the person in the image?",
    ]
    assert [question.context for question in asked] == [None] * 4


def test_each_attribute_has_its_checkpoint_and_any_stands_for_all() -> None:
    assert find("facescan").checkpoint("age5") == "NYUAD-ComNets/FaceScanPaliGemma_Age"
    assert find("hf:org/name").checkpoint("age5") == "org/name"
    assert Card("x", {"age5": "a", ANY: "b"}).checkpoint("gender") == "b"


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"Unknown model 'facscan'.*demo.*hf:ID-or-folder.*Did you mean 'facescan'"):
        find("facscan")


@pytest.mark.parametrize("name", ["hf:", "hf:  "])
def test_a_hub_name_without_a_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected hf:ORGANISATION/NAME"):
        find(name)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_cards_fit_the_attribute_registry(name: str) -> None:
    card = find(name)
    for attribute in card.questions:
        assert card.checkpoint(attribute)
        [question] = questions_for(card, [get(attribute)])
        assert all(forms for forms in question.surface_forms)
    for attribute, forms in card.forms.items():
        assert set(forms) <= set(get(attribute).labels)


def test_the_demo_model_ships_with_the_package() -> None:
    checkpoint = find("demo").checkpoint("gender")
    assert Path(location(checkpoint)).is_dir()
    assert is_here(checkpoint)
    assert not is_here("nobody/no-such-checkpoint")
    assert location("org/name") == "org/name"


@pytest.mark.parametrize(
    "checkpoint", ["/nowhere/at/all", "./nowhere", "~/nowhere/at/all", "a/b/c", "package:no_model", "has blanks", "-"]
)
def test_a_folder_that_is_missing_is_not_here(checkpoint: str) -> None:
    assert not is_here(checkpoint)


# facevlm.json in a folder


def test_a_folder_speaks_for_itself(tmp_path: Path) -> None:
    card = folder(tmp_path, OWN_CARD)
    assert card.checkpoint("gender") == str(tmp_path)
    assert (card.answers("age5"), card.answers("race5")) == (True, False)
    gender, age = questions_for(card, [GENDER, AGE], joint=False)
    assert (gender.text, gender.surface_forms) == ("man or woman?", (("he", "him"), ("she",)))
    assert (age.text, age.surface_forms[0]) == ("how old?", ("0-9",))


@pytest.mark.parametrize(
    ("model_type", "text"),
    [
        ("paligemma", "does the person wear a hat?"),
        ("qwen3_vl", "does the person wear a hat? Choose from: Yes, no. Answer with the chosen words only."),
        ("some_new_vlm", "does the person wear a hat? Choose from: Yes, no. Answer with the chosen words only."),
    ],
)
def test_a_folder_without_a_card_answers_anything_in_the_words_of_its_family(
    tmp_path: Path, model_type: str, text: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    [question] = questions_for(find(f"hf:{tmp_path}"), [HAT])
    assert (question.text, question.context, question.cue) == (text, None, "")
    assert question.surface_forms == (("Yes", "Sure", "yes", "sure"), ("no",))


def test_a_family_that_chooses_from_no_labels_says_so_and_takes_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "florence2"}')
    for name in ("florence-2", f"hf:{tmp_path}"):
        with pytest.raises(InputError, match=r"answers only what it was tuned for.*facevlm.json.*prompts="):
            questions_for(find(name), [HAT])
        [question] = questions_for(find(name), [HAT], {"hat": "<DocVQA>a hat?"})
        assert question.text == "<DocVQA>a hat?"


def test_a_damaged_config_is_no_family(tmp_path: Path) -> None:
    for damaged in ("{", "[]", ""):
        (tmp_path / "config.json").write_text(damaged)
        assert find(f"hf:{tmp_path}").family() is GENERIC


def test_models_that_were_not_tuned_are_asked_to_choose() -> None:
    texts = {name: questions_for(card, [get("gender")])[0].text for name, card in shipped().items() if card.prompt}
    asked = "answer en what is the gender of the person in the image? choose from: Male, Female"
    assert texts == {"paligemma": asked, "paligemma2": asked}
    for name in ("llava-next", "qwen-vl", "smolvlm"):
        assert "Choose from: Male, Female." in questions_for(find(name), [get("gender")])[0].text


def test_every_preset_names_a_family_that_there_is() -> None:
    for name, card in shipped().items():
        assert card.model_type in FAMILIES, name
        assert card.parameters > 0
        assert card.download > 0
        assert card.licence


def test_memory_counts_every_checkpoint_once() -> None:
    assert find("facescan").memory() == pytest.approx(4 * find("paligemma").memory())
    assert find("paligemma").memory(4) == 2 * find("paligemma").memory()
    assert find("hf:org/name").memory() == 0


@pytest.mark.parametrize(
    "card",
    [
        "{",
        "",
        [],
        '"text"',
        {"joint": {"context": "describe"}},
        {"joint": ["describe"]},
        {"forms": ["he"]},
        {"forms": {"gender": ["he"]}},
        {"forms": {"gender": {"Male": 1}}},
        {"forms": {"gender": {"Male": "he"}}},
        {"forms": {"gender": {"Male": ["he", 1]}}},
        {"forms": {"gender": {"Male": {"he": 1}}}},
        {"forms": None},
        {"questions": ["gender"]},
        {"questions": "gender"},
        {"questions": 5},
        {"question": {"gender": "who?"}},
        "[" * 100_000,
        {"joint": {"context": "describe", "cues": ["gender"]}},
        {"joint": {"context": "describe", "cues": "gender"}},
        "null",
    ],
    ids=str,
)
def test_a_broken_card_is_refused_by_its_path(card: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model card.*Expected questions, forms and joint") as caught:
        folder(tmp_path, card)
    assert str(tmp_path / CARD_FILE) in str(caught.value)


def test_a_card_in_another_encoding_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_bytes('{"questions": {"gender": "Männlich?"}}'.encode("latin-1"))
    with pytest.raises(ModelError, match="is not a model card"):
        find(f"hf:{tmp_path}")


# questions_for()


def test_a_joint_prompt_is_shared_and_each_attribute_has_its_cue() -> None:
    asked = questions_for(find("demo"), [GENDER, RACE, AGE, get("emotion7")])
    assert len({question.context for question in asked}) == 1
    assert asked[0].context
    assert len({question.cue for question in asked}) == 4
    assert all(question.cue for question in asked)


def test_an_answer_does_not_depend_on_what_else_is_asked() -> None:
    card = find("demo")
    [alone] = questions_for(card, [GENDER])
    assert alone in questions_for(card, [AGE, GENDER])
    assert alone == questions_for(card, [GENDER, AGE], {"age5": "how old?"})[0]


def test_own_words_replace_the_joint_prompt_for_their_attribute_alone(tmp_path: Path) -> None:
    card = folder(tmp_path, OWN_CARD | {"joint": {"context": "describe", "cues": {"gender": "g ", "age5": "a "}}})
    gender, age = questions_for(card, [GENDER, AGE], {"gender": "who is it?"})
    assert (gender.text, gender.context, gender.cue) == ("who is it?", None, "")
    assert gender.surface_forms == (("he", "him"), ("she",))
    assert (age.context, age.cue) == ("describe", "a ")


def test_an_attribute_without_a_cue_is_asked_on_its_own(tmp_path: Path) -> None:
    gender, age = questions_for(folder(tmp_path, OWN_CARD), [GENDER, AGE])
    assert (gender.context, gender.cue) == ("describe the face", "gender ")
    assert (age.text, age.context, age.cue) == ("how old?", None, "")


def test_the_joint_prompt_can_be_switched_off() -> None:
    for question in questions_for(find("demo"), [GENDER, AGE], joint=False):
        assert (question.context, question.cue) == (None, "")
        assert question.text == find("demo").questions[question.attribute.name]


@pytest.mark.parametrize(("model", "attribute"), [("facescan", RACE), ("demo", get("race7")), ("demo", HAT)])
def test_an_attribute_that_the_model_does_not_answer_is_refused(model: str, attribute: Attribute) -> None:
    with pytest.raises(InputError) as caught:
        questions_for(find(model), [GENDER, attribute])
    assert f"Model '{model}' answers " in str(caught.value)
    assert f"got '{attribute.name}'" in str(caught.value)
    assert "gender" in str(caught.value)


def test_prompts_for_what_is_not_asked_are_refused() -> None:
    with pytest.raises(FacevlmError, match=r"Got prompts for age5, race5, expected only .* asked: gender"):
        questions_for(find("demo"), [GENDER], {"age5": "how old?", "race5": "?", "gender": "who?"})


def test_answers_for_a_label_that_does_not_exist_are_refused_when_they_are_asked(tmp_path: Path) -> None:
    forms = {"gender": {"Male": ["he"], "Femal": ["she"], "Other": ["they"]}}
    card = folder(tmp_path, OWN_CARD | {"forms": forms})
    assert questions_for(card, [AGE])[0].text == "how old?"
    with pytest.raises(ModelError, match="has answer strings for Femal, Other, no label of gender"):
        questions_for(card, [AGE, GENDER])


def test_questions_come_in_the_order_of_the_attributes() -> None:
    names = ["age5", "gender", "race5"]
    assert [q.attribute.name for q in questions_for(find("demo"), [get(n) for n in names])] == names


def test_all_spellings_are_answers_where_a_card_names_none() -> None:
    [question] = questions_for(find("facescan"), [get("race7")])
    latinx = question.surface_forms[get("race7").labels.index("Latinx or Hispanic")]
    assert {"Latinx or Hispanic", "latinx or hispanic", "Latino_Hispanic", "hispanic"} <= set(latinx)
    every = [form for forms in question.surface_forms for form in forms]
    assert len(every) == len(set(every))


# save()


def test_the_shipped_card_is_written_as_it_is_read(tmp_path: Path) -> None:
    written = save(tmp_path, find("demo"))
    assert written == tmp_path / CARD_FILE
    assert written.read_bytes() == (ASSETS / "demo_model" / CARD_FILE).read_bytes()
    read = find(f"hf:{tmp_path}")
    assert (read.questions, read.forms, read.joint) == (
        find("demo").questions,
        find("demo").forms,
        find("demo").joint,
    )


def test_a_card_with_any_letters_and_without_a_joint_prompt_is_read_back(tmp_path: Path) -> None:
    card = Card(
        "mine", {ANY: str(tmp_path)}, questions={"gender": "Männlich?"}, forms={"gender": {"Male": ("m", "男")}}
    )
    save(tmp_path, card)
    read = find(f"hf:{tmp_path}")
    assert (read.questions, read.forms, read.joint) == (card.questions, card.forms, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"questions": {"gender": 5}}, "is not a model card"),
        ({"forms": {"gender": {"Male": "he"}}}, "is read back as another one"),
        ({"forms": {"gender": {"Male": (1,)}}}, "is not a model card"),
    ],
)
def test_what_would_be_read_otherwise_is_not_written(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    card = replace(Card("mine", {ANY: str(tmp_path)}), **changes)
    with pytest.raises(ModelError, match=said):
        save(tmp_path, card)
    assert list(tmp_path.iterdir()) == []
