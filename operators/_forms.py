"""What the forms share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import arguments
from facevlm.engines.tally import Progress
from facevlm.errors import FacevlmError, visible
from facevlm.store import database
from facevlm.tasks._running import Job
from facevlm.tasks.apply import ApplyResult
from facevlm.tasks.outlook import Outlook
from facevlm.types import OUTCOMES

from . import keep
from ._marks import Marked, code, joined, marked, plain, table

T = TypeVar("T")
ICON = "face"
RESUME, OVERWRITE = "resume", "overwrite"
STOP, WORK_ON = (f"@facevlm/face-attributes/{name}" for name in ("stop_face_attribute_runs", "hide_face_attribute_run"))
CLOSING = "Closing or reloading the page stops the run, too."
KEPT, UNCHANGED = "What is done is kept, and the same run goes on from there.", "Nothing is changed then."
PERCEIVED = "Labels say what a model or an annotator perceives in a picture, not what a person is."


def attempt(prop: Any, check: Callable[[], T]) -> T | None:
    """The result of a check, or None with its error shown at the property."""
    try:
        with database.translated():
            return check()
    except FacevlmError as error:
        prop.invalid = True
        prop.error_message = error.in_app()
        return None


def lacks(prop: Any, text: str) -> None:
    """Say at a property that something is still to be filled in, without which the form cannot be sent."""
    prop.invalid, prop.error_message = True, text


def choices(view: Any, options: dict[str, str]) -> Any:
    """Fill a choices view with value -> label."""
    for value, label in options.items():
        view.add_choice(value, label=label)
    return view


def dropdown(inputs: Any, name: str, options: dict[str, str], **kwargs: Any) -> Any:
    """A dropdown of value -> label."""
    return inputs.enum(name, list(options), view=choices(types.DropdownView(), options), **kwargs)


def several(inputs: Any, name: str, options: Iterable[str], label: str, description: str, **kwargs: Any) -> Any:
    """A dropdown of which any number may be chosen, none beforehand."""
    view = choices(types.DropdownView(multiple=True), {option: option for option in options})
    told = {"label": plain(label), "description": plain(description), "required": False} | kwargs
    return inputs.list(name, types.String(), view=view, **told)


def notice(inputs: Any, name: str, text: str, kind: type = types.Notice) -> None:
    inputs.view(name, kind(label=plain(text)))


def header(label: str) -> Any:
    """A heading with a line under it."""
    return types.Header(label=plain(label), divider=True)


def refuse(inputs: Any, name: str, text: str) -> None:
    """Say why a form cannot be sent."""
    prop = inputs.view(name, types.Error(label=plain(text)))
    prop.invalid, prop.error_message = True, visible(text)


def progress(
    ctx: foo.ExecutionContext, done: int, total: int, label: str, job: Job | None = None, *, is_kept: bool = True
) -> Generator[Any, None, None]:
    """Report progress in the App's prompt, with buttons if there is a job to stop, or to the record of a delegated run.

    ``is_kept`` says whether what a stopped one did stays.
    """
    share = done / total if total else 1.0
    if ctx.delegated:
        ctx.set_progress(progress=share, label=label)
    if job is None or ctx.delegated:
        yield ctx.ops.set_progress(progress=share, label=label)
    elif job.is_quiet:
        # Said where nobody sees it: only when something is sent is a page noticed that was closed.
        yield ctx.ops.console_log(label)
    else:
        yield _under_way(ctx, share, label, job, KEPT if is_kept else UNCHANGED)


def _under_way(ctx: foo.ExecutionContext, share: float, label: str, job: Job, kept: str) -> Any:
    """Progress, and what can be done about it: the App shows the prompt again with every step, so that nothing else is
    within reach."""
    outputs = types.Object()
    outputs.float("progress", view=types.ProgressView(label=visible(label)))
    row, narrow = outputs.h_stack("what", gap=2), {"item": {"sx": {"width": "auto"}}}
    for name, said, uri in (("stop", "Stop", STOP), ("behind", "Work on meanwhile", WORK_ON)):
        params = {"run": job.key}
        row.btn(name, said, on_click=uri, params=params, variant="outlined", componentsProps=narrow)
    outputs.view("closing", types.Notice(label=plain(f"{CLOSING} {kept}")))
    return ctx.ops.show_output(types.Property(outputs).to_json(), {"progress": share})


def so_far(step: Progress, what: str, rate: float | None) -> str:
    """How far a run is: "1,048 of 3,000 faces, 210/s, 9 s left, 3 failed"."""
    parts, left = [f"{step.done:,} of {step.total:,} {what}"], step.total - step.done
    if rate is not None:
        parts.append(per_second(rate))
        parts += [f"{lasting(left / rate)} left"] if left else []
    counts: Counter[str] = sum(step.tally.outcomes.values(), Counter())
    parts += [f"{n:,} {outcome}" for outcome in OUTCOMES if outcome != "ok" and (n := counts[outcome])]
    return ", ".join(parts)


def ahead(expected: Outlook, overwrite: bool) -> str:
    """What a run would do: "1,048 of 3,000 faces have no answer yet: these are asked, in about 5 s at the rate of the
    last run, 210/s."."""
    total, lacking = f"{expected.faces:,}", f"{expected.lacking:,}"
    if overwrite:
        said = f"All {total} faces are asked again"
    elif not expected.lacking:
        return f"All {total} faces have their answers: nothing is asked."
    elif expected.lacking == expected.faces:
        said = f"All {total} faces are asked: none has its answers yet"
    else:
        said = f"{lacking} of {total} faces have no answer yet: these are asked"
    if expected.seconds is None or expected.rate is None:
        return f"{said}."
    return f"{said}, in about {lasting(expected.seconds)} at the rate of the last run, {per_second(expected.rate)}."


def per_second(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def lasting(seconds: float) -> str:
    """A time in words: "9 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def existing(inputs: Any, what: str) -> None:
    """Whether to go on, or to ask about everything again."""
    modes = {RESUME: "Ask only what has no answer yet", OVERWRITE: f"Ask every {what} again and overwrite"}
    choice(inputs, modes, "Existing predictions")


def choice(inputs: Any, modes: dict[str, str], label: str) -> None:
    """``RESUME`` or ``OVERWRITE``, in words."""
    inputs.enum("mode", list(modes), view=choices(types.RadioGroup(), modes), label=plain(label), default=RESUME)


def overwrites(ctx: foo.ExecutionContext) -> bool:
    return bool(ctx.params.get("mode") == OVERWRITE)


def is_ticked(ctx: foo.ExecutionContext, name: str) -> bool:
    """Whether a box of a form is ticked.

    Raises :class:`~facevlm.errors.InputError` for what a program gave that is neither True nor False.
    """
    given = ctx.params.get(name)
    if given is not None:
        arguments.check(name, given, bool)
    return bool(given)


def finished(
    ctx: foo.ExecutionContext, fields: Sequence[str], title: str, text: Marked, then: types.Button | None = None
) -> Generator[Any, None, None]:
    """Show just the fields of a run on the pictures, and what came of it in the prompt."""
    yield from keep.showing(ctx, list(fields))
    yield output(ctx, title, text, then)


def output(ctx: foo.ExecutionContext, title: str, text: Marked, then: types.Button | None = None) -> Any:
    """What came of a run, in the prompt, which shows no title of its own; ``then`` opens the form that comes next."""
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    if then is not None:
        outputs.view("then", then)
    said = joined("\n\n", [marked("**{}**", title), text])
    view = types.View(label=plain(title))
    return ctx.ops.show_output(types.Property(outputs, view=view).to_json(), {"summary": said})


def failure(ctx: foo.ExecutionContext, title: str, text: str, kept: str) -> Any:
    """Why a run is not done, in the prompt, and what is kept of it."""
    outputs = types.Object()
    outputs.view("title", types.Header(label=plain(title)))
    outputs.view("error", types.Error(label=plain(text), description=plain(kept)))
    return ctx.ops.show_output(types.Property(outputs, view=types.View(label=plain(title))).to_json(), {"error": text})


def outcome_table(result: ApplyResult) -> Marked:
    """A row per attribute: its field and how many ended how."""
    rows = [
        [name, code(result.fields[name]), *(str(counts.get(o, 0)) for o in OUTCOMES)]
        for name, counts in result.outcomes.items()
    ]
    return table(["attribute", "field", *OUTCOMES], rows)


def remarks(result: ApplyResult) -> list[Marked]:
    """The most frequent reasons, and what a user should read."""
    return [*counted(result.tally.reasons.most_common(5)), *warned(result.warnings)]


def counted(reasons: Iterable[tuple[str, int]]) -> list[Marked]:
    """A line for every reason."""
    return [marked("- {} x {}", count, reason) for reason, count in reasons]


def warned(warnings: Iterable[str]) -> list[Marked]:
    """A line for every warning."""
    return [marked("**Warning:** {}", warning) for warning in warnings]
