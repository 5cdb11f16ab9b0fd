"""What all operators share: their looks, a form that refuses, and an end in words whatever happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ValidationContext

from facevlm.backends import unload_when_idle
from facevlm.errors import FacevlmError, InputError, visible
from facevlm.store import database
from facevlm.store.model_evaluation import PLUGIN
from facevlm.tasks import _running
from facevlm.tasks._run import Run
from facevlm.tasks._running import Job, StoppedByUser
from facevlm.tasks._stopping import stopping_below_asyncio

from . import _forms, _scheduled, _trust, keep
from ._marks import plain

log = logging.getLogger("facevlm")
LONGEST = 600
"""Letters of a foreign error that are shown."""
SETTLED = 2.0
"""Seconds of a run before a rate is told."""


class Broken(Exception):
    """An error in the midst of a run of which so much is done."""

    def __init__(self, cause: Exception, done: str = "") -> None:
        super().__init__(str(cause))
        self.cause, self.done = cause, done


@dataclass(frozen=True)
class About:
    """What an operator is called, what it is for, its icon, and whether it may be scheduled.

    The first sentence of ``description`` says what it does, and stands in the menu; the second says what goes in and
    what comes out, for those who find it by its description.
    """

    name: str
    label: str
    description: str
    icon: str = _forms.ICON
    is_scheduled: bool = True
    is_listed: bool = True

    @property
    def line(self) -> str:
        """What it does, in one sentence."""
        return f"{self.description.partition('. ')[0].removesuffix('.')}."


class Operator(foo.Operator):
    """An operator whose every end is told in its prompt; subclasses say what they are, ask, and work."""

    ABOUT: ClassVar[About]

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.ABOUT.name,
            label=self.ABOUT.label,
            description=self.ABOUT.description,
            icon=self.ABOUT.icon,
            unlisted=not self.ABOUT.is_listed,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=self.ABOUT.is_scheduled,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        """The form; none where it was sent by a browser, which is told nothing of a form that is refused only then."""
        return types.Property(types.Object()) if _is_sent(ctx) else self.form(ctx)

    def form(self, ctx: foo.ExecutionContext) -> Any:
        """The form; one that cannot be made says why."""
        inputs, frame = types.Object(), types.View(label=plain(self.ABOUT.label))
        # Refuse a form with a parameter that this visitor of the App may not name, whether or not it is shown.
        _trust.admit(ctx, partial(_forms.refuse, inputs, "refused"))
        try:
            with database.translated():
                _scheduled.notice(ctx, inputs)
                self.fill(ctx, inputs)
                frame = self.frame(ctx) or frame
        except Exception as error:  # noqa: BLE001  a form that raises stays empty, without a word
            _forms.refuse(inputs, "broken", in_words(self.ABOUT.label, error))
        return types.Property(inputs, view=frame)

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """The work, as a stream of what the App is to do; for others it is done, and what came of it returned.

        FiftyOne goes through the stream of a scheduled run in the main thread, where alone signals reach it.
        """
        return self._streamed(ctx) if ctx.delegated or _is_in_app(ctx) else _last_words(self._streamed(ctx))

    def _streamed(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        """An error ends in the prompt: the App does not tell one that ends the stream of a generator."""
        try:
            # Not in the App's server, whose signals are its own.
            with stopping_below_asyncio() if ctx.delegated else nullcontext(), database.translated():
                if _is_sent(ctx):
                    self._check_sent(ctx)
                with _scheduled.stops_told(ctx):
                    yield from self.work(ctx)
        except Exception as error:  # noqa: BLE001  told, or raised again
            broken = error if isinstance(error, Broken) else Broken(error)
            if not _is_in_app(ctx):
                raise broken.cause from broken.cause.__cause__
            yield from _told(ctx, self.ABOUT.label, broken)
        finally:
            if ctx.delegated or _is_in_app(ctx):
                unload_when_idle()

    def _check_sent(self, ctx: foo.ExecutionContext) -> None:
        """Raise :class:`~facevlm.errors.InputError` for what is wrong first in a form that was sent; what it is about
        may have changed since it was drawn."""
        for wrong in ValidationContext(ctx, self.form(ctx), self).errors:
            field = wrong.path.rpartition(".")[2]
            raise InputError(wrong.error_message or f"Got nothing that can be taken as '{field}': {wrong.reason}.")

    def frame(self, ctx: foo.ExecutionContext) -> types.View | None:
        """Title and buttons of the form; None for the usual ones."""
        return None

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        """Put the fields of the form into ``inputs``."""
        raise NotImplementedError

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        """Carry out what the form says; yields what the App is to do."""
        raise NotImplementedError

    def followed(self, ctx: foo.ExecutionContext, run: Run[Any], what: str) -> Generator[Any, None, None]:
        """Do the work of a run that was begun, and report its progress.

        Raises :class:`~facevlm.tasks._running.StoppedByUser` where a user stopped it; closed or stopped, it keeps what
        it did.
        """
        with _running.job(self.ABOUT.label, ctx.dataset.name) as job:
            yield from _stepped(ctx, job, run, what)


def _stepped(ctx: foo.ExecutionContext, job: Job, run: Run[Any], what: str) -> Generator[Any, None, None]:
    pace, done = Speed(), 0
    try:
        with closing(run.steps()) as steps:
            for step in steps:
                done = step.done
                job.said = _forms.so_far(step, what, pace.rate(done))
                yield from _forms.progress(ctx, done, step.total, job.said, job, is_kept=run.is_resumed)
                if job.is_stopping and done < step.total:
                    break
    except Exception as error:
        raise Broken(error, f"{done:,} of {run.total:,} {what}" if run.is_resumed else "") from error
    if job.is_stopping and done < run.total:
        after = (
            "Run it again to go on with the rest."
            if run.is_resumed
            else "Nothing is changed; run again, it begins anew."
        )
        raise StoppedByUser(f"Stopped at {done:,} of {run.total:,} {what}. {after}")


def uri(verb: type[Operator]) -> str:
    """The address of an operator."""
    return f"{PLUGIN}/{verb.ABOUT.name}"


def button(verb: type[Operator], variant: str = "contained") -> types.Button:
    """Opens the form of an operator."""
    about = verb.ABOUT
    return types.Button(
        label=about.label, icon=about.icon, variant=variant, operator=uri(verb), prompt=True, title=plain(about.line)
    )


class Speed:
    """How many a second, from the first step on: before it lies what comes once, as opening a model."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def rate(self, done: int) -> float | None:
        """None while there is too little to tell."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        began, before = self._first
        return (done - before) / (now - began) if now - began > SETTLED and done > before else None


def in_words(title: str, error: Exception) -> str:
    """An error as a user reads it: our own as it is, any other with its kind and where its traceback is."""
    if isinstance(error, FacevlmError):
        return error.in_app()
    log.error("%s failed", title, exc_info=error)
    said = visible(" ".join(str(error).split()))[:LONGEST]
    return (
        f"Something unforeseen happened, {type(error).__name__}: {said or 'without a message'}. The log of FiftyOne's "
        "process tells where; please report it with those lines."
    )


def _told(ctx: foo.ExecutionContext, title: str, broken: Broken) -> Generator[Any, None, None]:
    """An error in the prompt, and on the pictures what the run did before."""
    text, is_stopped, done = in_words(title, broken.cause), isinstance(broken.cause, StoppedByUser), broken.done
    log.log(logging.INFO if is_stopped else logging.WARNING, "%s: %s", title, text)
    if done or is_stopped:
        yield from keep.reloaded(ctx)
    kept = f"Done before, and kept: {done}. The same run goes on from there." if done else ""
    yield _forms.failure(ctx, f"{title}: {'stopped' if is_stopped else 'not done'}", text, kept)


def _last_words(stream: Generator[Any, None, None]) -> dict[str, str]:
    """What came of the work in words, as the App shows it in the prompt: ``title``, and ``summary`` in Markdown."""
    said = {}
    for step in stream:
        told = step.body.params if step.body.operator_uri == "show_output" else {}
        if "summary" in (told.get("results") or {}):
            said = {"title": told["outputs"]["view"]["label"], "summary": str(told["results"]["summary"])}
    return said


def _is_in_app(ctx: foo.ExecutionContext) -> bool:
    """Whether a browser asks, which sends the operator's address.

    Not for a scheduled run, whose record takes the error and the result; not for one called from Python or by an agent,
    through ``fiftyone.operators.execute_operator`` and what lies below it: that raises, and gets what came of it. Those
    have FiftyOne look up the plugin's secrets; a context that was made by hand is taken for the App's.
    """
    if ctx.delegated:
        return False
    return "operator_uri" in ctx.request_params or ctx._required_secret_keys is None


def _is_sent(ctx: foo.ExecutionContext) -> bool:
    """Whether a browser has sent the form to be carried out; while it is filled, it names what is to be drawn."""
    request = ctx.request_params
    return "operator_uri" in request and "target" not in request and not ctx.requesting_delegated_execution
