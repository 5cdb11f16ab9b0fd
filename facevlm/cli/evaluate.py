"""facevlm evaluate: compare predictions with ground truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.cli import _options
from facevlm.evaluation.intervals import DRAWS
from facevlm.reports import text

if TYPE_CHECKING:
    from facevlm.tasks.evaluate import EvaluationResult


def add(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="compare predictions with ground truth",
        description="Prints accuracy, macro precision, recall and F1 with n, coverage and 95 % intervals, overall, "
        "per class and per group, and stores each attribute as a FiftyOne evaluation with a saved view of its errors.",
    )
    evaluate.add_argument("dataset", help="name of a FiftyOne dataset")
    evaluate.add_argument("--view", help="only the samples of this saved view")
    evaluate.add_argument("--prefix", default="demo", help="field prefix of the predictions (default: demo)")
    evaluate.add_argument(
        "--attributes", type=_options.names, default=None, help="comma-separated (default: all that can be evaluated)"
    )
    evaluate.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    evaluate.add_argument(
        "--truth", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    evaluate.add_argument(
        "--groups", type=_options.names, default=None, help="fields to group by (default: the ground-truth fields)"
    )
    evaluate.add_argument(
        "--faces",
        metavar="FIELD",
        help="Detections with ground truth, for predictions on faces (default: the one)",
    )
    evaluate.add_argument(
        "--bins",
        type=_options.edges,
        action="append",
        default=[],
        metavar="FIELD=EDGES",
        help="group by a field of numbers between these edges, such as age=20,40,60",
    )
    evaluate.add_argument("--pairs", action="store_true", help="print every combination of groups, too")
    evaluate.add_argument(
        "--draws", type=int, default=DRAWS, help=f"bootstrap draws behind intervals (default: {DRAWS})"
    )
    evaluate.add_argument("--eval-key", help="FiftyOne evaluation key (default: PREFIX_eval)")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    result = facevlm.evaluate(
        facevlm.sources.load(args.dataset, args.view),
        args.attributes,
        prefix=args.prefix,
        ground_truth=dict(args.truth),
        groups=args.groups,
        bins=dict(args.bins),
        faces=args.faces,
        eval_key=args.eval_key,
        draws=args.draws,
        registry=_options.registry(args.attributes_file),
    )
    print_evaluated(result, pairs=args.pairs)
    if args.json:
        args.json.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")


def print_evaluated(result: EvaluationResult, *, pairs: bool) -> None:
    print("\n" + text.text(result.evaluations, pairs=pairs))
    keys = ", ".join(f"{result.eval_key}_{name}" for name in result.views)
    print(f"In the App's Model Evaluation panel: {keys}")
    print(f"Saved views of the errors, the most confident first: {', '.join(result.views.values())}")
    print(f"The panel of errors beside the grid: workspace {result.workspace}")
