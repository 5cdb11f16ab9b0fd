"""facevlm power: how many faces a gap between groups takes to be found, or which gap so many faces can find."""

from __future__ import annotations

import argparse
from typing import Any

import facevlm
from facevlm.cli import _options
from facevlm.errors import InputError


def add(commands: Any) -> None:
    power = commands.add_parser(
        "power",
        help="how many faces a gap between groups takes to be found, or which gap so many faces can find",
        description="Says how many faces of each group it takes to find that one group is served worse than all "
        "others, by the test whose p 'facevlm evaluate' prints beside a gap; with --n, which gap so many faces can "
        "find. Shares are of 1: 0.05 is 5 points of accuracy. Simulated; no dataset is needed.",
    )
    power.add_argument("gap", nargs="?", type=float, help="how much worse the one group is served, such as 0.05")
    power.add_argument("--groups", type=int, required=True, help="how many groups are compared, 2 to 100")
    power.add_argument(
        "--base-rate", type=float, required=True, metavar="SHARE", help="accuracy of the other groups, such as 0.85"
    )
    power.add_argument(
        "--n",
        type=_sizes,
        metavar="N[,N...]",
        help="faces of each group, one number or one for every group, to be told the gap; groups of fewer than 30 are "
        "not compared",
    )
    power.add_argument("--alpha", type=float, default=0.05, help="the largest p of a gap that is found (default: 0.05)")
    power.add_argument(
        "--power", type=float, default=0.8, help="the share of samples in which it has to be found (default: 0.8)"
    )
    _options.add_json(power, "the figures")
    power.set_defaults(run=_power)


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected whole numbers such as 200 or 30,60,400") from None


def _power(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    if args.gap is None and args.n is None:
        raise InputError("Got neither a gap nor --n, expected one of both, such as 'facevlm power 0.05' or '--n 200'.")
    n = args.n[0] if args.n and len(args.n) == 1 else args.n
    found = facevlm.power(args.gap, args.groups, args.base_rate, n=n, alpha=args.alpha, power=args.power)
    print(found.told)
    _options.write_json(args.json, found.to_dict())
