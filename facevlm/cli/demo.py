"""facevlm demo: label the shipped sample faces, or your own pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import facevlm
from facevlm.cli import _options, apply, evaluate
from facevlm.reports.brief import brief

DEMO_ATTRIBUTES = ("gender", "age5", "race5", "emotion7")
OPEN_APP = "Open the App on it: make app DATASET={0}, or: fiftyone app launch {0}"


def add(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="label the shipped sample faces with the shipped model and evaluate",
        description="Builds a FiftyOne dataset of the shipped sample faces, labels them with the shipped demo model, "
        "and evaluates against ground truth. Run again, it keeps what you added to the dataset. With --images it "
        "labels your own pictures instead; there is then nothing to evaluate.",
    )
    demo.add_argument(
        "--images", type=Path, metavar="FOLDER", help="label the pictures in this folder and below instead"
    )
    _options.add_prune(demo)
    demo.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    if args.images:
        dataset = _options.from_folder(args.images, prune=args.prune)
    else:
        dataset = facevlm.sources.sample_faces()
        facevlm.sources.sample_groups()
    print(f"Dataset '{dataset.name}': {len(dataset)} pictures. Labels are perceived or apparent, not facts.\n")
    result = facevlm.apply(dataset, "demo", DEMO_ATTRIBUTES, progress=_options.seen())
    apply.print_applied(result)
    status = apply.status(result)
    if not args.images:
        evaluated = facevlm.evaluate(dataset, DEMO_ATTRIBUTES, prefix="demo")
        evaluate.print_evaluated(evaluated, brief(evaluated.evaluations))
        print(f"All tables: facevlm evaluate {dataset.name} --full; as a document: facevlm report {dataset.name}")
    print(f"\n{OPEN_APP.format(dataset.name)}")
    return status
