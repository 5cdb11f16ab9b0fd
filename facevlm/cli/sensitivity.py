"""facevlm sensitivity: how much answers depend on how a model is asked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options
from facevlm.evaluation.groups import SMALL
from facevlm.reports import text as report

if TYPE_CHECKING:
    from facevlm.evaluation.comparison import FlipRates
    from facevlm.tasks.sensitivity import Sensitivity


def add(commands: Any) -> None:
    command = commands.add_parser(
        "sensitivity",
        help="tell how much answers depend on how a model is asked",
        description="Asks about the same faces in several wordings and, where the prompt lists the labels, in several "
        "orders of these, and prints how often answers flip, overall and per group. Every wording is a run of its own "
        "under a prefix of its own; run again, it asks only what has no answer yet. Ground truth is not needed.",
        epilog=_options.STATUS,
    )
    _options.add_question(command, prompts=False)
    command.add_argument("--prefix", help="wordings are runs PREFIX_w0, PREFIX_w1, ... (default: MODEL_words)")
    command.add_argument(
        "--paraphrase",
        type=_options.pair,
        action="append",
        default=[],
        metavar="ATTRIBUTE=TEXT",
        help="another wording instead of the shipped ones, may be repeated; with {labels} in it, the whole prompt",
    )
    command.add_argument(
        "--orders", type=int, default=3, help="orders of the labels where the prompt lists them (default: 3)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the orders (default: 0)")
    command.add_argument("--groups", type=_options.names, default=[], help="fields by which flips are shown")
    command.add_argument(
        "--truth", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    command.add_argument("--overwrite", action="store_true", help="ask every face again")
    _options.add_json(command)
    _options.add_running(command)
    _options.add_model(command)
    command.set_defaults(run=_sensitivity)


def _sensitivity(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    paraphrases: dict[str, list[str]] = {}
    for name, text in args.paraphrase:
        paraphrases.setdefault(name, []).append(text)
    results = facevlm.sensitivity(
        _options.target(args),
        args.model,
        args.attributes,
        prefix=args.prefix,
        paraphrases=paraphrases,
        orders=args.orders,
        seed=args.seed,
        groups=args.groups,
        ground_truth=dict(args.truth),
        overwrite=args.overwrite,
        **_options.told(args),
        **_options.running(args),
    )
    if not results:
        return 0
    for result in results:
        _print(result)
    print(
        "\nFigures in per cent. flipped: faces with more than one answer over the wordings, with the 95 % Wilson "
        "interval. flip rate: share\nof wordings whose answer is not the face's most frequent one, mean over faces, "
        f"with its 95 % bootstrap interval. * fewer than {SMALL} faces."
    )
    _options.write_json(args.json, [r.to_dict() for r in results])
    return _options.answered(max(r.unanswered for r in results), sum(r.flips.n for r in results))


def _print(result: Sensitivity) -> None:
    print(f"\n{result.attribute}\n{'=' * len(result.attribute)}\n")
    rows = [
        [
            w.prefix,
            w.prompt,
            str(w.n),
            report.share(w.differs),
            report.share(w.accuracy),
            f"{report.share(w.low)} - {report.share(w.high)}",
        ]
        for w in result.wordings
    ]
    header = ["prefix", "prompt", "n", "unlike the first", "accuracy", report.INTERVAL]
    shown = len(header) if result.ground_truth else 4
    print(tabulate([r[:shown] for r in rows], header[:shown], maxcolwidths=[None, 48], disable_numparse=True))
    parts = {"wording alone": result.by_paraphrase, "order of labels alone": result.by_order}
    rates = [("all wordings", result.flips), *((name, rate) for name, rate in parts.items() if rate)]
    print("\n" + _rates("over", rates))
    for name, groups in result.groups.items():
        print("\n" + _rates(name, [(g.group, g) for g in groups]))
    if result.spread:
        spread = result.spread
        print(
            f"\nMost accurate {spread.a}, least {spread.b}: difference {report.share(spread.difference)} "
            f"({report.share(spread.low)} - {report.share(spread.high)})"
        )
    if result.unanswered:
        print(f"\nFaces without an answer in any wording, left out: {result.unanswered}")
    print("\n" + "\n".join((*result.notes, f"Per face: field {result.field}, saved view {result.view}")))


def _rates(name: str, rates: list[tuple[str, FlipRates]]) -> str:
    rows = [
        [*report.flip_cells(rate, label), report.share(rate.mean), _interval(rate.mean_low, rate.mean_high)]
        for label, rate in rates
    ]
    header = [name, "n", "flipped", report.INTERVAL, "flip rate", "95 % bootstrap"]
    return tabulate(rows, header, disable_numparse=True)


def _interval(low: float, high: float) -> str:
    return f"{report.share(low)} - {report.share(high)}"
