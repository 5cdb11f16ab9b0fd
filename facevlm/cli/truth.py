"""facevlm truth: labels of your own, joined from a table onto a dataset."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.cli import _options

if TYPE_CHECKING:
    from facevlm.tasks.truth import TruthResult

SHOWN = 5


def add(commands: Any) -> None:
    command = commands.add_parser(
        "truth",
        help="join labels of your own from a table onto a dataset",
        description="Finds for every row of a table the sample that it is about, by path, name or id, and writes its "
        "labels and numbers as fields to evaluate against. Rows and samples that do not meet are counted and named; "
        "nothing is written before everything is checked.",
    )
    command.add_argument("dataset", help="name of a FiftyOne dataset")
    command.add_argument("table", type=Path, help="a file in CSV or TSV, or in Parquet where pyarrow is installed")
    command.add_argument("--view", help="only the samples of this saved view")
    command.add_argument(
        "--path-column", metavar="COLUMN", help="with paths, names or ids of samples (default: one of a usual name)"
    )
    command.add_argument(
        "--map",
        type=_options.pair,
        action="append",
        metavar="COLUMN=FIELD",
        help="such as sex=gender, may be repeated (default: every column becomes a field of its name)",
    )
    command.add_argument("--overwrite", action="store_true", help="write over values that are there and others")
    _options.add_json(command, "counts, and what was left out")
    command.set_defaults(run=_truth)


def _truth(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    result = facevlm.truth(
        facevlm.sources.load(args.dataset, args.view),
        args.table,
        path_column=args.path_column,
        map=dict(args.map) if args.map else None,
        overwrite=args.overwrite,
    )
    _print(result, args.dataset)
    _options.write_json(args.json, result.to_dict())


def _print(result: TruthResult, dataset: str) -> None:
    for name, counts in result.fields.items():
        print(f"{name}: {_told(counts)}")
    print(f"{result.matched:,} samples have a row, {len(result.samples_unmatched):,} have none.")
    left_out = {
        "rows that name no sample": result.rows_unmatched,
        "rows that name no single sample": result.rows_ambiguous,
        "rows that cannot be read": result.rows_broken,
        "cells that are no number": result.cells,
        "samples without a row": result.samples_unmatched,
    }
    for what, places in left_out.items():
        if places:
            print(f"{len(places):,} {what}:")
            for place in places[:SHOWN]:
                print(f"    {place}")
    print(f"Evaluate against it: facevlm evaluate {dataset} --truth ATTRIBUTE=FIELD")


def _told(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {count:g}" for label, count in counts.items())
