"""Write a report of a stored evaluation."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import reports
from facevlm.errors import FieldError, InputError
from facevlm.store import results
from facevlm.tasks.report import report

from . import _forms

NAME = "write_face_attribute_report"
LABEL = "Write a face attribute report"
FACES = "The HTML file will hold pictures of people's faces: treat it as you treat the pictures themselves."


class WriteFaceAttributeReport(foo.Operator):
    """Writes report.html, report.md and report.json of an evaluation into a folder."""

    @property
    def config(self) -> foo.OperatorConfig:
        return _forms.operator_config(
            NAME,
            LABEL,
            "A model card of an evaluation: figures, groups, gaps, calibration and limits as HTML and Markdown",
        )

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        return _forms.placement(LABEL)

    def resolve_input(self, ctx: foo.ExecutionContext) -> Any:
        inputs = types.Object()
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        keys = results.eval_keys(ctx.dataset)
        if not keys:
            text = "This dataset holds no evaluation. Run 'Evaluate face attributes against ground truth' first."
            prop = inputs.view("nothing", types.Error(label=text))
            prop.invalid, prop.error_message = True, text
            return types.Property(inputs, view=types.View(label=LABEL))
        _forms.dropdown(inputs, "eval_key", {k: k for k in keys}, label="Evaluation", default=keys[-1])
        folder = inputs.str(
            "folder",
            label="Folder",
            description="On the machine where FiftyOne runs; it is made, and a report in it is overwritten",
            default=_folder(ctx),
        )
        _forms.attempt(folder, partial(_checked, ctx.params.get("folder") or _folder(ctx)))
        inputs.bool(
            "pictures",
            label="With pictures of the most confident errors",
            description="Up to 12 small pictures per attribute, inside the HTML file",
            default=False,
        )
        if ctx.params.get("pictures"):
            _forms.notice(inputs, "faces", FACES, types.Warning)
        return types.Property(inputs, view=types.View(label=LABEL))

    def execute(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Writing")
        keys = results.eval_keys(ctx.dataset)
        if not keys:
            raise FieldError(
                f"Dataset '{ctx.dataset.name}' holds no evaluation of facevlm. Evaluate its predictions first."
            )
        folder = _checked(ctx.params.get("folder") or _folder(ctx))
        paths = report(
            ctx.dataset,
            folder,
            eval_key=ctx.params.get("eval_key") or keys[-1],
            pictures=bool(ctx.params.get("pictures")),
        )
        yield from _forms.progress(ctx, 1, 1, "reports")
        yield ctx.ops.show_output(_outputs().to_json(), {"summary": _summary(paths)})


def _folder(ctx: foo.ExecutionContext) -> str:
    return str(Path.home() / f"{ctx.dataset.name}-report")


def _checked(text: str) -> Path:
    """The folder of the form; an absolute path, since the App's server has no folder of the user's."""
    folder = Path(text).expanduser()
    if not folder.is_absolute():
        raise InputError(f"Got the folder '{text}', expected a whole path such as '{Path.home() / 'report'}'.")
    reports.check_folder(folder)
    return folder


def _outputs() -> Any:
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    return types.Property(outputs, view=types.View(label="Report"))


def _summary(paths: list[Path]) -> str:
    return "Written:\n\n" + "\n".join(f"- `{path}`" for path in paths)
