"""What ``torch.compile`` does not say aloud: where it breaks a model into pieces, and where it gives up and runs it
uncompiled."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._dynamo.utils import counters

_given_up = Counter[str]()


class Compiled:
    """The parts of a model, compiled where they stand, and what became of it while it was watched."""

    def __init__(self, model: Any, mode: str) -> None:
        self._broken, self._given_up = 0, 0
        logging.getLogger("torch._dynamo.convert_frame").addFilter(_heard)
        # Tower, projector and decoder, each for itself.
        for part in model.model.children():
            part.compile(mode=None if mode == "default" else mode, dynamic=None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """For the length of the block, what is compiled is this model."""
        broken, given_up = _breaks(), _given_up.total()
        try:
            yield
        finally:
            self._broken += _breaks() - broken
            self._given_up += _given_up.total() - given_up

    def note(self, name: str) -> str:
        """A sentence where the model runs in pieces, or uncompiled; else nothing."""
        if self._given_up:
            return (
                f"{name}: torch.compile gave up on {self._given_up} of its parts after too many shapes and runs them "
                f"uncompiled; it broke the model at {self._broken} places. Leave compile out for this model."
            )
        if self._broken:
            return (
                f"{name}: torch.compile breaks the model at {self._broken} places, where it runs uncompiled. Measure "
                "whether compile pays here."
            )
        return ""


def _breaks() -> int:
    return sum(counters["graph_break"].values())


def _heard(record: logging.LogRecord) -> bool:
    """Counts parts that were compiled anew so often that they run uncompiled from then on; the note says it instead."""
    given_up = "hit config." in str(record.msg)
    _given_up[record.name] += given_up
    return not given_up
