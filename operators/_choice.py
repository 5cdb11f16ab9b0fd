"""What is chosen in the error panel: evaluation, attribute, groups, threshold, faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import fiftyone.operators as foo

from facevlm.errors import FacevlmError
from facevlm.store import database, inspection, results, unjudged
from facevlm.store.inspection import Inspected
from facevlm.store.unjudged import Told

T = TypeVar("T")
THRESHOLD = "keep.threshold"
GROUPING = "by.grouping"
RIVAL = "beside.rival"
RUN_TOLD, ATTRIBUTE_TOLD = "told_by.run", "told_by.attribute"
FIELDS = "choose.fields"
TAB = "tab"
"""Paths of choices in the panel's state."""
STRIP = "strip"
"""How often another tab was opened, in the panel's state."""


def attempt(ctx: foo.ExecutionContext, action: Callable[[], T]) -> T | None:
    """The result of an action, or None with its error said in the App."""
    try:
        with database.translated():
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


THIS, EVERY = "this", "all"
"""Which labels the faces in the grid wear."""


def visible_of(ctx: foo.ExecutionContext) -> str:
    """Which labels are visible, those of the chosen attribute at first."""
    return _one_of(ctx, FIELDS, [THIS, EVERY], 0)


def tab_of(ctx: foo.ExecutionContext, names: list[str]) -> str:
    """The tab that is open, the first at first."""
    return _one_of(ctx, TAB, names, 0)


def strip_of(ctx: foo.ExecutionContext) -> str:
    """What the strip of tabs is called, until another tab is opened.

    The App's strip says which tab it begins with whenever it is put on the page, which nobody chose. Where the page
    stands twice for a moment, two strips of one name answer each other for ever.
    """
    return f"tabs_{int(ctx.panel.state.get(STRIP) or 0)}"


def open_tab(ctx: foo.ExecutionContext, strip: str, tab: str, names: list[str]) -> None:
    """Unless a strip says it that is not there any more, or the tab is open."""
    if strip == strip_of(ctx) and tab != tab_of(ctx, names):
        ctx.panel.state.set(STRIP, int(ctx.panel.state.get(STRIP) or 0) + 1)
        ctx.panel.state.set(TAB, tab)


def pick(ctx: foo.ExecutionContext, name: str, options: list[str]) -> str | None:
    """What a dropdown holds, the newest evaluation or else the first option by default."""
    chosen = ctx.panel.state.get(f"choose.{name}")
    default = options[-1 if name == "evaluation" else 0] if options else None
    return chosen if chosen in options else default


def inspected_of(ctx: foo.ExecutionContext) -> Inspected:
    """The attribute of the evaluation that is chosen.

    Raises :class:`~facevlm.errors.FieldError` where the dataset keeps no evaluation.
    """
    key = pick(ctx, "evaluation", results.eval_keys(ctx.dataset)) or ""
    stored = results.load(ctx.dataset, key)
    return inspection.inspect(ctx.dataset, stored, pick(ctx, "attribute", list(stored["fields"])) or "")


def inspected_in(ctx: foo.ExecutionContext, evaluation: str, attribute: str) -> Inspected:
    """An attribute of an evaluation."""
    return inspection.inspect(ctx.dataset, results.load(ctx.dataset, evaluation), attribute)


def told_of(ctx: foo.ExecutionContext) -> Told | None:
    """The answers that are chosen where nothing was evaluated, first those of the newest run; None without any."""
    known = unjudged.answered(ctx.dataset)
    if not known:
        return None
    prefix = _one_of(ctx, RUN_TOLD, list(known), -1)
    return unjudged.told(ctx.dataset, prefix, _one_of(ctx, ATTRIBUTE_TOLD, known[prefix], 0))


def _one_of(ctx: foo.ExecutionContext, path: str, options: list[str], default: int) -> str:
    chosen = ctx.panel.state.get(path)
    return chosen if chosen in options else options[default]


def crossed(table: Mapping[str, Any]) -> str:
    return " x ".join(table["by"])


def tables_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tables that hold groups, by what they group by."""
    return {crossed(table): table for table in evaluation["groups"] if table["rows"]}


def table_of(ctx: foo.ExecutionContext, evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table of groups that is chosen."""
    tables = tables_of(evaluation)
    chosen = ctx.panel.state.get(GROUPING)
    return tables.get(chosen) or next(iter(tables.values()), None)


def rival_of(ctx: foo.ExecutionContext, rivals: list[str]) -> str:
    """The run that is set beside the evaluated one, the newest by default."""
    return _one_of(ctx, RIVAL, rivals, -1)


def threshold_of(ctx: foo.ExecutionContext) -> float:
    """The confidence from which on answers are kept."""
    return float(ctx.panel.state.get(THRESHOLD) or 0.0)


def remembered(ctx: foo.ExecutionContext, name: str, of: Sequence[Any], make: Callable[[], T]) -> T:
    """Plain data that takes reading all faces, kept in the panel's state for as long as it is of the same things."""
    path = f"read.{name}"
    held = ctx.panel.state.get(path)
    if not held or held["of"] != list(of):
        held = {"of": list(of), "made": make()}
        ctx.panel.state.set(path, held)
    made: T = held["made"]
    return made
