"""facevlm review: predictions approved by a threshold, or decided about one by one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options
from facevlm.datasets import files
from facevlm.datasets.records import Log
from facevlm.errors import InputError
from facevlm.store.schema import OUTCOME

if TYPE_CHECKING:
    from facevlm.store.reviews import Standing
    from facevlm.tasks.review import Decided, Review

STOPPED = "What was decided is kept; the same command goes on from there."
DESCRIPTION = (
    "Without an action it prints how far the review is. The predictions under a prefix become labels of "
    "ATTRIBUTE_reviewed: at once from a threshold on (--approve), or one by one (--queue lists faces, --decide and "
    "--decisions write). Each label keeps who decided, when, and what was shown. Ground truth of yours stays as it is."
)


def add(commands: Any) -> None:
    review = commands.add_parser(
        "review",
        help="approve, change or discard predictions, and see what to label next",
        description=DESCRIPTION,
        epilog="Only faces of the order 'random' are a sample by which the model can be judged: see docs/review.md.",
    )
    review.add_argument("dataset", help="name of a FiftyOne dataset")
    review.add_argument("--view", help="only the samples of this saved view")
    review.add_argument("--attribute", required=True, help="whose predictions are reviewed, such as gender")
    review.add_argument("--prefix", default="demo", help="field prefix of the predictions (default: demo)")
    review.add_argument("--field", help="where reviewed labels go (default: ATTRIBUTE_reviewed)")
    review.add_argument("--agree", action="store_true", help="agree that --field is one of yours, and is written to")
    review.add_argument("--faces", help="for predictions on faces, their field of Detections (default: the only one)")
    review.add_argument(
        "--runs", type=_options.names, default=(), help="whose answers, by model or stamp, where a field holds several"
    )
    review.add_argument("--by", help="who decides, kept with every label")
    review.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    _options.add_json(review, "progress and queue")
    _add_actions(review.add_argument_group("actions, one at a time"))
    _add_queue(review.add_argument_group("what comes next"))
    review.set_defaults(run=_review, stopped=STOPPED)


def _add_actions(group: Any) -> None:
    actions = group.add_mutually_exclusive_group()
    actions.add_argument(
        "--approve", type=float, metavar="THRESHOLD", help="approve all answers of at least this confidence at once"
    )
    actions.add_argument("--queue", action="store_true", help="list the faces that come next, with their ids")
    actions.add_argument(
        "--decide",
        type=_options.pair,
        action="append",
        metavar="ID=DECISION",
        help="approve, a label, unclear, discard or skip",
    )
    actions.add_argument("--decisions", type=Path, metavar="CSV", help="a table with the columns id and decision")
    actions.add_argument(
        "--undo", nargs="?", const="", metavar="ACT", help="bring back what stood there (default: your last act)"
    )
    group.add_argument("--yes", action="store_true", help="do not ask before an approval of many")
    group.add_argument("--overwrite", action="store_true", help="decide also where somebody decided meanwhile")


def _add_queue(group: Any) -> None:
    group.add_argument(
        "--order",
        choices=("unsure", "groups", "random"),
        help="of the queue (default: unsure); with a decision, how its faces were chosen (default: picked)",
    )
    group.add_argument("--label", help="only faces about which this was said")
    group.add_argument("--groups", metavar="FIELD", help="a field to group by, tag:NAME for a tag")
    group.add_argument(
        "--half-width", type=float, default=0.05, help="wanted half width of a group's 95 %% interval (default: 0.05)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the random draw (default: 0)")
    group.add_argument("--limit", type=int, default=20, help="faces listed (default: 20)")


def _review(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    review = facevlm.review(
        facevlm.sources.load(args.dataset, args.view),
        args.attribute,
        prefix=args.prefix,
        field=args.field,
        faces=args.faces,
        runs=args.runs,
        by=args.by,
        agreed=args.agree,
        registry=_options.registry(args.attributes_file),
    )
    queue = _queue(review, args) if args.queue else []
    _act(review, args)
    _print_progress(review, args)
    if args.json:
        listed = [{"id": f.id, "said": f.said, "confidence": f.confidence, OUTCOME: f.outcome} for f in queue]
        plain = review.to_dict(args.groups, half_width=args.half_width) | {"queue": listed}
        _options.write_json(args.json, plain)


def _act(review: Review, args: argparse.Namespace) -> None:
    if args.approve is not None:
        _agree(review, args.approve, args.yes)
        _print_done(review.approve(args.approve))
    elif args.undo is not None:
        _print_done(review.undo(args.undo or None))
    elif args.decide or args.decisions:
        decisions = _read(args.decisions) if args.decisions else args.decide
        _print_done(review.decide(_once(decisions), chosen=args.order, overwrite=args.overwrite))


def _agree(review: Review, threshold: float, yes: bool) -> None:
    split = review.split(threshold)
    text = f"{split.sure:,} of {split.waiting:,} answers of at least {threshold:g} are approved into '{review.field}'."
    print(text, file=sys.stderr)
    if yes or not split.sure:
        return
    if not _options.is_asked():
        raise InputError(f"{text} Nobody looks at them: add --yes to agree.")
    if not _options.agreed():
        raise InputError("Nothing was approved.")


def _read(path: Path) -> list[tuple[str, str]]:
    """The rows of a table of decisions."""
    broken = Log()
    try:
        rows = [row for _, row in files.rows(path, ("id", "decision"), broken)]
    except OSError as error:
        raise InputError(
            f"Cannot read decisions from '{path}': {error.strerror or error}. Expected a CSV file."
        ) from error
    if broken.count:
        raise InputError(f"Got rows that cannot be read, expected none: {'; '.join(broken.rows[:3])}.")
    return [(row["id"].strip(), row["decision"].strip()) for row in rows]


def _once(decisions: Sequence[tuple[str, str]]) -> dict[str, str]:
    made: dict[str, str] = {}
    for face, decision in decisions:
        if made.setdefault(face, decision) != decision:
            raise InputError(f"Got two decisions about face '{face}': {made[face]} and {decision}. Expected one.")
    return made


def _queue(review: Review, args: argparse.Namespace) -> list[Standing]:
    queue = review.queue(
        args.order or "unsure",
        label=args.label,
        groups=args.groups,
        half_width=args.half_width,
        seed=args.seed,
        limit=args.limit,
    )
    rows = [[f.id, f.said or f.outcome, "-" if f.confidence is None else f"{f.confidence:.3f}"] for f in queue]
    print(tabulate(rows, ["id", "said", "confidence"], disable_numparse=True) + "\n")
    return queue


def _print_done(done: Decided) -> None:
    print(f"{done.written:,} written to '{done.field}' (act {done.act}).")
    for kept in done.kept:
        print(f"Left as it is: {kept.id}: {kept.reason}")
    for warning in done.warnings:
        print(f"Warning: {warning}")


def _print_progress(review: Review, args: argparse.Namespace) -> None:
    rows = [
        [p.group, p.n, p.seen, p.bulk, p.labelled, p.unclear, p.discarded, p.skipped, p.left, p.needed, p.lacking]
        for p in review.progress(args.groups, half_width=args.half_width)
    ]
    header = [
        "group",
        "faces",
        "seen",
        "bulk",
        "labelled",
        "unclear",
        "discarded",
        "skipped",
        "left",
        "needed",
        "lacking",
    ]
    print(tabulate(rows, header, disable_numparse=True))
    print(f"needed: faces to see for a 95 % interval of +-{100 * args.half_width:g} points. Labels: '{review.field}'.")
