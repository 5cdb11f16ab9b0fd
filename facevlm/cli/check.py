"""facevlm check: copies, leaks between splits, conflicting labels, impossible ages and boxes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options

if TYPE_CHECKING:
    from facevlm.tasks.check import CheckResult

STOPPED = "A check begins anew when it is run again, and replaces its findings."


def add(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="look for duplicates, leaks between splits, conflicting labels, impossible ages and boxes",
        description="Reads every picture of a dataset and tags what is at fault: duplicate, near_duplicate, "
        "label_conflict, split_leak, unreadable, implausible_age, bad_box, each with a saved view in the App. Nothing "
        "is deleted; run again, it replaces its tags.",
    )
    check.add_argument("dataset", help="name of a FiftyOne dataset")
    check.add_argument("--view", help="only the samples of this saved view")
    check.add_argument(
        "--fields",
        type=_options.names,
        default=None,
        help="ground-truth fields in which copies should agree (default: all label fields)",
    )
    check.add_argument("--age", metavar="FIELD", help="field of ages in years (default: age)")
    check.add_argument("--boxes", type=_options.names, default=None, help="fields of boxes (default: all Detections)")
    check.add_argument(
        "--splits", type=_options.names, default=None, help="tags that are splits (default: train, val, test, if there)"
    )
    check.add_argument(
        "--near", type=_bits, default=32, metavar="BITS", help="bits of 256 by which near copies may differ, or off"
    )
    check.add_argument("--oldest", type=float, default=120, help="highest age that is believed (default: 120)")
    check.add_argument("--threads", type=int, help="reading threads (default: one per core)")
    check.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    _options.add_json(check, "every finding")
    check.set_defaults(run=_check, stopped=STOPPED)


def _bits(text: str) -> int | None:
    if text == "off":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number of bits, or off") from None


def _check(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    result = facevlm.check(
        facevlm.sources.load(args.dataset, args.view),
        fields=args.fields,
        age=args.age,
        boxes=args.boxes,
        splits=args.splits,
        near=args.near,
        oldest=args.oldest,
        threads=args.threads,
        progress=_options.seen(),
        registry=_options.registry(args.attributes_file),
    )
    show(result)
    _options.write_json(args.json, result.to_dict())


def show(result: CheckResult) -> None:
    """Print what a check found: pictures and cases of every kind, and where they stand."""
    # Imported here: it loads scipy, which building the parser has no need of.
    from facevlm.checks.faults import KINDS, MEANING

    rows = [
        [kind, result.count(kind), len(result.of(kind)), MEANING[kind], result.views.get(kind, "-")] for kind in KINDS
    ]
    print(tabulate(rows, ["tag", "pictures", "cases", "what it says", "saved view"], disable_numparse=True))
    looked = result.settings
    print(
        f"{result.pictures:,} pictures, {result.readable:,} readable, {result.seconds:.1f} s. Labels compared: "
        f"{', '.join(looked['labels']) or 'none'}; ages: {looked['age'] or 'none'}; boxes: "
        f"{', '.join(looked['boxes']) or 'none'}; splits: {', '.join(looked['splits']) or 'none'}."
    )
    print("Nothing was deleted. Of copies, the first has no tag; the view shows it beside the others.")
