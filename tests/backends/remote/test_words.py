"""Words about people: shipped ones hold together, one's own replace them one by one, bad ones are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.backends.options import Remote
from facevlm.backends.remote import describe, templates, words
from facevlm.errors import InputError
from facevlm.types import Inquiry

GENDER = tuple(questions_for(find("openai:m"), [get("gender")]))
OWN = """
describing:
  everybody: all {{of}} them
  numbers: '{count} are framed. {whom}; {questions}; {free}'
  free:
    mood: what is the mood?
    hair: is it long?
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.yaml").write_text(OWN)
    return str(tmp_path / "own.yaml")


def test_every_shipped_text_is_there_and_may_be_asked() -> None:
    assert set(words.shipped().texts) == set(words.FIELDS)
    assert {"hair", "clothing", "posture", "action"} <= set(words.shipped().free)
    assert words.load("face") == words.load("main-person") == words.shipped()


def test_texts_are_replaced_one_by_one_and_questions_added(own: str) -> None:
    mine, usual = words.load(own), words.shipped()
    changed = {name for name in words.FIELDS if mine.texts[name] != usual.texts[name]}
    assert changed == {"everybody", "numbers"}
    assert mine.version != usual.version
    assert mine.free == {**usual.free, "mood": "what is the mood?", "hair": "is it long?"}
    inquiry = Inquiry(GENDER, {"mood": "{?}"}, shown="numbers")
    template = templates.load(Remote(template=own))
    assert template == templates.load(Remote(template="face"))
    text = describe._turns(template, mine, inquiry, 3)[1].text
    assert text.startswith('3 are framed. all {of} them; - "gender":')
    assert '; - "mood": {?} Answer in a few words' in text


def test_questions_alone_do_not_change_the_version(tmp_path: Path) -> None:
    path = tmp_path / "own.yml"
    path.write_text("describing: {free: {mood: 'which?'}}")
    assert words.load(str(path)).version == words.shipped().version


def test_a_template_and_words_may_stand_in_one_file(own: str) -> None:
    path = Path(own)
    path.write_text(OWN + "templates: {mine: {text: '{questions}', line: '{name}? {question}'}}")
    assert templates.load(Remote(template=own)).line == "{name}? {question}"
    assert templates.load(Remote(template=f"{own}#main-person")).line.startswith('- "{name}"')
    assert words.load(f"{own}#main-person") == words.load(own)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("describing: {}", "expected a mapping with the key 'templates' or 'wordings' or 'describing'"),
        ("describing: some", "expected a mapping with the key"),
        ("describng: {some: x}", "got the key describng, expected a mapping"),
        ("describing: {boxs: x}", "Got boxs under 'describing', expected everybody, some, free_line, boxes, numbers"),
        ("describing: {some: those}", "'some' under 'describing': got 'those', expected a text with the fields {who}"),
        ("describing: {everybody: 'all but {who}'}", "expected a text with no fields and no others"),
        ("describing: {boxes: '{whom} {questions}'}", "({whom}, {questions}, {free} must be there)"),
        ("describing: {boxes: '{whom} {questions} {free} {count}'}", "and no others"),
        ("describing: {crops: '{whom} {questions} {free} {'}", "write other braces twice"),
        ("describing: {crops: '{whom} {questions[0]} {questions} {free}'}", "and no others"),
        ("describing: {crops: '{whom!r} {questions} {free:>9}'}", "and no others"),
        ("describing: {free_line: '{question}'}", "({name}, {question} must be there)"),
        ("describing: {numbers: 3}", "got 3, expected a text"),
        ("describing: {free: [hair]}", "expected questions by name, such as mood: what mood?"),
        ("describing: {free: {hair: no}}", "expected questions by name"),
        ("describing: {free: {hair: ' '}}", "expected questions by name"),
        ("wordings: {mine: 3}", "expected mappings by name under the key 'wordings'"),
    ],
)
def test_words_that_cannot_be_asked_are_said(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        words.load(str(path))
    assert said in str(caught.value)
