"""Protocols of servers: how a request is worded as a body, and how an answer is read. A new one is one file here.

Which one a service speaks is said in its data (``dialect: chat``, the default), by a name of ``DIALECTS`` or, for one
of another package, as ``module:Class``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from facevlm.backends.remote.exchange import Asked, Completion
from facevlm.errors import InputError, lookup

USUAL = "chat"
DIALECTS = {USUAL: "facevlm.backends.remote.dialects.chat:ChatCompletions"}


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
