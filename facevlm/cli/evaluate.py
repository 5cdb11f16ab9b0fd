"""facevlm evaluate: compare predictions with ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.cli import _options
from facevlm.evaluation.intervals import DRAWS
from facevlm.reports import text
from facevlm.reports.brief import brief

if TYPE_CHECKING:
    from facevlm.tasks.evaluate import EvaluationResult


def add(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="compare predictions with ground truth",
        description="Prints how well a model agrees with the ground truth, between which groups it differs, and which "
        "faces are left out; with --full all figures overall, per label and per group. Stores each attribute as a "
        "FiftyOne evaluation with a saved view of its errors.",
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
    evaluate.add_argument(
        "--adjust",
        type=_options.names,
        default=None,
        metavar="FIELD,...",
        help="compare groups also with the same mix of these fields' values, such as age5",
    )
    evaluate.add_argument(
        "--sets",
        type=float,
        metavar="PERCENT",
        help="also sets of the labels that are still possible, which hold the true one of so many per cent of faces, "
        "such as 90",
    )
    evaluate.add_argument(
        "--cluster",
        metavar="FIELD",
        help="faces with the same value belong together, such as subject: intervals and tests take it into account",
    )
    evaluate.add_argument("--full", action="store_true", help="print all tables: every figure, label and group")
    evaluate.add_argument("--pairs", action="store_true", help="the same with every combination of groups")
    evaluate.add_argument(
        "--draws", type=int, default=DRAWS, help=f"bootstrap draws behind intervals (default: {DRAWS})"
    )
    evaluate.add_argument(
        "--runs",
        type=_options.names,
        default=(),
        metavar="MODEL,...",
        help="whose answers count, by model or stamp, in a field that holds those of several (default: refused)",
    )
    evaluate.add_argument("--eval-key", help="FiftyOne evaluation key (default: PREFIX_eval)")
    _options.add_json(evaluate)
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
        runs=args.runs,
        adjust=args.adjust,
        sets=None if args.sets is None else args.sets / 100,
        cluster=args.cluster,
        registry=_options.registry(args.attributes_file),
    )
    tables = text.text(result.evaluations, pairs=args.pairs) if args.full or args.pairs else brief(result.evaluations)
    print_evaluated(result, tables)
    _options.write_json(args.json, result.to_dict())


def print_evaluated(result: EvaluationResult, tables: str) -> None:
    print("\n" + tables)
    for warning in result.warnings:
        print(f"Warning: {warning}")
    keys = ", ".join(f"{result.eval_key}_{name}" for name in result.views)
    print(f"In the App's Model Evaluation panel: {keys}")
    print(f"Saved views of the errors, the most confident first: {', '.join(result.views.values())}")
    if facevlm.plugin.is_installed():
        print(f"The panel of errors beside the grid: workspace {result.workspace}")
    else:
        print("A panel of errors beside the grid comes with the plugin: facevlm plugin install")
