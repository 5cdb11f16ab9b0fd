"""Write a report of a stored evaluation."""

from __future__ import annotations

import base64
from collections.abc import Generator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm import reports
from facevlm.errors import FieldError
from facevlm.folders import file_name, read_bytes
from facevlm.reports import verdict
from facevlm.store import results
from facevlm.tasks.report import report

from . import _forms, _operator, _trust
from ._marks import Marked, code, joined, marked, plain

NAME = "write_face_attribute_report"
LABEL = "Write a face attribute report"
DOWNLOAD = "browser_download"
"""The App's own operator, which saves what stands at an address."""
MEDIA = "/media?filepath="
"""Where the App's server hands out files of its machine."""
FACES = "The HTML file will hold pictures of people's faces: treat it as you treat the pictures themselves."


class WriteFaceAttributeReport(_operator.Operator):
    """Writes report.html, report.md and report.json of an evaluation into a folder."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Write a model card of an evaluation. Takes the key of an evaluation and a folder; writes figures, groups, "
        "gaps, calibration and limits as report.html, report.md and report.json.",
        "description",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        keys = results.eval_keys(ctx.dataset)
        if not keys:
            text = "This dataset holds no evaluation. Run 'Evaluate face attributes against ground truth' first."
            _forms.refuse(inputs, "nothing", text)
            return
        _forms.dropdown(inputs, "eval_key", {k: k for k in keys}, label="Evaluation", default=keys[-1])
        folder = inputs.str(
            "folder",
            label="Folder",
            description="On the machine where FiftyOne runs; it is made, and an earlier report in it is overwritten",
            default=str(_trust.usual_folder(ctx.dataset.name)),
        )
        where = _forms.attempt(folder, partial(_trust.checked_folder, ctx))
        earlier = reports.page_in(where) if where else None
        if earlier:
            written = datetime.fromtimestamp(earlier.stat().st_mtime).isoformat(" ", "minutes")
            _forms.notice(inputs, "earlier", f"This folder holds a report of {written}, which can be opened:")
            _offer(inputs, earlier, f"{MEDIA}{quote(str(earlier))}", ctx.dataset.name)
        inputs.bool(
            "pictures",
            label="With pictures of the most confident errors",
            description="Up to 12 small pictures per attribute, inside the HTML file",
            default=False,
        )
        if ctx.params.get("pictures"):
            _forms.notice(inputs, "faces", FACES, types.Warning)

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Writing")
        keys = results.eval_keys(ctx.dataset)
        if not keys:
            raise FieldError(
                f"Dataset '{ctx.dataset.name}' holds no evaluation of facevlm. Evaluate its predictions first."
            )
        folder = _trust.checked_folder(ctx)
        key = ctx.params.get("eval_key") or keys[-1]
        paths = report(ctx.dataset, folder, eval_key=key, pictures=_forms.is_ticked(ctx, "pictures"))
        yield from _forms.progress(ctx, 1, 1, "Written")
        said = verdict.text(results.load(ctx.dataset, key)["evaluations"])
        yield _output(ctx, _summary(said, paths), paths[0])


def _output(ctx: foo.ExecutionContext, text: Marked, page: Path) -> Any:
    outputs = types.Object()
    outputs.str("summary", view=types.MarkdownView(read_only=True))
    # By its bytes: that works behind a proxy and for a page that was overwritten since, too.
    held = base64.b64encode(read_bytes(page)).decode("ascii")
    _offer(outputs, page, f"data:text/html;base64,{held}", ctx.dataset.name)
    return ctx.ops.show_output(types.Property(outputs, view=types.View(label="Report")).to_json(), {"summary": text})


def _offer(form: Any, page: Path, address: str, dataset: str) -> None:
    """A link that opens a report in a tab of its own, and a button that downloads it from an address."""
    href = f"{MEDIA}{quote(str(page))}"
    form.view("open", types.LinkView(label="Open the report in a new tab", href=href, new_window=True))
    params = {"url": address, "filename": f"{file_name(dataset)}-report.html"}
    form.view("download", types.Button(label="Download the report", operator=DOWNLOAD, params=params))


def _summary(said: str, paths: list[Path]) -> Marked:
    return joined("\n\n", [plain(said), "Written:", joined("\n", [marked("- {}", code(path)) for path in paths])])
