"""facevlm probe: what a model really answers."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.backends import cards
from facevlm.cli import _options

if TYPE_CHECKING:
    from facevlm.tasks.probe import AttributeProbe

SHOWN = 20
STOPPED = "A probe begins anew; replies that are in the cache are not asked for again."


def add(commands: Any) -> None:
    probe = commands.add_parser(
        "probe",
        help="tally what a model really answers, and propose answer strings",
        description="Asks a model freely about some faces of a dataset and prints every string it answers with, the "
        "label it is read as or might be read as, and how much probability lies on the labels. Nothing is stored.",
        epilog=_options.STATUS,
    )
    _options.add_question(probe)
    probe.add_argument("--faces", type=int, default=50, help="how many, drawn at random (default: 50)")
    probe.add_argument("--seed", type=int, default=0, help="of the drawing (default: 0)")
    probe.add_argument("--batch-size", type=int, default=16, help="pictures per forward pass (default: 16)")
    _options.add_json(probe, "everything")
    _options.add_model(probe)
    probe.set_defaults(run=_probe, stopped=STOPPED)


def _probe(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    results = facevlm.probe(
        _options.target(args),
        args.model,
        args.attributes,
        faces=args.faces,
        seed=args.seed,
        prompts=dict(args.prompt),
        batch_size=args.batch_size,
        **_options.told(args),
    )
    for result in results:
        _print_probe(result)
    _options.write_json(args.json, [r.to_dict() for r in results])
    return _options.answered(max((r.n for r in results), default=0), sum(len(r.answers) for r in results))


def _print_probe(result: AttributeProbe) -> None:
    print(f"\n{result.attribute}: {result.prompt}")
    rows = [
        [repr(a.text), a.count, a.label or "", "" if a.label else a.proposal or "none"] for a in result.answers[:SHOWN]
    ]
    print(tabulate(rows, ["answer", "count", "read as", "might mean"], maxcolwidths=[60, 8, 24, 24]))
    if len(result.answers) > SHOWN:
        print(f"... and {len(result.answers) - SHOWN} more strings; --json FILE holds all.")
    print(f"{result.readable:.0%} of {result.n} answers are read as a label.", end="")
    if result.coverage is not None:
        print(f" On average {result.coverage:.1%} of the probability lies on the labels.", end="")
    if result.agreement is not None:
        print(f" The label scored is the one said for {result.agreement:.0%} of {result.n_compared}.", end="")
    proposed = {label: said for label, said in result.proposed_forms().items() if said}
    print(f"\nforms for {cards.CARD_FILE}, to be checked by eye: {json.dumps({result.attribute: proposed})}")
