"""facevlm compare: two or more models or prompts on the same faces."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import facevlm
from facevlm.cli import _options
from facevlm.reports import text


def add(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare the predictions of two or more models or prompts",
        description="Prints for every pair of prefixes how often one is right where the other is wrong, with McNemar's "
        "exact test, and how often answers flip over all of them. Without ground truth it prints agreement and flips.",
    )
    compare.add_argument("dataset", help="name of a FiftyOne dataset")
    compare.add_argument("--view", help="only the samples of this saved view")
    compare.add_argument(
        "--prefixes", type=_options.names, required=True, help="comma-separated field prefixes, at least two"
    )
    compare.add_argument(
        "--attributes", type=_options.names, default=None, help="comma-separated (default: all shared ones)"
    )
    compare.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    compare.add_argument(
        "--truth", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    compare.add_argument("--groups", type=_options.names, default=[], help="fields by which flips are shown")
    compare.add_argument(
        "--faces",
        metavar="FIELD",
        help="Detections with ground truth, for predictions on faces (default: the one)",
    )
    compare.add_argument(
        "--cluster",
        metavar="FIELD",
        help="faces with the same value belong together, such as subject: intervals and tests take it into account",
    )
    compare.add_argument(
        "--save-views", action="store_true", help="save the faces that only one is right about, and unequal answers"
    )
    _options.add_json(compare)
    compare.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    results = facevlm.compare(
        facevlm.sources.load(args.dataset, args.view),
        args.prefixes,
        args.attributes,
        ground_truth=dict(args.truth),
        groups=args.groups,
        faces=args.faces,
        save_views=args.save_views,
        cluster=args.cluster,
        registry=_options.registry(args.attributes_file),
    )
    print(text.comparison_text(results), end="")
    _options.write_json(args.json, [r.to_dict() for r in results])
