"""Check a dataset for faults."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo

from facevlm.checks.faults import KINDS, MEANING, OLDEST
from facevlm.checks.fingerprints import NEAR
from facevlm.store import evaluations, targets
from facevlm.store.rows import PictureRows, detections_fields
from facevlm.tasks.check import MOST_BITS, CheckResult, CheckRun

from . import _forms, _operator, keep
from ._marks import Marked, code, joined, marked, plain, table

NAME = "check_face_dataset"
LABEL = "Check a dataset for faults"
NOTHING_GONE = "Nothing is deleted. Run again, a check replaces its own tags; others stay."


class CheckFaceDataset(_operator.Operator):
    """Tags copies, near copies, conflicting labels, leaks, impossible ages and boxes, and saves a view of each."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Find copies, near copies, conflicting labels, leaks between splits, unreadable pictures, impossible ages and "
        "boxes. Reads every picture of the dataset or view, tags what is at fault, saves a view check_KIND for each "
        "kind, and deletes nothing.",
        "fact_check",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        target = targets.with_all_fields(ctx.target_view())
        fields = _forms.several(
            inputs,
            "fields",
            evaluations.truth_fields(PictureRows(target)),
            "Ground-truth fields",
            "In which copies should agree; empty: all fields of labels",
        )
        numbers = {name: name for name in targets.field_names(target, evaluations.NUMBERS)}
        _forms.dropdown(
            inputs,
            "age",
            numbers,
            label="Field of ages in years",
            description="Empty: 'age', where that holds numbers",
            required=False,
        )
        _forms.several(inputs, "boxes", detections_fields(target), "Fields of boxes", "Empty: all")
        tags = "Empty: those of train, val, validation and test that occur"
        _forms.several(inputs, "splits", sorted(target.distinct("tags")), "Tags that are splits", tags)
        inputs.bool("near", label="Look for near copies, too", default=True)
        if _is_near(ctx):
            inputs.int(
                "near_bits",
                label="Bits of 256 by which the look of near copies may differ",
                description="More finds more, and more that is none",
                default=NEAR,
                min=0,
                max=MOST_BITS,
            )
        inputs.float("oldest", label="Highest age that is believed, in years", default=OLDEST, min=0)
        run = _forms.attempt(fields, lambda: _run(ctx))
        if run is not None:
            _forms.notice(inputs, "plan", f"{_plan(run)} {NOTHING_GONE}")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Reading")
        run = _run(ctx)
        yield from self.followed(ctx, run, "pictures")
        yield from keep.reloaded(ctx)
        yield _forms.output(ctx, "Checked", _summary(run.result()))


def _is_near(ctx: foo.ExecutionContext) -> bool:
    return bool(ctx.params.get("near", True))


def _run(ctx: foo.ExecutionContext) -> CheckRun:
    """The check that the form describes.

    Raises :class:`~facevlm.errors.FacevlmError` where it cannot begin.
    """
    bits, oldest = ctx.params.get("near_bits"), ctx.params.get("oldest")
    return CheckRun(
        ctx.target_view(),
        fields=ctx.params.get("fields") or None,
        age=ctx.params.get("age") or None,
        boxes=ctx.params.get("boxes") or None,
        splits=ctx.params.get("splits") or None,
        near=(NEAR if bits is None else bits) if _is_near(ctx) else None,
        oldest=OLDEST if oldest is None else oldest,
    )


def _plan(run: CheckRun) -> str:
    looked = run.looked
    parts = {"labels": looked.labels, "ages": (looked.age,) if looked.age else (), "boxes": looked.boxes}
    named = [f"{what}: {', '.join(names) or 'none'}" for what, names in {**parts, "splits": looked.splits}.items()]
    return f"Pictures to read: {run.total:,}. What is looked at: {'; '.join(named)}."


def _summary(result: CheckResult) -> Marked:
    rows = [
        [kind, str(result.count(kind)), str(len(result.of(kind))), MEANING[kind], _view(result, kind)] for kind in KINDS
    ]
    read = f"{result.pictures:,} pictures, {result.readable:,} of them readable, {result.seconds:.1f} s."
    beside = "Of copies, the first has no tag; the view shows it beside the others."
    header = ["tag", "pictures", "cases", "what it says", "saved view"]
    return joined("\n\n", [plain(read), table(header, rows), marked("{} {}", NOTHING_GONE, beside)])


def _view(result: CheckResult, kind: str) -> str:
    return code(result.views[kind]) if kind in result.views else plain("-")
