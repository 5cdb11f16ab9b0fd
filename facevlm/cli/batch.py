"""facevlm batch: hand in questions to a model behind an API as batches, and collect the answers later."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options
from facevlm.evaluation.evaluate import to_plain
from facevlm.types import OUTCOMES

if TYPE_CHECKING:
    from facevlm.backends.remote.batches import State


def add(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="ask a model behind an API by batches: half the price, within a day",
        description="Hands in the questions of 'facevlm apply' as files, tells how far they are, and stores the "
        "answers. Each step may be another process, on another day.",
    )
    steps = batch.add_subparsers(required=True, metavar="STEP")
    _add_submit(steps)
    for name, run, text in (
        ("status", _status, "how far the batches are"),
        ("collect", _collect, "store the answers of all batches that are over"),
        ("cancel", _cancel, "ask to cancel what is not over"),
    ):
        step = steps.add_parser(name, help=text, description=text, epilog=_options.STATUS)
        step.add_argument("dataset", help="name of a FiftyOne dataset")
        step.add_argument("--prefix", help="field prefix of the batches (default: the last that were handed in)")
        step.add_argument("--wait", action="store_true", help="until all batches are over")
        if run is _collect:
            step.add_argument(
                "--overwrite", action="store_true", help="also in the place of what another model answered meanwhile"
            )
        _options.add_json(step, "what it tells")
        step.set_defaults(run=run, stopped="The batches go on; the same command looks again.")
    listed = steps.add_parser(
        "list", help="what was handed in", description="The batches of a dataset, as noted in it."
    )
    listed.add_argument("dataset", help="name of a FiftyOne dataset")
    _options.add_json(listed, "what was handed in")
    listed.set_defaults(run=_list)


def _add_submit(steps: Any) -> None:
    submit = steps.add_parser(
        "submit",
        help="hand in the questions",
        description="Words the requests of 'facevlm apply' and hands them in as files.",
        epilog=_options.STATUS,
    )
    _options.add_question(submit)
    _options.add_faces(submit)
    _options.add_prefix(submit)
    submit.add_argument("--overwrite", action="store_true", help="ask every face again")
    _options.add_model(submit, local=False)
    _options.add_json(submit, "what was handed in")
    submit.set_defaults(run=_submit, stopped="What was handed in can be collected.")


def _submit(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    done = facevlm.batch.submit(
        _options.target(args),
        args.model,
        args.attributes,
        **_options.faces(args),
        prefix=args.prefix,
        prompts=dict(args.prompt),
        overwrite=args.overwrite,
        **_options.told(args),
    )
    _options.write_json(args.json, to_plain(vars(done)))
    if args.dry_run:
        return 0
    print(f"{done.faces} faces in {len(done.batches)} batches, {done.skipped} had their answers, {done.answered} from")
    print(f"the reply cache, {done.unread} cannot be read, {done.left} are left.")
    if not done.batches:
        return _options.answered(done.unread, done.answered)
    print(f"Later: facevlm batch collect {args.dataset} --prefix {done.prefix}")
    return 0


def _list(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    known = facevlm.batch.overview(facevlm.sources.load(args.dataset))
    rows = [[o.prefix, o.model, o.status, o.batches, o.collected] for o in known]
    print(tabulate(rows, ["prefix", "model", "status", "batches", "collected"]) if rows else "No batch was handed in.")
    _options.write_json(args.json, [vars(o) for o in known])


def _status(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    with facevlm.batch.Batches(facevlm.sources.load(args.dataset), args.prefix) as batches:
        if args.wait:
            batches.wait(lambda states: _print(states, batches))
        states = batches.states()
        if not args.wait:
            _print(states, batches)
        known = [{**vars(s), "collected": batches.is_collected(s.id)} for s in states]
    _options.write_json(args.json, to_plain(known))


def _print(states: list[State], batches: Any) -> None:
    rows = [
        [s.id, s.status, s.total, s.done, s.failed, "yes" if batches.is_collected(s.id) else "no", s.problem]
        for s in states
    ]
    print(tabulate(rows, ["batch", "status", "requests", "done", "failed", "collected", "problem"]))


def _collect(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    result = facevlm.batch.collect(
        facevlm.sources.load(args.dataset), args.prefix, wait=args.wait, overwrite=args.overwrite
    )
    rows = [[name, *(counts.get(o, 0) for o in OUTCOMES)] for name, counts in result.outcomes.items()]
    if rows:
        print(tabulate(rows, ["attribute", *OUTCOMES]))
    cost = "" if result.dollars is None else f", ${result.dollars:,.4f}"
    print(
        f"{result.collected} batches collected, {result.waiting} waiting; "
        f"{result.input_tokens:,} + {result.output_tokens:,} tokens{cost}"
    )
    if result.gone:
        print(f"{result.gone} answers are about faces that are no longer there")
    if result.kept:
        print(f"{result.kept} failures were left out: those faces have an answer by now")
    for reason, count in list(result.reasons.items())[:5]:
        print(f"  {count} x {reason}")
    _options.write_json(args.json, to_plain(vars(result)))
    asked = max((sum(counts.values()) for counts in result.outcomes.values()), default=0)
    return _options.answered(asked, _options.answers(result.outcomes))


def _cancel(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    states = facevlm.batch.cancel(facevlm.sources.load(args.dataset), args.prefix)
    for state in states:
        print(f"{state.id}: {state.status}")
    _options.write_json(args.json, to_plain([vars(state) for state in states]))
