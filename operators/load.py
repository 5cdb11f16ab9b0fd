"""Load a data set of faces."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

import fiftyone.operators as foo

from facevlm.datasets import catalog
from facevlm.datasets.records import Reader
from facevlm.store import importing
from facevlm.tasks import _running
from facevlm.tasks._running import StoppedByUser
from facevlm.tasks.load import LoadRun, usual_name

from . import _forms, _operator, _trust
from ._marks import Marked, code, joined, marked, plain, table

NAME = "load_face_dataset"
LABEL = "Load a data set of faces"
USUAL = "csv"
LABELS = 8
"""Labels of a field that are told."""


class LoadFaceDataset(_operator.Operator):
    """Makes a dataset of a published data set on disk, of a table, or of folders named after labels."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Make a dataset of FairFace, UTKFace, AffectNet and others, of a table, or of folders of pictures. Takes the "
        "kind of data set and its folder on the machine of FiftyOne; gives a persistent dataset with fields of ground "
        "truth such as gender, race, emotion, age_group and age; pictures stay where they are.",
        "folder_open",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        readers = catalog.readers()
        kinds = {name: f"{name}: {reader.card.title}" for name, reader in readers.items()}
        _forms.dropdown(inputs, "data", kinds, label="Data set", default=USUAL)
        if _kind(ctx) not in readers:
            return
        reader = readers[_kind(ctx)]
        card = reader.card
        _forms.notice(inputs, "card", f"Its folder holds {card.layout}. {card.url}. Licence: {card.licence}.")
        folder = inputs.str(
            "data_folder",
            label="Folder or file",
            description="A whole path on the machine where FiftyOne runs",
            required=True,
        )
        if card.splits:
            _forms.dropdown(inputs, "split", {s: s for s in card.splits}, label="Split", description="Empty: all")
        _option_inputs(inputs, reader)
        usual = usual_name(card.name, ctx.params.get("split") or None)
        name = inputs.str("dataset_name", label="Name of the dataset", description=plain(f"Empty: {usual}"))
        inputs.int("limit", label="Pictures at most", description="Empty: all", min=1)
        inputs.bool("overwrite", label="Replace a dataset of that name, with its tags and predictions", default=False)
        if _forms.attempt(name, lambda: _check_name(ctx, usual)) and _forms.attempt(folder, partial(_folder, ctx)):
            run = _forms.attempt(folder, lambda: _run(ctx))
            if run is not None:
                fields = ", ".join(run.fields) or "as the data set has them"
                text = f"Dataset '{run.dataset_name}' is made, with the fields {fields}. Pictures stay where they are."
                _forms.notice(inputs, "plan", text)

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Reading")
        run = _run(ctx)
        with _running.job(LABEL, run.dataset_name) as job:
            for done in run.steps():
                job.said = f"{done:,} pictures read"
                yield from _forms.progress(ctx, 1, 2, job.said, job, is_kept=False)
                if job.is_stopping:
                    raise StoppedByUser(f"Stopped at {done:,} pictures. Nothing is made, and nothing was replaced.")
        dataset = run.result()
        yield ctx.ops.open_dataset(dataset.name)
        yield _forms.output(ctx, "Loaded", _summary(dataset.name, dataset.info[importing.INFO]))


def _folder(ctx: foo.ExecutionContext) -> str:
    """Where the data set is; empty while that is not said."""
    return _trust.told(ctx, "data_folder") or ""


def _kind(ctx: foo.ExecutionContext) -> str:
    return str(ctx.params.get("data") or USUAL)


def _option_inputs(inputs: Any, reader: type[Reader]) -> None:
    """What this reader can be told, as its own words explain."""
    known = catalog.options(reader)
    if known:
        _forms.notice(inputs, "told", " ".join((reader.__doc__ or "").replace("``", "'").split()))
    for name, default in known.items():
        make = inputs.int if isinstance(default, int) else inputs.str
        make(_trust.OPTION + name, label=plain(name), default=default or None)


def _options(ctx: foo.ExecutionContext) -> dict[str, object]:
    """What the reader is told, of the options that it has: others stay in a form when another is chosen."""
    known = catalog.options(catalog.readers()[_kind(ctx)]) if _kind(ctx) in catalog.readers() else {}
    told = {name: _trust.told(ctx, _trust.OPTION + name) for name in known}
    return {name: str(value) for name, value in told.items() if value is not None}


def _check_name(ctx: foo.ExecutionContext, usual: str) -> bool:
    name = ctx.params.get("dataset_name") or usual
    importing.check_name(name, overwrite=bool(ctx.params.get("overwrite")))
    return True


def _run(ctx: foo.ExecutionContext) -> LoadRun:
    """The load that the form describes.

    Raises :class:`~facevlm.errors.FacevlmError` where it cannot begin.
    """
    split = ctx.params.get("split") or None
    return LoadRun(
        _kind(ctx),
        _folder(ctx),
        split=split,
        dataset_name=ctx.params.get("dataset_name") or None,
        limit=ctx.params.get("limit"),
        overwrite=bool(ctx.params.get("overwrite")),
        options=_options(ctx),
    )


def _summary(name: str, info: Mapping[str, Any]) -> Marked:
    counts, skipped = info["counts"], info["skipped"]
    faces = f", {counts['faces']:,} faces with boxes" if counts["faces"] else ""
    said = f": {counts['samples']:,} pictures{faces}. {info['source']}, licence: {info['licence']}."
    splits = ", ".join(f"{split} {count:,}" for split, count in counts["splits"].items())
    rows = [[field, info["attributes"].get(field, ""), _counted(found)] for field, found in counts["labels"].items()]
    ages = counts["ages"]
    years = (
        f"Ages in years: {ages['count']:,}, from {ages['youngest']:g} to {ages['oldest']:g}." if ages["count"] else ""
    )
    left = [marked("Left out: {} rows, {} cells.", skipped["count"], skipped["cells"]["count"])]
    reasons = [(r["count"], r["reason"]) for part in (skipped, skipped["cells"]) for r in part["reasons"]]
    lines = joined("\n", [marked("- {} x {}", count, reason) for count, reason in reasons])
    return joined(
        "\n\n",
        [
            marked("Dataset {}", code(name)) + said,
            plain(f"Splits: {splits}.") if splits else "",
            table(["field", "attribute", "labels"], rows) if rows else "",
            plain(years) if years else "",
            *([*left, lines] if reasons else []),
            plain("Labels are perceived or apparent, not facts about persons."),
        ],
    )


def _counted(found: Mapping[str, int]) -> str:
    parts = [f"{label} {count:,}" for label, count in list(found.items())[:LABELS]]
    return ", ".join(parts) + (f" and {len(found) - LABELS:,} more" if len(found) > LABELS else "")
