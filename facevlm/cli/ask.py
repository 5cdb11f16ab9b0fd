"""facevlm ask: ask about faces in words."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import facevlm
from facevlm.cli import _options
from facevlm.cli.apply import plain, print_applied, status
from facevlm.detection import FIELD
from facevlm.evaluation.evaluate import to_plain

if TYPE_CHECKING:
    from facevlm.tasks.ask import AskResult, Proposal


def add(commands: Any) -> None:
    command = commands.add_parser(
        "ask",
        help="ask about faces in words, such as 'age group and emotion of the child'",
        description="Reads a request in English words, says what it will do, picks the faces, and asks only the "
        "attributes that are named. The faces are in a field of Detections, which 'facevlm detect' makes.",
        epilog=_options.STATUS,
    )
    _options.add_target(command)
    command.add_argument("request", help="such as 'emotion of the leftmost woman' or 'everyone wearing glasses'")
    command.add_argument("--model", default="demo", help="see 'facevlm models' (default: demo)")
    command.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    command.add_argument("--faces", default=FIELD, help=f"field of Detections with the faces (default: {FIELD})")
    _options.add_prefix(command)
    command.add_argument(
        "--grounding",
        metavar="MODEL",
        help="says whom a phrase fits: openai:MODEL, paligemma, florence-2 (default: the model, if behind an API)",
    )
    command.add_argument(
        "--planner", metavar="MODEL", help="reads what the grammar cannot, from the words alone: openai:MODEL"
    )
    command.add_argument("--save-view", metavar="NAME", help="save the picked faces as a view")
    _options.add_running(command)
    _options.add_model(command, ask=False)
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    command.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    _options.add_json(command, "the plan and who was picked")
    command.set_defaults(run=_ask)


def _ask(args: argparse.Namespace) -> int:
    _options.check_json(args.json)
    target = _options.target(args)
    if args.save_view:
        _views().check_free(target._root_dataset, args.save_view)
    result = facevlm.ask(
        target,
        args.request,
        model=args.model,
        faces=args.faces,
        prefix=args.prefix,
        grounding=args.grounding,
        planner=args.planner,
        confirm=lambda proposal: _confirmed(args, proposal),
        confirm_sending=_options.confirmation(args),
        options=_options.options(args),
        progress=_options.seen(),
        registry=_options.registry(args.attributes_file),
        **_options.running(args),
    )
    if result.agreed:
        _print(result)
        if args.save_view:
            _save_view(result, args.save_view)
    _options.write_json(args.json, _plain(result))
    if result.applied is not None:
        return status(result.applied)
    unknown = sum(result.undecided.values())
    return _options.answered(unknown, len(result.faces) + result.considered - unknown)


def _plain(result: AskResult) -> dict[str, Any]:
    """What was understood and done, JSON-able; the view is that of the faces."""
    told = {name: value for name, value in vars(result).items() if name not in ("applied", "view")}
    applied = None if result.applied is None else plain(result.applied)
    return dict(to_plain({**told, "plan": asdict(result.plan), "applied": applied}))


def _views() -> ModuleType:
    """Loaded when it is used: it takes FiftyOne."""
    from facevlm.store import views

    return views


def _save_view(result: AskResult, name: str) -> None:
    if result.faces:
        _views().keep(result.view._root_dataset, name, result.view, result.plan.request)
    else:
        print(f"No view '{name}' is saved, since nobody is picked.")


def _confirmed(args: argparse.Namespace, proposal: Proposal) -> bool:
    """Show the plan; at a terminal, ask whether to go on."""
    print(proposal.text, file=sys.stderr)
    if args.dry_run:
        return False
    return bool(args.yes) or not _options.is_asked() or _options.agreed()


def _print(result: AskResult) -> None:
    if result.applied is not None:
        print_applied(result.applied)
    print(result.summary)
