"""In which words people of a picture are asked about: the texts under ``describing``, shipped or of one's own file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facevlm.backends.remote import templates
from facevlm.errors import InputError
from facevlm.types import digest

PART, FREE = "describing", "free"
ASKED = ("whom", "questions", "free")
"""Fields without which somebody would not be asked what is stored as asked."""
FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "everybody": ((), ()),
    "some": (("who",), ("who",)),
    "free_line": (("name", "question"), ("name", "question")),
    "boxes": ((*ASKED, "keys"), ASKED),
    "numbers": ((*ASKED, "keys", "count"), ASKED),
    "crops": ((*ASKED, "keys", "count"), ASKED),
}
"""Texts with the fields that they may have, and those that they must have."""


@dataclass(frozen=True)
class Words:
    """The texts about people by name, and the free questions that need no more than their name."""

    texts: Mapping[str, str]
    free: Mapping[str, str]

    @property
    def version(self) -> str:
        """Eight hex digits that change with any text. Free questions are part of what is asked, and count there."""
        return digest(dict(self.texts))


@functools.cache
def shipped() -> Words:
    """Those of ``assets/prompts.yaml``."""
    return _words(templates.read(templates.DATA)[PART])


def load(template: str) -> Words:
    """The shipped words; those of the file that ``template`` names, if it names one, take their place one by one.

    Raises :class:`~facevlm.errors.InputError` for a file with texts that cannot be asked.
    """
    own, usual = _words(templates.of_ones_own(template).get(PART) or {}), shipped()
    return Words({**usual.texts, **own.texts}, {**usual.free, **own.free})


def _words(raw: Mapping[str, Any]) -> Words:
    known = [*FIELDS, FREE]
    if strange := [str(key) for key in raw if key not in known]:
        raise InputError(f"Got {', '.join(strange)} under '{PART}', expected {', '.join(known)}.")
    texts = {
        name: templates.checked_text(text, f"'{name}' under '{PART}'", *FIELDS[name])
        for name, text in raw.items()
        if name != FREE
    }
    return Words(texts, _free(raw.get(FREE, {})))


def _free(raw: object) -> dict[str, str]:
    if isinstance(raw, dict) and all(isinstance(k, str) and isinstance(v, str) and v.strip() for k, v in raw.items()):
        return raw
    raise InputError(f"Got {raw!r} as '{FREE}' under '{PART}', expected questions by name, such as mood: what mood?")
