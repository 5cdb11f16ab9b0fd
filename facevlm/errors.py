"""The exception tree, and texts of others made fit to be shown.

Every message says what was got, what was expected, and what to do.

FacevlmError
├── InputError           something the caller gave
│   ├── UnknownName      a name that is not in a registry
│   │   └── UnknownOption    a keyword that a verb does not take; a TypeError, too
│   ├── FieldError       a dataset field of the wrong kind, or none
│   ├── TargetError      nothing to work on, or of the wrong media type
│   ├── LayoutError      a folder that does not hold the data set asked for
│   └── TaxonomyError    two label sets without a map between them
├── ImageError           a picture that cannot be read
│   └── SmallFaceError   a face below the least size that was asked for
├── ModelError           a model that cannot be loaded or run
└── DatabaseError        FiftyOne's MongoDB is missing or out of reach
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
"""Control characters but line feed and tab, marks that turn the direction of text, halves of characters."""


def visible(text: str) -> str:
    """The text with its control characters written out, such as ``\\x1b`` and ``\\u202e``: a terminal, a browser or a
    reader of Markdown would obey them, and the text would say something else than it holds."""
    return UNSEEN.sub(lambda found: _written(ord(found.group())), text)


def _written(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def meant(name: str, known: Iterable[str]) -> str:
    """The question, after a blank, whether the nearest of the known names was meant; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


class FacevlmWarning(UserWarning):
    """Something that a user should read of what was done nevertheless."""


class FacevlmError(Exception):
    """Base of all errors raised on purpose; safe to show to a user as it is, whatever others said in it.

    ``app`` is what is said in the App instead, where the remedy in Python is no help: what to do there.
    """

    def __init__(self, *args: object, app: str | None = None) -> None:
        super().__init__(*args)
        self.app = app

    def __str__(self) -> str:
        return visible(super().__str__())

    def in_app(self) -> str:
        """The error as a user of the App is told."""
        return str(self) if self.app is None else visible(self.app)


class InputError(FacevlmError):
    """The caller gave something that cannot be used."""


class UnknownName(InputError):
    """A name that is not in a registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.kind, self.name, self.listed = kind, name, ", ".join(names) or "none"
        self.hint = meant(name, names)
        super().__init__(f"Unknown {kind} '{name}'. Known: {self.listed}.{self.hint}")


class UnknownOption(UnknownName, TypeError):
    """A keyword that a verb does not take."""

    def __init__(self, verb: str, name: str, known: Iterable[str]) -> None:
        super().__init__("option", name, known)
        self.args = (f"Got the option '{name}', which {verb} does not take.{self.hint} Expected: {self.listed}.",)


class FieldError(InputError):
    """A dataset field that is missing, of the wrong kind, or in the way."""


class TargetError(InputError):
    """There is nothing to label or evaluate, or it is not pictures."""


class LayoutError(InputError):
    """A folder or file that is not laid out as the data set asked for."""


class TaxonomyError(InputError):
    """Two label sets between which no map is declared."""


class ImageError(FacevlmError):
    """A picture that cannot be read; the face ends as ``failed`` with this text as the reason."""


class SmallFaceError(ImageError):
    """A face that is left out for its size; it ends as ``no_face`` with this text as the reason."""


class ModelError(FacevlmError):
    """A model that cannot be loaded or run."""


class GoneError(ModelError):
    """A file at a provider that is no longer there."""


class DatabaseError(FacevlmError):
    """FiftyOne's database is missing or out of reach."""


def first_line(error: Exception) -> str:
    """The first line of what an error of another package says, as a part of a sentence; its kind where it says none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen, so that nothing would be asked by it."""
    return not any(letter.isprintable() and not letter.isspace() for letter in text)


def lookup(kind: str, table: Mapping[str, T], name: str) -> T:
    """``table[name]``, or an :class:`UnknownName` that lists the valid names."""
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def refuse_unknown(verb: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise :class:`UnknownOption` for the first keyword that is not among the known ones."""
    names = list(known)
    for name in given:
        if name not in names:
            raise UnknownOption(verb, name, names)


def check_sizes(**sizes: int | None) -> None:
    """Raise :class:`~facevlm.errors.InputError` unless every size is a whole number from 1 on, or None."""
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"Got {name}={size!r}, expected a whole number from 1 on.")
