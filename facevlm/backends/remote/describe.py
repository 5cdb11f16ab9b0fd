"""All people of a picture in one request: its words, its schema, and the answer checked person by person."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from PIL.Image import Image

from facevlm.backends import Briefing, Shot
from facevlm.backends.cards import Card
from facevlm.backends.options import Remote
from facevlm.backends.remote import ledger, polls, replies, templates, words
from facevlm.backends.remote.backend import Form, RemoteBackend
from facevlm.backends.remote.exchange import Abilities, Completion, Turn
from facevlm.backends.remote.keys import Secrets
from facevlm.backends.remote.templates import Template
from facevlm.backends.remote.words import Words
from facevlm.errors import ImageError, InputError
from facevlm.parsing import answer_table
from facevlm.types import Inquiry, Person, Question, Reply, Scene

PEOPLE, BOX, NUMBER = "people", "box", "number"
EDGES = ("left", "top", "right", "bottom")
FULL = 1000
"""Boxes are asked for in thousandths of the picture."""
USUAL_PEOPLE = 4
"""People in a picture, for the estimate, where nobody counted them."""
WORDS = 2
"""Words as an answer take so many times what a label takes, about."""
NOT_ASKED = Scene(problem=Reply(error="not asked: the budget is used up"))


class DescribingBackend(RemoteBackend):
    """A :class:`~facevlm.backends.Describing` backend, too. ``words`` is how it asks about people."""

    def __init__(self, card: Card, options: Remote, secrets: Secrets | None = None) -> None:
        self.words = words.load(options.template)
        super().__init__(card, options, secrets)

    def describe(self, images: Sequence[Image], questions: Sequence[Question], who: str | None = None) -> list[Scene]:
        """The people of every picture with boxes of their faces, or only those whom the phrase ``who`` fits."""
        scenes = [NOT_ASKED] * len(images)
        shots = (Shot(functools.partial(_one, image)) for image in images)
        with closing(self.scenes(shots, Inquiry(tuple(questions), who=who))) as ready:
            for rows in ready:
                for number, scene in rows:
                    scenes[number] = scene
        return scenes

    def scenes(self, shots: Iterable[Shot], inquiry: Inquiry) -> Generator[list[tuple[int, Scene]], None, None]:
        """(number of the shot, its people), as they are ready; ends early where the budget is used up.

        Raises :class:`~facevlm.errors.ModelError` where all further requests would fail.
        """
        self.check_inquiry(inquiry)
        self._open(self._estimate_scenes([USUAL_PEOPLE], inquiry).usage)

        boxes = inquiry.shown == "boxes"

        @functools.lru_cache(maxsize=64)
        def form(count: int | None) -> Form:
            return self._form(_turns(self.template, self.words, inquiry, count), schema(inquiry, count))

        async def work(shot: Shot) -> Scene:
            try:
                jpegs = await self._encoded(shot.pictures)
            except ImageError as error:
                return Scene(problem=Reply(error=str(error)))
            whole = functools.partial(_is_whole, inquiry=inquiry, count=shot.count)
            request, samples = form(None if boxes else shot.count), range(self.options.samples)
            said = [await self._exchange(request, jpegs, n, whole) for n in samples]
            return polls.vote([read(completion, inquiry, shot.count) for completion in said], inquiry)

        return self._flow(work, shots, lambda scene: [scene.problem or Reply(text="")])

    def check_inquiry(self, inquiry: Inquiry) -> None:
        """Word the request and find out what the server honours.

        Raises :class:`~facevlm.errors.FacevlmError` where either cannot be done.
        """
        self._ready(inquiry)

    def _ready(self, inquiry: Inquiry) -> Abilities:
        self._check_samples(inquiry)
        for question in inquiry.questions:
            answer_table(question)
        return self._open(self._estimate_scenes([USUAL_PEOPLE], inquiry).usage)

    def _check_samples(self, inquiry: Inquiry) -> None:
        if self.options.samples != 1 and inquiry.shown == "boxes":
            said = (
                f"Got samples={self.options.samples} without numbered faces, expected 1: people of two answers cannot "
                "be told apart by boxes."
            )
            raise InputError(
                f"{said} Known faces can be numbered, by faces= with mark='numbers' or mark='crops'.",
                app=f"{said} Choose known faces, and numbers to tell them apart.",
            )

    def briefing_of(self, counts: Sequence[int], inquiry: Inquiry) -> Briefing:
        """Where the pictures go, and at what cost; ``counts`` has the known faces of each, 0 where they are unknown."""
        self._check_samples(inquiry)
        return self._briefed(f"{len(counts):,} pictures", self._estimate_scenes(counts, inquiry))

    def _estimate_scenes(self, counts: Sequence[int], inquiry: Inquiry) -> ledger.Estimate:
        people = math.ceil(sum(count or USUAL_PEOPLE for count in counts) / max(1, len(counts)))
        answers = people * (len(inquiry.questions) + WORDS * (len(inquiry.free) + 1))
        turns = _turns(self.template, self.words, inquiry, people)
        requests = len(counts) * self.options.samples
        return self._estimated(turns, answers, requests, people if inquiry.shown == "crops" else 1)


def _one(image: Image) -> list[Image]:
    return [image]


def _turns(template: Template, said: Words, inquiry: Inquiry, count: int | None) -> tuple[Turn, ...]:
    """The conversation without its pictures: the template's system text, lines and order in the text about people."""
    texts = said.texts
    free = [texts["free_line"].format(name=n, question=q) for n, q in inquiry.free.items()]
    text = texts[inquiry.shown].format(
        whom=texts["everybody"].format() if inquiry.who is None else texts["some"].format(who=inquiry.who),
        questions=template.lines(inquiry.questions),
        free="\n".join(free),
        keys=", ".join(json.dumps(key) for key in _item(inquiry, count)["required"]),
        count=str(count),
    )
    # The text is formatted once more, where there is nothing left to fill in.
    doubled = text.replace("{", "{{").replace("}", "}}")
    return replace(template, text=doubled, examples=()).turns(inquiry.questions)


def schema(inquiry: Inquiry, count: int | None) -> dict[str, Any]:
    """JSON schema of the answer: a list of people; ``count`` faces are numbered."""
    return {
        "type": "object",
        "properties": {PEOPLE: {"type": "array", "items": _item(inquiry, count)}},
        "required": [PEOPLE],
        "additionalProperties": False,
    }


def _item(inquiry: Inquiry, count: int | None) -> dict[str, Any]:
    """One person: where, labels, words."""
    item = templates.schema(inquiry.questions)
    free = {name: {"type": ["string", "null"]} for name in inquiry.free}
    properties = _place(inquiry, count) | item["properties"] | free
    return item | {"properties": properties, "required": list(properties)}


def _place(inquiry: Inquiry, count: int | None) -> dict[str, Any]:
    if inquiry.shown != "boxes":
        return {NUMBER: {"type": "integer", "enum": list(range(1, (count or 0) + 1))}}
    edges = {"type": "object", "properties": {edge: {"type": "integer"} for edge in EDGES}}
    return {BOX: edges | {"required": list(EDGES), "additionalProperties": False}}


def read(completion: Completion, inquiry: Inquiry, count: int | None) -> Scene:
    """The people of an answer, each value checked on its own; prose, refusals and errors are the scene's problem."""
    found = replies.opened(completion, alone=False)
    if isinstance(found, Reply):
        return Scene(problem=replies.kept(found))
    people = found.get(PEOPLE)
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        return Scene(problem=replies.kept(Reply(text=completion.content, malformed=True)))
    starts = _starts(completion.content or "", len(people))
    return Scene(tuple(_person(p, at, completion, inquiry, count) for p, at in zip(people, starts, strict=True)))


def _person(
    found: Mapping[str, Any], start: int | None, completion: Completion, inquiry: Inquiry, count: int | None
) -> Person:
    said = completion if start is not None else replace(completion, tokens=())
    values = tuple(replies.kept(replies.value_of(q, found, said, start or 0)) for q in inquiry.questions)
    own = replies.written(dict(found))
    values = tuple(replace(v, text=replies.storable(own)) if v.malformed else v for v in values)
    free = {name: _phrase(found.get(name)) for name in inquiry.free}
    return Person(values, free, box_of(found.get(BOX)), _number(found.get(NUMBER), count))


def _phrase(value: object) -> str | None:
    """Words about a person; None for none, for what is no text, and for a refusal."""
    if not isinstance(value, str) or not value.strip() or replies.is_refusal(value):
        return None
    return replies.storable(" ".join(value.split()))


def _number(value: object, count: int | None) -> int | None:
    """The number of a marked face, None where there is no such face."""
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 6 else value
    return number if type(number) is int and 1 <= number <= (count or 0) else None


def box_of(value: object) -> tuple[float, float, float, float] | None:
    """[x, y, w, h] in shares of the picture from edges in thousandths; None for what is no box inside of it."""
    edges = [value.get(edge) for edge in EDGES] if isinstance(value, Mapping) else []
    numbers = [e for e in edges if isinstance(e, (int, float)) and not isinstance(e, bool)]
    if len(numbers) != len(EDGES):
        return None
    left, top, right, bottom = numbers
    # Edges of at most 1 are shares, not thousandths: the answer is in another unit than was asked for.
    if not (0 <= left < right <= FULL and 0 <= top < bottom <= FULL) or max(right, bottom) <= 1:
        return None
    return left / FULL, top / FULL, (right - left) / FULL, (bottom - top) / FULL


def _starts(content: str, count: int) -> Sequence[int | None]:
    """Where the object of each person begins in the text; None for all where the text cannot be walked through."""
    decoder, at, starts = json.JSONDecoder(), content.find("[", content.find(json.dumps(PEOPLE))) + 1, list[int]()
    for _ in range(count):
        at += len(content[at:]) - len(content[at:].lstrip(" \n\r\t,"))
        starts.append(at)
        try:
            _, at = decoder.raw_decode(content, at)
        except (ValueError, RecursionError):
            return [None] * count
    return starts


def _is_whole(completion: Completion, inquiry: Inquiry, count: int | None) -> bool:
    """Whether an answer is worth keeping: people can be told apart and have all labels, and are as many as known."""
    scene = read(completion, inquiry, count)
    if scene.problem is not None:
        return False
    if inquiry.who is None and count is not None and len(scene.people) != count:
        return False
    places: list[object] = [p.box_xywh_rel if inquiry.shown == "boxes" else p.number for p in scene.people]
    placed = None not in places and len(set(places)) == len(places)
    pairs = [pair for person in scene.people for pair in zip(person.replies, inquiry.questions, strict=True)]
    return placed and all(replies.label_of(reply, question) is not None for reply, question in pairs)
