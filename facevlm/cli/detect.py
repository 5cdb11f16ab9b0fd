"""facevlm detect: find the faces of pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.cli import _options
from facevlm.detection import AUTO, TILES

if TYPE_CHECKING:
    from facevlm.tasks.detect import DetectResult


def add(commands: Any) -> None:
    command = commands.add_parser(
        "detect",
        help="find the faces of pictures",
        description="Finds faces and stores their boxes as Detections, for questions about each of them: "
        "facevlm apply DATASET --faces FIELD. Run again, it searches only pictures that were not searched yet; by "
        "another detector or with other weights it is refused.",
        epilog=_options.STATUS,
    )
    _options.add_target(command)
    command.add_argument("--field", default="faces", help="where the boxes go (default: faces)")
    add_search(command)
    command.add_argument(
        "--quality",
        action="store_true",
        help="measure size, sharpness, brightness, contrast, pose, of boxes that are there, too",
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="search every picture again; boxes that somebody drew, moved, tagged or labelled stay",
    )
    _options.add_json(command, "counts")
    command.set_defaults(run=_detect)


def add_search(command: Any) -> None:
    """How pictures are searched."""
    command.add_argument(
        "--detector",
        default=AUTO,
        metavar="NAME",
        help="yunet, haar, paligemma, florence-2, or one of an installed package (default: yunet, or haar without it)",
    )
    command.add_argument(
        "--weights",
        help="file with YuNet's weights (default: FACEVLM_YUNET, or fetched once), or a model as hf:ID-or-folder",
    )
    command.add_argument("--min-confidence", type=float, help="faces of at least this confidence (default: 0.8)")
    command.add_argument("--min-face-px", type=int, help="faces whose shorter side has at least so many pixels")
    command.add_argument("--max-faces", type=int, help="at most so many faces of a picture, the most confident ones")
    command.add_argument(
        "--tiles",
        choices=TILES,
        default=TILES[0],
        help="look at large pictures piece by piece (auto: in crowds, and before nobody is found)",
    )


def _detect(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    result = facevlm.detect(
        _options.target(args),
        args.field,
        detector=args.detector,
        min_confidence=args.min_confidence,
        min_face_px=args.min_face_px,
        max_faces=args.max_faces,
        tiles=args.tiles,
        weights=args.weights,
        quality=args.quality,
        overwrite=args.overwrite,
        progress=_options.seen(),
    )
    print_detected(result)
    _options.write_json(args.json, {**vars(result), "detector": result.detector.name, "warnings": result.warnings})
    searched = sum(result.outcomes.get(outcome, 0) for outcome in ("ok", "no_face"))
    return _options.answered(result.asked, searched, "pictures")


def print_detected(result: DetectResult) -> None:
    if not result.asked:
        print(f"Nothing to search: all {result.skipped} pictures were searched. --overwrite searches them again.")
        _print_remarks(result)
        return
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(result.outcomes.items()))
    rate = result.asked / result.seconds
    print(f"{result.faces} faces in '{result.field}', found by {result.detector.name}; pictures: {counts}")
    print(f"{result.asked} pictures searched, {result.skipped} skipped, {result.seconds:.1f} s, {rate:.1f} pictures/s")
    _print_remarks(result)


def _print_remarks(result: DetectResult) -> None:
    if result.asked or result.measured:
        print(f"Boxes in '{result.field}': {result.boxes}")
    for reason, count in result.reasons.items():
        print(f"  {count} x {reason}")
    for warning in result.warnings:
        print(f"Warning: {warning}")
