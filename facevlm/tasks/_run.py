"""What every task that takes a while has in common: it is checked, begun, gone through in steps, recorded, closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Protocol, TypeVar

from tqdm import tqdm

from facevlm.backends import Briefing
from facevlm.engines.tally import Progress

log = logging.getLogger("facevlm")
Result_co = TypeVar("Result_co", covariant=True)


class Work(Protocol[Result_co]):
    """A run that is checked and has not begun."""

    prefix: str
    total: int

    def begin(self, confirm: Callable[[Briefing], bool]) -> bool: ...

    def steps(self) -> Generator[Progress, None, None]: ...

    def result(self) -> Result_co: ...


def carry_out(
    work: Work[Result_co],
    *,
    confirm: Callable[[Briefing], bool] | None = None,
    progress: bool = True,
    unit: str = "face",
) -> Result_co:
    """Do the work of a run to its end, with a progress bar if wanted.

    ``confirm`` is told where pictures go, if they go anywhere, and may say no; by default the log says it.
    """
    if not work.begin(confirm or announce):
        return work.result()
    with (
        closing(work.steps()) as steps,
        tqdm(total=work.total, unit=unit, disable=not progress, desc=work.prefix) as bar,
    ):
        for step in steps:
            bar.update(step.done - bar.n)
    return work.result()


def announce(briefing: Briefing) -> bool:
    """Tell the log where pictures go: a warning where that is not this machine or its network. Always agrees."""
    log.log(logging.INFO if briefing.is_local else logging.WARNING, briefing.text)
    return True
