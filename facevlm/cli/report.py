"""facevlm report: a stored evaluation as a model card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import facevlm


def add(commands: Any) -> None:
    written = commands.add_parser(
        "report",
        help="write a report of a stored evaluation",
        description="Writes report.html, report.md and report.json of an evaluation that is stored with the dataset, "
        "in the manner of a model card: the run, the data, all figures with n and intervals, gaps between groups, "
        "calibration, limits. The HTML file needs no network. Pictures are in it only with --pictures.",
    )
    written.add_argument("dataset", help="name of a FiftyOne dataset")
    written.add_argument("--prefix", default="demo", help="field prefix of the predictions (default: demo)")
    written.add_argument(
        "--eval-key",
        help="key of the evaluation, such as one that 'facevlm evaluate' gave to a saved view (default: PREFIX_eval)",
    )
    written.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: DATASET-report)")
    written.add_argument(
        "--pictures", action="store_true", help="embed small pictures of the most confident errors in report.html"
    )
    written.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> None:
    dataset = facevlm.sources.load(args.dataset)
    for path in facevlm.report(dataset, args.out, prefix=args.prefix, eval_key=args.eval_key, pictures=args.pictures):
        print(path)
    if args.pictures:
        print("report.html holds pictures of people's faces: treat it as you treat the pictures themselves.")
