"""Backends of other packages, by the scheme in front of a model's name: ``myscheme:MODEL``.

The entry point, named as the scheme, is called with ``(model, options, attributes, secrets)`` and gives a
:class:`~facevlm.backends.Backend`: ``model`` is what stands behind the colon; ``attributes`` are the names of those
that will be asked, None for any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from facevlm import doors
from facevlm.backends.remote.keys import Secrets
from facevlm.doors import Addition

if TYPE_CHECKING:
    from facevlm.backends import Backend, Options

TAKEN = ("hf", "onnx", "openai", "package")
"""What stands before a colon in names of models here."""
Opener = Callable[[str, "Options", "Sequence[str] | None", "Secrets | None"], "Backend"]


@functools.cache
def added() -> Mapping[str, Addition[Opener]]:
    """The schemes of installed packages."""
    return doors.admit("backends", _opener, TAKEN)


def _opener(addition: Addition[object]) -> Opener:
    if not callable(addition.value):
        raise TypeError(f"got {addition.value!r}, expected a function or class that opens a backend")
    return cast(Opener, addition.value)


def scheme_of(name: str) -> str:
    """The scheme of a model's name that an installed package knows; empty for any other name."""
    scheme, colon, _ = name.partition(":")
    return scheme if colon and scheme in added() else ""


def sends(scheme: str) -> bool:
    """Whether the models of a scheme send pictures to a server, as far as can be told before one is opened: the entry
    point is a class of :class:`~facevlm.backends.Hosted` backends."""
    return callable(getattr(added()[scheme].value, "briefing", None))
