"""Stop face attribute runs, or take their progress out of the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import InputError
from facevlm.tasks import _running

from . import _forms, _operator
from ._marks import joined, marked, plain

NAME = "stop_face_attribute_runs"
LABEL = "Stop face attribute runs"
HIDE = "hide_face_attribute_run"
ALL = "all"
MEANWHILE = (
    "The run goes on, and its result is shown here when it is done. 'Stop face attribute runs' tells how far it is."
)
NOTHING = "No run is under way in this App. A scheduled one is stopped where it runs: by Ctrl-C, or by SIGTERM."


class StopFaceAttributeRuns(_operator.Operator):
    """Stops runs that the App carries out; what they did is kept."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Stop runs that are under way in this App and keep what they did. Takes one run or all; each ends after the "
        "batch that it is at, and the same call goes on from there.",
        "stop_circle",
        False,
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        jobs = _running.jobs()
        if not jobs:
            _forms.refuse(inputs, "nothing", NOTHING)
            return
        options = {job.key: f"{job.title} on '{job.dataset}': {job.said}" for job in jobs}
        if len(jobs) > 1:
            options |= {ALL: f"All {len(jobs)}"}
        view = _forms.choices(types.RadioGroup(), options)
        inputs.enum("run", list(options), view=view, label="Run", default=jobs[0].key)

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        wanted = ctx.params.get("run") or ALL
        jobs = [job for job in _running.jobs() if wanted in (job.key, ALL)]
        if not jobs:
            raise InputError(f"Got a run that is not under way any more, or none. {NOTHING}")
        for job in jobs:
            job.stop()
        lines = [marked("- {} on {}: {}", job.title, job.dataset, job.said) for job in jobs]
        said = plain("Each ends after the batch that it is at; run it again to go on.")
        yield _forms.output(ctx, "Told to stop", joined("\n\n", [joined("\n", lines), said]))


class HideFaceAttributeRun(foo.Operator):
    """Takes the progress of a run out of the way; its end is shown."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(name=HIDE, label="Work on meanwhile", unlisted=True)

    def execute(self, ctx: foo.ExecutionContext) -> None:
        for job in _running.jobs():
            if job.key == ctx.params.get("run"):
                job.is_quiet = True
        _forms.output(ctx, "Press Done, and work on", plain(MEANWHILE))
