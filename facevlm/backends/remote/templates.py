"""A request in words: templates as data, one line per attribute, examples, and the schema of the answer."""

from __future__ import annotations

import base64
import difflib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from facevlm import folders
from facevlm.backends.options import MAX_SIDE, Remote
from facevlm.backends.remote import pictures
from facevlm.backends.remote.exchange import Turn
from facevlm.errors import ImageError, InputError, UnknownName, is_blank
from facevlm.faces import images
from facevlm.folders import ASSETS
from facevlm.types import Attribute, Question, digest

DATA = ASSETS / "prompts.yaml"
PARTS = ("templates", "wordings", "describing")
"""What a file may hold."""
FIELDS = {"text": ("questions", "keys"), "line": ("name", "question", "labels")}
NEEDED = {"text": ("questions",), "line": ("question",)}
USUAL = "face"
SEED = 0


@dataclass(frozen=True)
class Example:
    """A face with its labels, shown before the question."""

    jpeg: bytes
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Template:
    """How a request is worded. ``questions`` are other words for attributes' questions."""

    system: str
    text: str
    line: str
    questions: Mapping[str, str]
    order: str
    examples: tuple[Example, ...] = ()

    @property
    def version(self) -> str:
        """Eight hex digits that change with any word, example or order."""
        shown = [[base64.b64encode(e.jpeg).decode(), dict(e.labels)] for e in self.examples]
        return digest([self.system, self.text, self.line, dict(self.questions), self.order, shown])

    def turns(self, questions: Sequence[Question]) -> tuple[Turn, ...]:
        """The conversation without the picture that it is about, which goes into the last turn."""
        text = self._text(questions)
        turns = [Turn("system", self.system)] if self.system else []
        for example in self.examples:
            answer = {q.attribute.name: _example_label(example, q.attribute) for q in questions}
            turns.append(Turn("user", text, (example.jpeg,)))
            turns.append(Turn("assistant", json.dumps(answer, ensure_ascii=False)))
        return (*turns, Turn("user", text, ()))

    def _text(self, questions: Sequence[Question]) -> str:
        keys = ", ".join(f'"{q.attribute.name}"' for q in questions)
        return self.text.format(questions=self.lines(questions), keys=keys)

    def lines(self, questions: Sequence[Question]) -> str:
        """A line per attribute."""
        return "\n".join(self._line(q) for q in questions)

    def _line(self, question: Question) -> str:
        attribute = question.attribute
        worded = self.questions.get(attribute.name) if question.text == attribute.question else None
        labels = ", ".join(ordered(attribute, self.order))
        return self.line.format(name=attribute.name, question=worded or question.text, labels=labels)


def ordered(attribute: Attribute, order: str) -> list[str]:
    """Labels as given, reversed, or shuffled by a fixed seed and the attribute's name."""
    labels = list(attribute.labels)
    if order == "reversed":
        labels.reverse()
    elif order == "shuffled":
        random.Random(f"{SEED} {attribute.name}").shuffle(labels)
    return labels


def _example_label(example: Example, attribute: Attribute) -> str:
    label = example.labels.get(attribute.name)
    if label not in attribute.labels:
        raise InputError(
            f"An example of the template has {attribute.name}={label!r}, expected one of {', '.join(attribute.labels)}."
            " Give every example a label of each attribute that is asked."
        )
    return label


def schema(questions: Sequence[Question]) -> dict[str, Any]:
    """JSON schema of the answer: one key per attribute, whose values are its labels."""
    names = [q.attribute.name for q in questions]
    return {
        "type": "object",
        "properties": {q.attribute.name: {"type": "string", "enum": list(q.attribute.labels)} for q in questions},
        "required": names,
        "additionalProperties": False,
    }


def load(options: Remote) -> Template:
    """The template that the options name, with its wording and order.

    Raises :class:`~facevlm.errors.InputError` for an unknown name or a file that is no template.
    """
    shipped, own = read(DATA), of_ones_own(options.template)
    path, _, name = options.template.partition("#")
    mine = own.get("templates") or {}
    known = {**shipped["templates"], **mine}
    wordings = {**shipped["wordings"], **(own.get("wordings") or {})}
    chosen = (name or next(iter(mine), USUAL)) if own else options.template
    for kind, table, wanted in (("template", known, chosen), ("wording", wordings, options.wording)):
        if wanted not in table:
            raise UnknownName(kind, wanted, table)
    raw = known[chosen]
    return Template(
        system=str(raw.get("system") or ""),
        text=_checked(raw, chosen, "text"),
        line=_checked(raw, chosen, "line"),
        questions=_worded(wordings[options.wording], options.wording),
        order=options.order,
        examples=tuple(_example(e, Path(path).parent, options) for e in raw.get("examples") or ()),
    )


def _worded(raw: Mapping[Any, Any], name: str) -> dict[str, str]:
    """The questions of a wording by attribute."""
    for attribute, question in raw.items():
        if not isinstance(question, str) or is_blank(question):
            raise InputError(f"Wording '{name}': got {question!r} for {attribute}, expected a question.")
    return {str(attribute): question for attribute, question in raw.items()}


def of_ones_own(template: str) -> dict[str, Any]:
    """What is in the file that ``template`` names; nothing where it is the name of a shipped one.

    Raises :class:`~facevlm.errors.InputError` for a file of another form.
    """
    path = template.partition("#")[0]
    return read(Path(path)) if path.endswith((".yaml", ".yml")) else {}


def read(path: Path) -> dict[str, Any]:
    """A file in the form of ``assets/prompts.yaml``.

    Raises :class:`~facevlm.errors.InputError` for one of another form.
    """
    try:
        data = folders.read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"Cannot read the template file {path}: {_why(error)}") from None
    parts = {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else {}
    wanted = " or ".join(f"'{part}'" for part in PARTS)
    strange = [str(key) for key in parts if key not in PARTS]
    if strange or not parts or not all(isinstance(part, dict) and part for part in parts.values()):
        # A misspelled key is named; of a file of another kind, such as one with passwords, nothing is.
        meant = [key for key in strange if difflib.get_close_matches(key, PARTS)]
        got = f"got the key {', '.join(meant)}, " if meant else "got other keys, " if strange else ""
        raise InputError(f"{path}: {got}expected a mapping with the key {wanted}; see facevlm/assets/prompts.yaml")
    for part in ("templates", "wordings"):
        if not all(isinstance(named, dict) for named in parts.get(part, {}).values()):
            raise InputError(
                f"{path}: expected mappings by name under the key '{part}'; see facevlm/assets/prompts.yaml"
            )
    return parts


def _why(error: Exception) -> str:
    """What is wrong with a file, without a word of it: it may be any file, of which an error must not tell."""
    if isinstance(error, OSError):
        return str(error.strerror)
    mark = getattr(error, "problem_mark", None)
    return f"it is no YAML{f' in line {mark.line + 1}, column {mark.column + 1}' if mark else ''}"


def _checked(raw: Mapping[str, Any], name: str, part: str) -> str:
    return checked_text(raw.get(part), f"Template '{name}', {part}", FIELDS[part], NEEDED[part])


def checked_text(text: object, where: str, fields: Sequence[str], needed: Sequence[str]) -> str:
    """The text, which may have these fields in braces and no others, and has to have those that are needed.

    Raises :class:`~facevlm.errors.InputError` for any other; ``where`` says which text it is.
    """
    found = _fields(text) if isinstance(text, str) and text.strip() else None
    if isinstance(text, str) and found is not None and set(needed) <= found <= set(fields):
        return text
    wanted = "the fields " + ", ".join("{" + f + "}" for f in fields) if fields else "no fields"
    lacking = f" ({', '.join('{' + f + '}' for f in needed)} must be there)" if needed else ""
    raise InputError(
        f"{where}: got {text!r}, expected a text with {wanted}{lacking} and no others; write other braces twice."
    )


def _fields(text: str) -> set[str] | None:
    """The fields of a text; None where its braces are not those of plain fields."""
    try:
        parsed = [(name, spec, how) for _, name, spec, how in Formatter().parse(text) if name is not None]
    except ValueError:
        return None
    return None if any(spec or how for _, spec, how in parsed) else {name for name, _, _ in parsed}


def _example(raw: Any, folder: Path, options: Remote) -> Example:
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict) or "image" not in raw:
        raise InputError(f"Example: got {raw!r}, expected image: PATH and labels: {{ATTRIBUTE: LABEL}}.")
    try:
        picture = images.load(str(folder / str(raw["image"])))
    except ImageError as error:
        raise InputError(f"Example {raw['image']}: {error}") from error
    labels = {str(k): str(v) for k, v in raw["labels"].items()}
    return Example(pictures.encode(picture, options.max_side or MAX_SIDE, options.quality), labels)
