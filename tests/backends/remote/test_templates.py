"""The words of a request: shipped templates, the user's own, examples, order, the schema, and the version."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends.options import Remote
from facevlm.backends.remote import templates
from facevlm.backends.remote.exchange import Turn
from facevlm.errors import InputError, UnknownName
from facevlm.types import Question


def ask(name: str, text: str | None = None) -> Question:
    attribute = get(name)
    return Question(attribute, text or attribute.question, tuple((x,) for x in attribute.labels))


BOTH = [ask("gender"), ask("emotion8")]


def text_of(options: Remote, questions: list[Question] = BOTH) -> str:
    return templates.load(options).turns(questions)[-1].text


@pytest.mark.parametrize("name", ["face", "main-person"])
def test_shipped_templates_name_every_attribute_and_label(name: str) -> None:
    text = text_of(Remote(template=name))
    for question in BOTH:
        assert f'"{question.attribute.name}": {question.attribute.question}' in text
        assert ", ".join(question.attribute.labels) in text
    assert '"gender", "emotion8"' in text
    assert "JSON" in text


def test_the_variants_differ_in_whom_they_ask_about() -> None:
    assert "this face" in text_of(Remote(template="face"))
    assert "main person" in text_of(Remote(template="main-person"))


def test_expression_may_be_asked_for_beside_emotion() -> None:
    assert "emotion" in text_of(Remote()).replace('"emotion8"', "")
    said = text_of(Remote(wording="expression"))
    assert "facial expression" in said
    assert "what is the emotion" not in said


def test_a_prompt_of_the_callers_own_wins_over_the_wording() -> None:
    said = text_of(Remote(wording="expression"), [ask("emotion8", "how does the person feel?")])
    assert "how does the person feel?" in said
    assert "expression" not in said


def test_the_order_of_labels() -> None:
    labels = list(get("emotion8").labels)
    assert templates.ordered(get("emotion8"), "given") == labels
    assert templates.ordered(get("emotion8"), "reversed") == labels[::-1]
    shuffled = templates.ordered(get("emotion8"), "shuffled")
    assert sorted(shuffled) == sorted(labels)
    assert shuffled not in (labels, labels[::-1])
    assert shuffled == templates.ordered(get("emotion8"), "shuffled")
    assert ", ".join(labels[::-1]) in text_of(Remote(order="reversed"))


def test_the_version_changes_with_every_word() -> None:
    every = [Remote(), Remote(template="main-person"), Remote(wording="expression"), Remote(order="reversed")]
    assert len({templates.load(o).version for o in every}) == len(every)
    assert templates.load(Remote()).version == templates.load(Remote(concurrency=3, budget=1.0)).version


def test_the_schema_admits_labels_and_nothing_else() -> None:
    assert templates.schema(BOTH) == {
        "type": "object",
        "properties": {
            "gender": {"type": "string", "enum": ["Male", "Female"]},
            "emotion8": {"type": "string", "enum": list(get("emotion8").labels)},
        },
        "required": ["gender", "emotion8"],
        "additionalProperties": False,
    }


def test_nothing_asks_for_identity_or_plays_roles() -> None:
    text = templates.DATA.read_text(encoding="utf-8").lower()
    for word in (
        "pretend",
        "imagine",
        "ignore",
        "jailbreak",
        "hypothetical",
        "who is this",
        "fiction",
        "you must answer",
    ):
        assert word not in text
    assert "nobody is to be identified" in text


@pytest.fixture
def own(tmp_path: Path) -> Path:
    Image.new("RGB", (900, 300), (200, 0, 0)).save(tmp_path / "red.png")
    path = tmp_path / "own.yaml"
    path.write_text(
        """
templates:
  short:
    text: "{questions} keys: {keys} {{}}"
    line: "{name}? {question} {labels}"
    examples:
      - {image: red.png, labels: {gender: Female, emotion8: fear}}
  other: {system: Be brief., text: "{questions}", line: "{name} {question} {labels}"}
wordings:
  mine: {gender: 'how is this person read?'}
"""
    )
    return path


def test_a_template_of_ones_own_with_examples(own: Path) -> None:
    turns = templates.load(Remote(template=str(own), max_side=90)).turns(BOTH)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert json.loads(turns[1].text) == {"gender": "Female", "emotion8": "fear"}
    assert [turn.jpegs is None or len(turn.jpegs) for turn in turns] == [1, True, 0]
    picture = Image.open(io.BytesIO((turns[0].jpegs or ())[0]))
    assert (picture.size, picture.format) == ((90, 30), "JPEG")
    assert turns[0].text.endswith('keys: "gender", "emotion8" {}')


def test_one_of_several_templates_and_wordings_of_a_file(own: Path) -> None:
    turns = templates.load(Remote(template=f"{own}#other", wording="mine")).turns(BOTH)
    assert turns[0] == Turn("system", "Be brief.")
    assert "how is this person read?" in turns[1].text


def test_an_example_without_a_label_that_is_asked_is_an_error(own: Path) -> None:
    with pytest.raises(InputError, match=r"age5=None, expected one of 0-9"):
        templates.load(Remote(template=str(own))).turns([ask("age5")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "key 'templates'"),
        ("templates: {}", "key 'templates'"),
        ("templates: [x]", "key 'templates'"),
        ("{", "Cannot read the template file"),
        (
            "templates: {a: {text: no fields, line: '{name} {question} {labels}'}}",
            "with the fields {questions}, {keys}",
        ),
        ("templates: {a: {text: '{questions}', line: '{name}'}}", "with the fields {name}, {question}, {labels}"),
        ("templates: {a: {text: '{questions} {who}', line: '{name} {question} {labels}'}}", "no others"),
        ("templates: {a: {text: '{questions} {', line: '{name} {question} {labels}'}}", "write other braces twice"),
        (
            "templates: {a: {text: '{questions}', line: '{name}{question}{labels}', examples: [{image: x}]}}",
            "Example: got",
        ),
        (
            "templates: {a: {text: '{questions}', line: '{name}{question}{labels}', "
            "examples: [{image: x, labels: {}}]}}",
            "not found",
        ),
    ],
)
def test_files_that_are_no_templates(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        templates.load(Remote(template=str(path)))
    assert said in str(caught.value)


@pytest.mark.parametrize("options", [{"template": "fac"}, {"wording": "expresion"}, {"template": "own.yml#x"}])
def test_unknown_names(options: dict[str, Any], tmp_path: Path) -> None:
    if "yml" in options.get("template", ""):
        (tmp_path / "own.yml").write_text("templates: {face: {text: '{questions}', line: '{name}{question}{labels}'}}")
        options = {"template": f"{tmp_path}/own.yml#x"}
    with pytest.raises(UnknownName, match="Known: "):
        templates.load(Remote(**options))
