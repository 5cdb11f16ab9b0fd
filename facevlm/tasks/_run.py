"""What every run has in common: it is checked, begun, gone through in steps, recorded, closed, and told about.

A run is checked when it is made, while nothing is written yet; then it is begun, its steps are taken one by one, and
its result is read. Stopped anywhere, it keeps what was done; the same call goes on from there.
"""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from facevlm.backends import Backend, Briefing
from facevlm.backends.briefings import Confirm, may_begin
from facevlm.engines import facts
from facevlm.engines.devices import let_go
from facevlm.engines.tally import Progress, Tally
from facevlm.errors import DatabaseError, FacevlmError, FacevlmWarning, visible
from facevlm.store import database, provenance, runs, targets, updates
from facevlm.types import Question

log = logging.getLogger("facevlm")
Result = TypeVar("Result")


class Run(ABC, Generic[Result]):
    """A checked run that has not begun. ``prefix`` names it, ``total`` is how much there is to do.

    ``briefing`` says where pictures go, if they leave this process.
    """

    prefix: str
    total: int
    briefing: Briefing | None = None
    what: str = "faces"
    """What ``total`` counts."""
    is_resumed: bool = True
    """Whether what a run did stays when it is stopped, and the same call goes on from there; else it begins anew."""
    error: str | None = None
    """Why the run broke off, which its record keeps."""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.total > 0

    def begin(self, confirm: Confirm) -> bool:
        """Say where pictures go before any is sent; False where ``confirm`` says no, and the run is then over.

        Raises :class:`~facevlm.errors.FacevlmError` where the server cannot be asked; nothing is written yet.
        """
        with ExitStack() as unless_begun:
            unless_begun.callback(self.close)
            if not may_begin(confirm, self.briefing, self.total, self.what):
                return False
            if self.total:
                self.meet()
            unless_begun.pop_all()
        return True

    def meet(self) -> None:
        """Find out whether what is asked elsewhere can be, which takes a key and a request."""

    def steps(self) -> Generator[Progress, None, None]:
        """Do the work; yields after every batch. Closing it keeps what was done."""
        status, note = "stopped", self._record_patiently
        try:
            if self.is_needed:
                self._record_patiently("running")
                with database.translated():
                    yield from self.work()
                status = self.finished()
        except DatabaseError:
            note = self._record_briefly
            raise
        except FacevlmError as error:
            self.error = str(error)
            raise
        finally:
            try:
                self.close()
            finally:
                if self.is_needed:
                    note(status)
                elif self.is_record_due():
                    note("done")

    def _record_patiently(self, status: str) -> None:
        database.patiently(lambda: self.record(status), seconds=None)

    def _record_briefly(self, status: str) -> None:
        """As far as a database lets us that gave an error before, and in short: it was waited for already."""
        database.briefly(lambda: self.record(status))

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

    def is_record_due(self) -> bool:
        """Whether the record must be written though there is nothing to do: it is not there, or not closed."""
        return False

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
    gone: set[str]
    others: provenance.Others
    """Answers of other runs in the fields, none where these are to be overwritten."""

    @property
    def places(self) -> Mapping[str, str]:
        """The fields that hold answers, by what ``marks`` are by."""
        return self.fields

    def identify(self, marks: Mapping[str, str], *, overwrite: bool) -> None:
        """Take on the ``marks`` of what decides each attribute's answers, and what is there of earlier runs."""
        self.run_key, self.marks = runs.run_key(self.prefix), marks
        self.stamps = {name: runs.stamp(self.run_key, mark) for name, mark in marks.items()}
        self.tally, self.gone = Tally(), set[str]()
        self.others = {}
        self._spent_before: dict[str, float] = {}
        if not overwrite:
            record = runs.read(self.dataset, self.run_key)
            claimed: provenance.Others = {
                name: [runs.stamp(self.run_key, mark)] for name, mark in runs.claimed(record, marks).items()
            }
            self.others = {**claimed, **provenance.others(self.dataset, self.places, self.stamps)}
            self._spent_before = record.get("spent") or {}

    def check_own(self) -> None:
        """Raise :class:`~facevlm.errors.FieldError` where answers to another question or model would be lost, or mixed
        with those of this run."""
        if self.others and self.is_needed:
            raise provenance.not_ours(self.dataset, self.prefix, self.others)

    def finished(self) -> str:
        return "done" if self.tally.faces >= self.total else "stopped"

    def record(self, status: str) -> None:
        updates.require_dataset(self.dataset)
        told = facts.facts(self.backend.info, self.questions)
        common = {
            "status": status,
            "error": self.error,
            "prefix": self.prefix,
            "fingerprints": dict(self.marks),
            "answered_by": facts.ways(told, self.marks),
            "coverage": self.tally.coverage(),
            "differing": {name: self.tally.differing[name] for name in self.tally.outcomes},
            "asked": self.tally.faces,
            "seconds": round(self.tally.seconds, 3),
            "machine": facts.machine(),
            "view": targets.describe(self.target),
            "spent": facts.spent(self.backend.info, self._spent_before),
            **told,
        }
        runs.write(self.dataset, self.run_key, common | self.facts())

    def is_record_due(self) -> bool:
        return runs.is_due(runs.read(self.dataset, self.run_key), self.marks.values())

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the record holds beside what all runs of a model have: ``outcomes``, ``faces`` and more."""

    def close(self) -> None:
        if self.owns_backend:
            let_go(self.backend)


def carry_out(run: Run[Result], confirm: Confirm | None = None, *, progress: bool = True, unit: str = "face") -> Result:
    """Do the work of a run to its end, with a progress bar if wanted.

    ``confirm`` is told where pictures go, if they go anywhere, and may say no; by default the log says it. What the
    result warns of is a :class:`~facevlm.errors.FacevlmWarning`, too.
    """
    if run.begin(confirm or announce):
        with (
            closing(run.steps()) as steps,
            tqdm(total=run.total, unit=unit, disable=not progress, desc=run.prefix) as bar,
        ):
            for step in steps:
                bar.update(step.done - bar.n)
    result = run.result()
    for said in getattr(result, "warnings", ()):
        warnings.warn(visible(said), FacevlmWarning, stacklevel=4)
    return result


def announce(briefing: Briefing) -> bool:
    """Tell the log where pictures go: a warning where that is not this machine or its network. Always agrees."""
    log.log(logging.INFO if briefing.is_local else logging.WARNING, visible(briefing.text))
    return True
