"""What all verbs have in common at their door, whoever calls them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from typing_extensions import ParamSpec

from facevlm import arguments
from facevlm.store import database
from facevlm.tasks._stopping import stopping

P = ParamSpec("P")
T = TypeVar("T")


def verb(work: Callable[P, T]) -> Callable[P, T]:
    """Arguments of other kinds than annotated are refused, what the database refuses is said in a sentence, and SIGTERM
    stops as Ctrl-C does."""

    @functools.wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        arguments.check_call(work, args, kwargs)
        with stopping(), database.translated():
            return work(*args, **kwargs)

    return told
