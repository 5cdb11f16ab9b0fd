"""Options of models behind an API, and the question before a run that costs more than a little."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from facevlm.backends import Briefing, Remote
from facevlm.backends.briefings import CONFIRM_ABOVE
from facevlm.backends.remote.options import DETAILS, ORDERS
from facevlm.errors import InputError

DEFAULTS = Remote()
WHOLE = {
    "concurrency": "most requests in flight",
    "attempts": "how often a face is asked at most",
    "samples": "ask so often and take the vote; its share is the confidence",
    "max_tokens": "most tokens of an answer",
    "max_side": "longest side of a sent picture, in pixels (default: 512, or what costs least)",
    "quality": "JPEG quality of a sent picture",
}
NUMBERS = {
    "requests_per_minute": "most requests a minute (default: no limit of ours)",
    "tokens_per_minute": "most tokens a minute (default: no limit of ours)",
    "timeout": "seconds for one request as a whole",
    "max_failures": "share of failed faces above which the run stops",
    "budget": "US dollars before which the run stops (default: none)",
    "temperature": "of sampling (default: 0, or 1 with --samples)",
}
TEXTS = {
    "base_url": "server (default: that of the model's own service)",
    "key_name": "name of the environment variable or keyring entry that holds the key",
    "template": "wording: face, main-person, or a YAML file",
    "wording": "questions in other words: plain, expression, or those of the YAML file",
    "prices": "YAML file of prices",
}
CHOICES = {"detail": (DETAILS, "how closely pictures are looked at"), "order": (ORDERS, "of the labels in the prompt")}


def add(command: Any) -> None:
    """A group of options for models behind an API."""
    group = command.add_argument_group("models behind an API (gpt-4o, gemini-flash, openai:MODEL)")
    for kind, table in ((int, WHOLE), (float, NUMBERS), (str, TEXTS)):
        for name, text in table.items():
            group.add_argument(_flag(name), type=kind, default=getattr(DEFAULTS, name), help=_help(name, text))
    for name, (choices, text) in CHOICES.items():
        group.add_argument(_flag(name), choices=choices, default=getattr(DEFAULTS, name), help=_help(name, text))
    group.add_argument("--no-cache", action="store_true", help="neither use nor keep replies on disk")


def add_confirmation(command: Any) -> None:
    """What to do about the question before a run."""
    command.add_argument(
        "--dry-run", action="store_true", help="say where pictures would go and at what cost, and stop"
    )
    command.add_argument(
        "--yes", action="store_true", help=f"do not ask before API runs of more than ${CONFIRM_ABOVE:g}"
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(name: str, text: str) -> str:
    default = getattr(DEFAULTS, name)
    if default is None:
        return text
    return f"{text} (default: {default:g})" if isinstance(default, (int, float)) else f"{text} (default: {default})"


def options(args: argparse.Namespace) -> Remote:
    """What the arguments say."""
    names = (*WHOLE, *NUMBERS, *TEXTS, *CHOICES)
    return Remote(**{name: getattr(args, name) for name in names}, cache="off" if args.no_cache else "on")


def confirmation(args: argparse.Namespace) -> Callable[[Briefing], bool]:
    """Says where pictures go, and asks before a run that costs more than a little and has no budget."""

    def confirm(briefing: Briefing) -> bool:
        print(briefing.text, file=sys.stderr)
        if args.dry_run:
            return False
        dear = briefing.dollars is not None and briefing.dollars > CONFIRM_ABOVE
        if not dear or args.yes or args.budget is not None:
            return True
        if sys.stdin.isatty():
            return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
        raise InputError(f"The run may cost more than ${CONFIRM_ABOVE:g}. Add --yes, or set a --budget.")

    return confirm
