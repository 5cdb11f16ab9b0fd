"""facevlm predict: apply a model to a dataset."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm import report
from facevlm.backends import DECODES, cards
from facevlm.cli import _options, _remote
from facevlm.cli.detect import print_detected
from facevlm.crops import Crop
from facevlm.detection import FIELD
from facevlm.types import OUTCOMES, SMALL_PX

if TYPE_CHECKING:
    from facevlm.api import ApplyResult


def add(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="apply a model to a FiftyOne dataset",
        description="Predicts perceived attributes of the face in every picture and stores them as label fields "
        "PREFIX_ATTRIBUTE. Run again, it asks only what has no answer yet.",
    )
    _options.add_question(predict)
    predict.add_argument("--faces", help="ask about every face in this field of Detections (default: whole pictures)")
    predict.add_argument("--detect", action="store_true", help="find faces first, in pictures that were not searched")
    predict.add_argument("--face-labels", type=_options.names, default=[], help="only Detections with these labels")
    predict.add_argument("--min-confidence", type=float, help="only Detections of at least this confidence")
    predict.add_argument("--min-face-px", type=int, help="leave out faces with a shorter side of fewer pixels")
    predict.add_argument(
        "--margin", type=float, help="around a face, as a share of its box (default: the model's own, else 0.25)"
    )
    predict.add_argument("--align", action="store_true", help="turn faces so that the eyes are level")
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
    target, faces = _options.target(args), args.faces
    if args.detect:
        faces = faces or FIELD
        print_detected(facevlm.detect(target, faces))
    result = facevlm.apply(
        target,
        args.model,
        args.attributes,
        faces=faces,
        face_labels=args.face_labels,
        min_confidence=args.min_confidence,
        min_face_px=args.min_face_px,
        crop=_crop(args),
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


def _crop(args: argparse.Namespace) -> Crop | None:
    """How faces are cut out, None for the model's own way."""
    usual = cards.find(args.model).crop()
    margin = usual.margin if args.margin is None else args.margin
    return replace(usual, margin=margin, align=args.align)


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
            report.share(tally.coverage().get(name, math.nan)),
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
