"""What is chosen in the error panel: evaluation, attribute, groups, threshold, faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import fiftyone.operators as foo

from facevlm.errors import FacevlmError
from facevlm.store import inspection, results
from facevlm.store.inspection import Inspected

T = TypeVar("T")
THRESHOLD = "keep.threshold"


def attempt(ctx: foo.ExecutionContext, action: Callable[[], T]) -> T | None:
    """The result of an action, or None with its error said in the App."""
    try:
        return action()
    except FacevlmError as error:
        ctx.ops.notify(str(error), variant="error")
        return None


def is_modal(ctx: foo.ExecutionContext) -> bool:
    """Whether the panel stands beside one face."""
    return bool(ctx.panel.state.get("modal")) and ctx.current_sample is not None


def chosen_ids(ctx: foo.ExecutionContext) -> list[str]:
    """Ids to act on: the face in the modal, else the selected ones."""
    return [str(ctx.current_sample)] if is_modal(ctx) else [str(i) for i in ctx.selected]


def pick(ctx: foo.ExecutionContext, name: str, options: list[str]) -> str | None:
    """What a dropdown holds, the newest evaluation or else the first option by default."""
    chosen = ctx.panel.state.get(f"choose.{name}")
    default = options[-1 if name == "evaluation" else 0] if options else None
    return chosen if chosen in options else default


def inspected_of(ctx: foo.ExecutionContext) -> Inspected:
    """The attribute of the evaluation that is chosen.

    Raises :class:`~facevlm.errors.FieldError` where the dataset keeps no evaluation.
    """
    stored = results.load(ctx.dataset, pick(ctx, "evaluation", results.eval_keys(ctx.dataset)) or "")
    return inspection.inspect(ctx.dataset, stored, pick(ctx, "attribute", list(stored["fields"])) or "")


def crossed(table: Mapping[str, Any]) -> str:
    return " x ".join(table["by"])


def tables_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tables that hold groups, by what they group by."""
    return {crossed(table): table for table in evaluation["groups"] if table["rows"]}


def table_of(ctx: foo.ExecutionContext, evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table of groups that is chosen."""
    tables = tables_of(evaluation)
    chosen = pick(ctx, "grouping", list(tables))
    return None if chosen is None else tables[chosen]


def threshold_of(ctx: foo.ExecutionContext) -> float:
    """The confidence from which on answers are kept."""
    return float(ctx.panel.state.get(THRESHOLD) or 0.0)
