"""Text as the App shows it: titles, descriptions and notices of a form are Markdown there, as the panel's words are.

Whatever comes from a model, a server, a file or the dataset is text. It would otherwise be drawn: a picture in a reply
is fetched by the viewer's browser from an address of the model's choice, and a link leads there.
"""

from __future__ import annotations

import re
from typing import Any

from facevlm.errors import visible

SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=@)(?=\w)|(?<=\bmailto)(?=:)|(?<=\bxmpp)(?=:)", re.IGNORECASE)
FIRST = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+](?:\s|$)|--|[=#]))")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
JOINER = "\u2060"
"""Shows nothing, and keeps an address from being made a link."""


class Marked(str):
    """Markdown that is safe to show."""

    __slots__ = ()

    def __add__(self, other: str) -> Marked:
        return Marked(super().__add__(plain(other)))


def plain(text: object) -> Marked:
    """Any text as Markdown on one line in which nothing is read as Markdown, HTML, or an address; Marked as it is."""
    if isinstance(text, Marked):
        return text
    line = SPECIAL.sub(r"\\\g<0>", " ".join(visible(str(text)).split()))
    line = "".join(ENTITIES.get(letter, letter) for letter in line)
    return Marked(FIRST.sub(r"\1\\", ADDRESS.sub(JOINER, line)))


def code(text: object) -> Marked:
    """Any text as it is, in the letters of code."""
    line = " ".join(visible(str(text)).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return Marked(f"{fence}{room}{line}{room}{fence}")


def marked(pattern: str, *parts: object) -> Marked:
    """``pattern``, which is Markdown of our own, with texts in its fields, as ``str.format`` puts them there."""
    return Marked(pattern.format(*(part if isinstance(part, (int, float)) else plain(part) for part in parts)))


def joined(between: str, parts: Any) -> Marked:
    """Texts with Markdown of our own between them; empty ones are left out."""
    return Marked(between.join(plain(part) for part in parts if part))


def table(header: list[str], rows: list[list[str]]) -> Marked:
    """A table of texts."""
    # In a table a bar ends a cell even inside of code.
    texts = [[re.sub(r"(?<!\\)\|", r"\|", plain(cell)) for cell in row] for row in (header, *rows)]
    lines = [texts[0], ["---"] * len(header), *texts[1:]]
    return Marked("\n".join("| " + " | ".join(cells) + " |" for cells in lines))


def say(panel: Any, text: Marked, name: str) -> None:
    """Words in a form or in the panel."""
    panel.md(text, name=name)
