"""facevlm demo: label the shipped sample faces, or your own pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import facevlm
from facevlm.cli import apply, evaluate

DEMO_ATTRIBUTES = ("gender", "age5", "race5", "emotion7")
OPEN_APP = "Open the App on it: make app DATASET={0}, or: fiftyone app launch {0}"


def add(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="label the shipped sample faces with the shipped model and evaluate",
        description="Builds a FiftyOne dataset of the shipped sample faces, labels them with the shipped demo model, "
        "and evaluates against ground truth. With --images it labels your own pictures instead; there is then nothing "
        "to evaluate.",
    )
    demo.add_argument(
        "--images", type=Path, metavar="FOLDER", help="label the pictures in this folder and below instead"
    )
    demo.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> None:
    if args.images:
        dataset = facevlm.sources.folder(args.images)
    else:
        dataset = facevlm.sources.sample_faces()
        facevlm.sources.sample_groups()
    print(f"Dataset '{dataset.name}': {len(dataset)} pictures. Labels are perceived or apparent, not facts.\n")
    result = facevlm.apply(dataset, "demo", DEMO_ATTRIBUTES, overwrite=True)
    apply.print_applied(result)
    if not args.images:
        evaluate.print_evaluated(facevlm.evaluate(dataset, DEMO_ATTRIBUTES, prefix="demo"), pairs=False)
    print(f"\n{OPEN_APP.format(dataset.name)}")
