"""facevlm describe: all people of pictures, by a model behind an API."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.backends.options import MARKS, SCENE
from facevlm.cli import _options
from facevlm.cli.apply import plain, print_applied

if TYPE_CHECKING:
    from facevlm.tasks.describe import DescribeResult


def add(commands: Any) -> None:
    command = commands.add_parser(
        "describe",
        help="describe all people of pictures by a model behind an API",
        description="Asks once per picture about everybody in it, or about those whom a phrase fits, and stores "
        "Detections PREFIX_ATTRIBUTE and, with answers in words, PREFIX_people. Run again, it asks only about pictures "
        "that have no whole answer yet.",
        epilog=_options.STATUS,
    )
    _options.add_question(command, prompts=False)
    command.add_argument(
        "--free", type=_options.names, default=[], help="answered in words: hair,clothing,posture,action or your own"
    )
    command.add_argument(
        "--ask",
        type=_options.pair,
        action="append",
        default=[],
        metavar="NAME=QUESTION",
        help="a free question in words",
    )
    command.add_argument("--who", help="only those whom this phrase fits (default: everybody)")
    command.add_argument("--faces", help="field of Detections with the known faces (default: the model finds them)")
    command.add_argument(
        "--mark",
        choices=MARKS,
        help="draw numbers on the known faces, or send their crops (default: ask for boxes)",
    )
    _options.add_prefix(command)
    command.add_argument("--overwrite", action="store_true", help="ask about every picture again")
    _options.add_model(command, local=False, usual=SCENE)
    _options.add_json(command, "counts and fields")
    command.set_defaults(run=_describe)


def _describe(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    result = facevlm.describe(
        _options.target(args),
        args.model,
        args.attributes,
        free=dict.fromkeys(args.free, "") | dict(args.ask),
        who=args.who,
        faces=args.faces,
        mark=args.mark,
        prefix=args.prefix,
        overwrite=args.overwrite,
        **_options.told(args),
    )
    if result.asked or not args.dry_run:
        _print(result)
    _options.write_json(args.json, plain(result))
    described = sum(result.pictures.get(outcome, 0) for outcome in ("ok", "no_face"))
    return _options.answered(result.asked, max(described, _options.answers(result.outcomes)), "pictures")


def _print(result: DescribeResult) -> None:
    print_applied(result, "pictures")
    if result.asked:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(result.pictures.items()))
        print(
            f"{result.people} people in {result.people_field}; pictures: {counts}; wrong counts: {result.wrong_counts}"
        )
