"""What packages of other people add without a fork, by the entry points that they declare in their pyproject.toml.

A package is looked into when something of its kind is first asked for. What cannot be used is left out with a warning
that names it, its group, its package and the reason; it never stops anything else.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from facevlm.errors import visible

T = TypeVar("T")
OWN = "facevlm"
"""The origin of what is shipped here."""
GROUPS = {
    kind: f"facevlm.{kind}"
    for kind in ("families", "datasets", "attributes", "services", "figures", "detectors", "backends")
}
"""Kind -> entry-point group."""


@dataclass(frozen=True)
class Addition(Generic[T]):
    """One thing that a package adds under a name. ``origin`` is the package's name and version, such as ``moods 1.2``;
    ``kind`` is a key of ``GROUPS``."""

    kind: str
    name: str
    value: T
    origin: str

    @property
    def package(self) -> str:
        """The name of the package alone."""
        return self.origin.partition(" ")[0]


class PackageWarning(UserWarning):
    """Something that an installed package adds cannot be used."""


@functools.cache
def load(kind: str) -> tuple[Addition[object], ...]:
    """All additions of a kind in the order of their names, each name once; looked for once in a process.

    Raises KeyError for a kind that there is not.
    """
    found = sorted(entry_points(group=GROUPS[kind]), key=lambda e: (e.name, _origin(e)))
    additions: dict[str, Addition[object]] = {}
    for entry in found:
        addition = _loaded(kind, entry)
        if addition is None:
            continue
        first = additions.setdefault(entry.name, addition)
        if first.origin != addition.origin:
            refuse(addition, f"the name is taken by {first.origin}")
    return tuple(additions.values())


def admit(kind: str, read: Callable[[Addition[object]], T], taken: Container[str] = ()) -> dict[str, Addition[T]]:
    """Name -> addition, each made by ``read`` into what is wanted; those whose name is taken are refused.

    ``read`` raises an error, whose text is the reason, for what cannot be used.
    """
    admitted: dict[str, Addition[T]] = {}
    for addition in load(kind):
        if addition.name in taken:
            refuse(addition, f"the name is taken by {OWN}")
            continue
        try:
            admitted[addition.name] = Addition(kind, addition.name, read(addition), addition.origin)
        except Exception as error:  # noqa: BLE001  what is read may be code of others, which may raise anything
            refuse(addition, _reason(error))
    return admitted


def _reason(error: Exception) -> str:
    """An error's words; one that was not raised on purpose is named, too."""
    on_purpose = isinstance(error, TypeError) or type(error).__module__ == f"{OWN}.errors"
    return str(error) if on_purpose else f"{type(error).__name__}: {error}"


def refuse(addition: Addition[Any], reason: str) -> None:
    """Warn, once in a process, that an addition is left out and why."""
    _warn(addition.kind, addition.name, addition.origin, reason)


@functools.cache
def _warn(kind: str, name: str, origin: str, reason: str) -> None:
    text = f"'{name}' ({GROUPS[kind]}) of {origin} is left out: {reason.rstrip('.')}. Update or remove that package."
    warnings.warn(visible(text), PackageWarning, stacklevel=4)


def _loaded(kind: str, entry: EntryPoint) -> Addition[object] | None:
    addition: Addition[object] = Addition(kind, entry.name, None, _origin(entry))
    try:
        return replace(addition, value=entry.load())
    except Exception as error:  # noqa: BLE001  code of others may raise anything when it is imported
        refuse(addition, f"{entry.value} cannot be imported, {type(error).__name__}: {error}")
        return None


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"
