"""Protocols of servers: how a request is worded as a body, and how an answer is read. A new one is one file here.

Which one a service speaks is said in its data (``dialect: chat``, the default), by a name of ``DIALECTS`` or, for one
of another package, as ``module:Class``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from facevlm.errors import InputError, lookup

if TYPE_CHECKING:
    from facevlm.backends.remote.abilities import Abilities
    from facevlm.backends.remote.replies import Completion

USUAL = "chat"
DIALECTS = {USUAL: "facevlm.backends.remote.dialects.chat:ChatCompletions"}


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


class Dialect(Protocol):
    """A protocol. It is without state, and knows neither keys nor the network."""

    path: str
    """Where requests are posted to, behind the address of the server."""

    def skeleton(self, asked: Asked) -> dict[str, Any]:
        """The body of a request without the picture it is about. Replies are kept under its digest."""

    def with_pictures(self, skeleton: Mapping[str, Any], jpegs: Sequence[bytes], detail: str) -> dict[str, Any]:
        """The whole body: the pictures stand before the last text, several behind their numbers, from 1 on."""

    def read(self, body: object) -> Completion:
        """What an answer says, given as plain JSON data of whatever shape it is; never raises."""


@functools.cache
def find(name: str) -> Dialect:
    """The dialect of a name, or of ``module:Class``.

    Raises :class:`~facevlm.errors.InputError` for one that is not there.
    """
    module, _, attribute = (name if ":" in name else lookup("dialect", DIALECTS, name)).partition(":")
    try:
        return cast(Dialect, getattr(importlib.import_module(module), attribute)())
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"Got the dialect '{name}', expected module:Class: {error}") from error
