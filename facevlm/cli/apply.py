"""facevlm apply: apply a model to a dataset."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options
from facevlm.cli.detect import print_detected
from facevlm.detection import FIELD
from facevlm.evaluation.evaluate import to_plain
from facevlm.reports import text
from facevlm.types import OUTCOMES, SMALL_PX

if TYPE_CHECKING:
    from facevlm.tasks.apply import ApplyResult


def add(commands: Any) -> None:
    command = commands.add_parser(
        "apply",
        aliases=["predict"],
        help="apply a model to a FiftyOne dataset",
        description="Predicts perceived attributes of the face in every picture and stores them as label fields "
        "PREFIX_ATTRIBUTE. Run again, it asks only what has no answer yet.",
        epilog=_options.STATUS,
    )
    _options.add_question(command)
    _options.add_faces(command)
    command.add_argument("--detect", action="store_true", help="find faces first, in pictures that were not searched")
    _options.add_prefix(command)
    command.add_argument("--overwrite", action="store_true", help="ask every face again")
    _options.add_running(command)
    _options.add_model(command)
    _options.add_json(command, "counts and fields")
    command.set_defaults(run=_apply)


def _apply(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    target = _options.target(args)
    if args.detect:
        args.faces = args.faces or FIELD
        if args.dry_run:
            return _not_detected(target, args.faces)
        print_detected(facevlm.detect(target, args.faces, progress=_options.seen()))
    result = facevlm.apply(
        target,
        args.model,
        args.attributes,
        **_options.faces(args),
        prefix=args.prefix,
        prompts=dict(args.prompt),
        overwrite=args.overwrite,
        **_options.told(args),
        **_options.running(args),
    )
    if result.asked or not args.dry_run:
        print_applied(result)
    _options.write_json(args.json, plain(result))
    return status(result)


def _not_detected(target: Any, faces: str) -> int:
    print(f"Faces would be found first, in up to {len(target):,} pictures, for the field '{faces}'.")
    print("How many are then asked about, and at what cost, is known once they are found.")
    return 0


def plain(result: ApplyResult) -> dict[str, Any]:
    """What a run did, JSON-able."""
    told = {name: value for name, value in vars(result).items() if name not in ("tally", "notes")}
    more = {"outcomes": result.outcomes, "coverage": result.tally.coverage(), "seconds": result.tally.seconds}
    return dict(to_plain({**told, **more, "warnings": result.warnings}))


def status(result: ApplyResult) -> int:
    """The exit status: 1 where no face that was asked about was answered."""
    return _options.answered(result.asked, _options.answers(result.outcomes))


def print_applied(result: ApplyResult, unit: str = "faces") -> None:
    tally = result.tally
    if not result.asked and not result.left:
        print(f"Nothing to ask: all {result.skipped} {unit} have their answers. --overwrite asks again.")
        return
    rows = [
        [
            name,
            result.fields[name],
            *(counts.get(o, 0) for o in OUTCOMES),
            text.share(tally.coverage().get(name, math.nan)),
        ]
        for name, counts in result.outcomes.items()
    ]
    print(tabulate(rows, ["attribute", "field", *OUTCOMES, "probability on labels %"], disable_numparse=True))
    rate = result.asked / tally.seconds if tally.seconds else float("inf")
    print(f"{result.asked} {unit} asked, {result.skipped} skipped, {tally.seconds:.1f} s, {rate:.1f} {unit}/s")
    if tally.small:
        print(f"{tally.small} {unit} are small, of less than {SMALL_PX} pixels")
    if result.pictures_without:
        print(f"{result.pictures_without} pictures have no face to ask about")
    if result.usage:
        print(_usage(result.usage))
    for reason, count in tally.reasons.most_common(5):
        print(f"  {count} x {reason}")
    for warning in result.warnings:
        print(f"Warning: {warning}")


def _usage(usage: Mapping[str, Any]) -> str:
    """What a model behind an API took, in one line."""
    cost = "" if usage["dollars"] is None else f", ${usage['dollars']:,.4f}"
    return (
        f"{usage['requests']:,} requests ({usage['retries']:,} again), {usage['cached']:,} answers from the cache, "
        f"{usage['input_tokens']:,} + {usage['output_tokens']:,} tokens{cost}"
    )
