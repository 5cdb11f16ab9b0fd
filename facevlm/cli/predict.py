"""facevlm predict: apply a model to a dataset."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.backends import DECODES
from facevlm.cli import _options, _remote
from facevlm.cli.detect import print_detected
from facevlm.detection import FIELD
from facevlm.reports import text
from facevlm.types import OUTCOMES, SMALL_PX

if TYPE_CHECKING:
    from facevlm.tasks.apply import ApplyResult


def add(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="apply a model to a FiftyOne dataset",
        description="Predicts perceived attributes of the face in every picture and stores them as label fields "
        "PREFIX_ATTRIBUTE. Run again, it asks only what has no answer yet.",
    )
    _options.add_question(predict)
    _options.add_faces(predict)
    predict.add_argument("--detect", action="store_true", help="find faces first, in pictures that were not searched")
    predict.add_argument("--prefix", help="fields are named PREFIX_ATTRIBUTE (default: the model's short name)")
    predict.add_argument("--batch-size", type=int, help="pictures per forward pass (default: what fits)")
    predict.add_argument("--threads", type=int, help="decoding threads (default: one per core)")
    predict.add_argument("--overwrite", action="store_true", help="ask every face again")
    predict.add_argument(
        "--separate", action="store_true", help="one prompt per attribute even if the model has a shared one"
    )
    predict.add_argument(
        "--decode", default="score", choices=DECODES, help="exact label probabilities, or free text (default: score)"
    )
    _options.add_loading(predict)
    _remote.add(predict)
    _remote.add_confirmation(predict)
    predict.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> None:
    target = _options.target(args)
    if args.detect:
        args.faces = args.faces or FIELD
        print_detected(facevlm.detect(target, args.faces))
    result = facevlm.apply(
        target,
        args.model,
        args.attributes,
        **_options.faces(args),
        prefix=args.prefix,
        prompts=dict(args.prompt),
        batch_size=args.batch_size,
        threads=args.threads,
        overwrite=args.overwrite,
        joint=not args.separate,
        decode=args.decode,
        **_options.loading(args),
        remote=_remote.options(args),
        confirm=_remote.confirmation(args),
        registry=_options.registry(args.attributes_file),
    )
    if result.asked or not args.dry_run:
        print_applied(result)


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
