"""What every run has in common: it is checked, begun, gone through in steps, recorded, closed, and told about.

A run is checked when it is made, while nothing is written yet; then it is begun, its steps are taken one by one, and
its result is read. Stopped anywhere, it keeps what was done; the same call goes on from there.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from facevlm.backends import Backend, Briefing, Hosted
from facevlm.engines import facts
from facevlm.engines.tally import Progress, Tally
from facevlm.store import runs, targets
from facevlm.types import Question

log = logging.getLogger("facevlm")
Result = TypeVar("Result")
Confirm = Callable[[Briefing], bool]
"""Is told where pictures go, how many, and at what cost; says whether the run may begin."""


class Run(ABC, Generic[Result]):
    """A checked run that has not begun. ``prefix`` names it, ``total`` is how much there is to do.

    ``briefing`` says where pictures go, if they leave this process.
    """

    prefix: str
    total: int
    briefing: Briefing | None = None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.total > 0

    def begin(self, confirm: Confirm) -> bool:
        """Say where pictures go before any is sent; False where ``confirm`` says no, and the run is then over."""
        if self.briefing is None or not self.total:
            return True
        agreed = False
        try:
            agreed = confirm(self.briefing)
        finally:
            if not agreed:
                self.close()
        return agreed

    def steps(self) -> Generator[Progress, None, None]:
        """Do the work; yields after every batch. Closing it keeps what was done."""
        status = "stopped"
        try:
            if self.is_needed:
                self.record("running")
                yield from self.work()
                status = self.finished()
        finally:
            self.close()
            if self.is_needed:
                self.record(status)

    @abstractmethod
    def work(self) -> Generator[Progress, None, None]:
        """The work itself; yields after every batch."""

    @abstractmethod
    def result(self) -> Result:
        """What the run did, to be read when it is over."""

    def finished(self) -> str:
        """The status of a run whose work has ended."""
        return "done"

    def record(self, status: str) -> None:
        """Note in the dataset how far the run is; nothing for one that leaves no trace there."""

    def close(self) -> None:
        """Let go of what the run opened."""


class ModelRun(Run[Result]):
    """A run that asks a model and writes what it says under a prefix, with a record that tells how it came about."""

    target: targets.Collection
    dataset: targets.Dataset
    backend: Backend
    owns_backend: bool
    questions: Mapping[str, Question]
    fields: Mapping[str, str]
    run_key: str
    marks: Mapping[str, str]
    stamps: Mapping[str, str]

    def identify(self, marks: Mapping[str, str], *, overwrite: bool) -> None:
        """Take on the ``marks`` of what decides each attribute's answers, and what the record holds of earlier runs.

        Raises :class:`~facevlm.errors.FieldError` where the fields hold answers to another question or model.
        """
        self.run_key, self.marks = runs.run_key(self.prefix), marks
        if not overwrite:
            runs.check_unchanged(self.dataset, self.run_key, marks, self.prefix)
        self.stamps = {name: runs.stamp(self.run_key, mark) for name, mark in marks.items()}
        self.tally = Tally()
        self._spent_before = {} if overwrite else runs.read(self.dataset, self.run_key).get("spent") or {}

    def finished(self) -> str:
        return "done" if self.tally.faces >= self.total else "stopped"

    def record(self, status: str) -> None:
        common = {
            "status": status,
            "prefix": self.prefix,
            "fingerprints": dict(self.marks),
            "coverage": self.tally.coverage(),
            "asked": self.tally.faces,
            "seconds": round(self.tally.seconds, 3),
            "view": targets.describe(self.target),
            "spent": facts.spent(self.backend.info, self._spent_before),
            **facts.facts(self.backend.info, self.questions),
        }
        runs.write(self.dataset, self.run_key, common | self.facts())

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the record holds beside what all runs of a model have: ``outcomes``, ``faces`` and more."""

    def close(self) -> None:
        if self.owns_backend and isinstance(self.backend, Hosted):
            self.backend.close()


def carry_out(run: Run[Result], confirm: Confirm | None = None, *, progress: bool = True, unit: str = "face") -> Result:
    """Do the work of a run to its end, with a progress bar if wanted.

    ``confirm`` is told where pictures go, if they go anywhere, and may say no; by default the log says it.
    """
    if run.begin(confirm or announce):
        with (
            closing(run.steps()) as steps,
            tqdm(total=run.total, unit=unit, disable=not progress, desc=run.prefix) as bar,
        ):
            for step in steps:
                bar.update(step.done - bar.n)
    return run.result()


def announce(briefing: Briefing) -> bool:
    """Tell the log where pictures go: a warning where that is not this machine or its network. Always agrees."""
    log.log(logging.INFO if briefing.is_local else logging.WARNING, briefing.text)
    return True
