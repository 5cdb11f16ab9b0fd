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


@dataclass(frozen=True)
class Completion:
    """What a server answered to one request: the text, or why there is none."""

    content: str | None = None
    refusal: str | None = None
    error: str | None = None
    tokens: tuple[Token, ...] = ()
    finish: str = ""
    usage: Usage = field(default_factory=Usage)


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
        """Whether anything of use is not honoured."""
        return self.structure != "schema" or not self.top

    def sentence(self) -> str:
        """What it means for the answers, in words."""
        held = {
            "schema": "The server keeps answers to the schema of labels.",
            "json": "The server ignores the schema of labels but answers in JSON.",
            "text": "The server ignores schema and JSON mode; answers that are no JSON end as unparsed.",
        }[self.structure]
        return held + ("" if self.top else " It gives no log-probabilities, so answers have no confidence.")


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
