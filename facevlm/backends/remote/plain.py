"""JSON of servers and models into plain data. A name that stands twice in an object says two things, or none."""

from __future__ import annotations

import json
from typing import Any

Pairs = list[tuple[str, Any]]


class Doubled(ValueError):
    """A name stands twice in an object."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' stands in it twice")


def answer(text: str) -> Any:
    """The data of a model's answer; raises ValueError for no JSON and for a name that stands twice, RecursionError."""
    return json.loads(text, object_pairs_hook=_once)


def body(text: str) -> Any:
    """The data of a server's body, in which a name may stand twice for the same; raises as :func:`answer`."""
    return json.loads(text, object_pairs_hook=_agreeing)


def _once(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Doubled(_twice(pairs))
    return found


def _agreeing(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and any(found[name] != value for name, value in pairs):
        raise Doubled(next(name for name, value in pairs if found[name] != value))
    return found


def _twice(pairs: Pairs) -> str:
    names = [name for name, _ in pairs]
    return next(name for name in names if names.count(name) > 1)
