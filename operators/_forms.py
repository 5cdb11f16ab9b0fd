"""What the forms share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, TypeVar

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError
from facevlm.tasks._run import Run
from facevlm.tasks.apply import ApplyResult
from facevlm.types import OUTCOMES

T = TypeVar("T")
ICON = "face"
RESUME, OVERWRITE = "resume", "overwrite"
PERCEIVED = "Labels say what a model or an annotator perceives in a picture, not what a person is."


def operator_config(name: str, label: str, description: str) -> foo.OperatorConfig:
    """Both operators stream their progress, follow their form as it changes, and may be scheduled."""
    return foo.OperatorConfig(
        name=name,
        label=label,
        description=description,
        icon=ICON,
        dynamic=True,
        execute_as_generator=True,
        allow_immediate_execution=True,
        allow_delegated_execution=True,
    )


def attempt(prop: Any, check: Callable[[], T]) -> T | None:
    """The result of a check, or None with its error shown at the property."""
    try:
        return check()
    except FacevlmError as error:
        prop.invalid = True
        prop.error_message = str(error)
        return None


def choices(view: Any, options: dict[str, str]) -> Any:
    """Fill a choices view with value -> label."""
    for value, label in options.items():
        view.add_choice(value, label=label)
    return view


def dropdown(inputs: Any, name: str, options: dict[str, str], **kwargs: Any) -> Any:
    """A dropdown of value -> label."""
    return inputs.enum(name, list(options), view=choices(types.DropdownView(), options), **kwargs)


def notice(inputs: Any, name: str, text: str, kind: type = types.Notice) -> None:
    inputs.view(name, kind(label=text))


def progress(ctx: foo.ExecutionContext, done: int, total: int, what: str) -> Generator[Any, None, None]:
    """Report progress in the App's prompt, or to the record of a delegated run."""
    share, label = (done / total if total else 1.0), f"{done:,} of {total:,} {what}"
    if ctx.delegated:
        ctx.set_progress(progress=share, label=label)
    yield ctx.ops.set_progress(progress=share, label=label)


def followed(ctx: foo.ExecutionContext, run: Run[Any], what: str) -> Generator[Any, None, None]:
    """Do the work of a run that was begun, and report its progress; cancelled, it is closed and keeps what it did."""
    with closing(run.steps()) as steps:
        for step in steps:
            yield from progress(ctx, step.done, step.total, what)


def existing(inputs: Any, what: str) -> None:
    """Whether to go on, or to ask about everything again."""
    modes = {RESUME: "Ask only what has no answer yet", OVERWRITE: f"Ask every {what} again and overwrite"}
    view = choices(types.RadioGroup(), modes)
    inputs.enum("mode", list(modes), view=view, label="Existing predictions", default=RESUME)


def overwrites(ctx: foo.ExecutionContext) -> bool:
    return bool(ctx.params.get("mode") == OVERWRITE)


def finished(
    ctx: foo.ExecutionContext, fields: Iterable[str], source: str | None, title: str, text: str
) -> Generator[Any, None, None]:
    """Show new fields on the pictures, and what came of the run in the prompt; arguments of :func:`reloaded`."""
    yield from reloaded(ctx, fields, source)
    yield output(ctx, title, text)


def reloaded(ctx: foo.ExecutionContext, fields: Iterable[str], source: str | None) -> Generator[Any, None, None]:
    """The dataset as it is now with these fields shown in the place of the faces that were asked about.

    Boxes that lie on one another hide each other's labels.
    """
    active = [*(name for name in ctx.active_fields if name != source), *fields]
    # Before the reload: set while the App is reloading, the choice is now and then lost to the one before.
    yield ctx.ops.set_active_fields(list(dict.fromkeys(active)))
    yield ctx.ops.reload_dataset()


def output(ctx: foo.ExecutionContext, title: str, text: str) -> Any:
    """What came of a run, in the prompt."""
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    return ctx.ops.show_output(types.Property(outputs, view=types.View(label=title)).to_json(), {"summary": text})


def outcome_table(result: ApplyResult) -> str:
    """A row per attribute: its field and how many ended how."""
    rows = [
        [name, f"`{result.fields[name]}`", *(str(counts.get(o, 0)) for o in OUTCOMES)]
        for name, counts in result.outcomes.items()
    ]
    return markdown_table(["attribute", "field", *OUTCOMES], rows)


def remarks(result: ApplyResult) -> list[str]:
    """The most frequent reasons, and what a user should read."""
    reasons = [f"- {count} x {reason}" for reason, count in result.tally.reasons.most_common(5)]
    return [*reasons, *(f"**Warning:** {warning}" for warning in result.warnings)]


def placement(label: str) -> Any:
    """A button among the grid's actions that opens the form."""
    return types.Placement(
        types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, types.Button(label=label, icon=ICON, prompt=True)
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)
