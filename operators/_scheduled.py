"""How the last scheduled run of a dataset stands: the App itself tells nobody that one has ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone.operators as foo
from fiftyone.factory import DelegatedOperationPagingParams
from fiftyone.operators import types
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

from facevlm.errors import visible

from . import _forms

PLUGIN = "@facevlm/face-attributes/"
FRESH = timedelta(days=1)
"""How long the end of a run is told."""
SLOW = timedelta(seconds=30)
"""How long a run that nobody begins waits before the form says what begins it."""
STOPPED = "Stopped by a signal; what it did is kept. The same run goes on from there."
BEGINS = "Nothing begins it: run `fiftyone delegated launch` on the machine of the App."


def notice(ctx: foo.ExecutionContext, inputs: Any) -> None:
    """Say at the top of a form how the last scheduled run stands; nothing where there is none of late."""
    if ctx.dataset is None:
        return
    run = _last(ctx.dataset.name)
    if run is not None and (said := _said(run, datetime.now(timezone.utc).replace(tzinfo=None))):
        failed = run.run_state == ExecutionRunState.FAILED
        _forms.notice(inputs, "scheduled", said, types.Warning if failed else types.Notice)


@contextmanager
def stops_told(ctx: foo.ExecutionContext) -> Iterator[None]:
    """Note that a scheduled run is over which a signal stopped: to FiftyOne it would be under way for ever."""
    try:
        yield
    except KeyboardInterrupt:
        run = ctx.request_params.get("run_doc")
        if ctx.delegated and run is not None:
            DelegatedOperationService().set_failed(run, result=ExecutionResult(error=STOPPED))
        raise


def _last(dataset: str) -> Any | None:
    """The scheduled run of this plugin that was queued last."""
    paging = DelegatedOperationPagingParams(limit=10)
    found = DelegatedOperationService().list_operations(dataset_name=dataset, paging=paging)
    return next((run for run in found if run.operator.startswith(PLUGIN) and foo.operator_exists(run.operator)), None)


def _said(run: Any, now: datetime) -> str | None:
    """One sentence; None for a run whose end was told long enough."""
    # FiftyOne keeps the name and not the label.
    title, ended = foo.get_operator(run.operator).config.label, run.completed_at or run.failed_at
    label = run.status.label if run.status is not None and run.status.label else ""
    if ended is not None:
        if now - ended > FRESH:
            return None
        what = _reason(run) if run.run_state == ExecutionRunState.FAILED else label or "done"
        how = "failed" if run.run_state == ExecutionRunState.FAILED else "ended"
        return f"The last scheduled run, '{title}', {how} {_ago(now - ended)}: {what}."
    if run.started_at is not None:
        return f"A scheduled run, '{title}', is under way: {label or 'it has begun'}."
    waited = now - run.queued_at
    return f"A scheduled run, '{title}', was queued {_ago(waited)}." + (f" {BEGINS}" if waited > SLOW else "")


def _reason(run: Any) -> str:
    """The last line of what FiftyOne keeps of an error, which is its whole traceback: without the name of its class."""
    error = run.result.error if run.result is not None else None
    lines = [line for line in str(error or "").splitlines() if line.strip()]
    return re.sub(r"^[\w.]+: ", "", visible(lines[-1])).rstrip(".") if lines else "FiftyOne kept no reason"


def _ago(time: timedelta) -> str:
    return f"{_forms.lasting(time.total_seconds())} ago"
