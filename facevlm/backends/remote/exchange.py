"""What goes to a server and what comes back, as plain data: turns of a chat, what the server can do, what it said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from facevlm.backends.remote.scores import Token


@dataclass(frozen=True)
class Usage:
    """Tokens that a server counted; 0 where it did not say. ``output`` includes tokens of hidden reasoning."""

    input: int = 0
    output: int = 0


Meaning = Literal["declined", "key", "quota", "day", "missing", "moved", "forbidden", "busy", "trouble", "request"]
"""What an error means: no answer about this picture; none with this key, before somebody pays, or today; no such model
or address; another address; not allowed to this key or not in this form; too many requests; trouble that may pass; a
request that will not do."""
FATAL = ("key", "quota", "day", "missing", "moved", "forbidden")
"""Meanings by which all further requests would fail."""
ABOUT_THE_FORM = ("request", "forbidden", "missing", "trouble")
"""Meanings that may go back to something in the request that can be left out."""


@dataclass(frozen=True)
class Fault:
    """An error of a server: its status, or that which it names (0 for none), and what it means.

    ``reason`` is for a user, ``text`` the server's own message in short, ``words`` all that it said as plain words.
    """

    status: int
    reason: str
    text: str
    means: Meaning
    words: str = ""

    @property
    def is_fatal(self) -> bool:
        return self.means in FATAL


@dataclass(frozen=True)
class Completion:
    """What a server answered to one request: the text, or why there is none; ``fault`` where it sent an error."""

    content: str | None = None
    refusal: str | None = None
    error: str | None = None
    tokens: tuple[Token, ...] = ()
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    fault: Fault | None = None


STRUCTURES = ("schema", "json", "text")
TOPS = (20, 5, 0)
"""How many alternatives per token are asked for, as far as a server grants them."""


@dataclass(frozen=True)
class Abilities:
    """``structure`` is ``schema``, ``json`` or ``text``; ``top`` the number of alternatives per token, 0 for no
    log-probabilities; ``dropped`` are parameters that the server does not take."""

    structure: str = "schema"
    top: int = TOPS[0]
    dropped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: object) -> Abilities | None:
        """What :meth:`to_dict` gave; None for anything else."""
        if (
            not isinstance(data, dict)
            or data.get("structure") not in STRUCTURES
            or not isinstance(data.get("top"), int)
        ):
            return None
        return cls(data["structure"], data["top"], tuple(map(str, data.get("dropped") or ())))

    @property
    def is_less(self) -> bool:
        """Whether anything of use is not honoured. The older name of a parameter is of no use beside the newer one."""
        return self.structure != "schema" or not self.top or bool(self._refused)

    @property
    def _refused(self) -> list[str]:
        newer = "max_completion_tokens" in self.dropped
        return [name for name in self.dropped if newer or name != "max_tokens"]

    def lost(self, found: Abilities) -> list[str]:
        """What a lesser form leaves out of this one, in words."""
        fewer = [f"log-probabilities of more than {found.top} alternatives" if found.top else "log-probabilities"]
        other = {"json": ["the schema of labels"], "text": ["schema and JSON mode"]}.get(found.structure, [])
        return [
            *(fewer if found.top != self.top else []),
            *(other if found.structure != self.structure else []),
            *(name for name in found.dropped if name not in self.dropped),
        ]

    def sentence(self) -> str:
        """What it means for the answers, in words."""
        held = {
            "schema": "The server keeps answers to the schema of labels.",
            "json": "The server ignores the schema of labels but answers in JSON.",
            "text": "The server ignores schema and JSON mode; answers that are no JSON end as unparsed.",
        }[self.structure]
        scored = "" if self.top else " It gives no log-probabilities, so answers have no confidence."
        left_out = f" It refuses {', '.join(self._refused)}, which is left out." if self._refused else ""
        return held + scored + left_out


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation. ``jpegs`` are pictures before its text; it is None where there never are any."""

    role: Literal["system", "user", "assistant"]
    text: str
    jpegs: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Asked:
    """A request without the picture it is about, which goes before the text of the last turn.

    ``schema`` is the JSON schema of the answer, ``temperature`` and ``max_tokens`` are as far as the server takes them
    by ``abilities``; ``extra`` are fields that its service adds; ``detail`` is that of all pictures, empty for none.
    """

    model: str
    turns: tuple[Turn, ...]
    schema: Mapping[str, Any]
    abilities: Abilities
    temperature: float
    max_tokens: int
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
