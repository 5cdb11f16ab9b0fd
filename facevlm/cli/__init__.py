"""The command line: facevlm demo | load | check | detect | predict | ask | evaluate | report | models and more."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import facevlm
from facevlm.cli import (
    _options,
    apply,
    ask,
    batch,
    cache,
    check,
    compare,
    demo,
    describe,
    detect,
    evaluate,
    listing,
    load,
    paper,
    plugin,
    power,
    probe,
    report,
    review,
    screen,
    sensitivity,
    train,
    truth,
)
from facevlm.errors import FacevlmError, FacevlmWarning, InputError
from facevlm.tasks._stopping import Terminated, stopping

COMMANDS = (
    demo,
    load,
    truth,
    check,
    detect,
    apply,
    describe,
    ask,
    evaluate,
    review,
    report,
    compare,
    sensitivity,
    power,
    train,
    paper,
    probe,
    listing,
    plugin,
    cache,
    batch,
)

KEPT = "What was answered is kept; the same command goes on from there."
"""What is said of a command that was stopped, where its ``stopped`` says nothing else."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure or where nothing of what was asked was answered, 2 for
    bad input, 130 when stopped by Ctrl-C, 143 by SIGTERM and 129 by SIGHUP."""
    with screen.shown():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    with screen.aside(args), stopping(), warnings.catch_warnings():
        # They are printed beside the result.
        warnings.simplefilter("ignore", FacevlmWarning)
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    try:
        status = int(args.run(args) or 0)
        sys.stdout.flush()
        return status
    except screen.Unheard as error:
        # A pipe that is closed, as by 'head', needs no word.
        if error.errno != errno.EPIPE:
            with contextlib.suppress(OSError):
                print(f"facevlm: Cannot print: {error.strerror}.", file=sys.stderr, flush=True)
        screen.silence()
        return 1
    except FacevlmError as error:
        print(f"facevlm: {screen.in_flags(str(error), args.flags)}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt as stop:
        by, status = (f" by {stop}", stop.status) if isinstance(stop, Terminated) else ("", 130)
        with contextlib.suppress(OSError):
            # The terminal may be gone: that is what SIGHUP says.
            print(f"facevlm: stopped{by}. {getattr(args, 'stopped', KEPT)}", file=sys.stderr, flush=True)
        return status
    except Exception as error:
        if (sentence := _of_database(error)) is None:
            raise
        print(f"facevlm: {sentence}", file=sys.stderr)
        return 1


def _of_database(error: Exception) -> str | None:
    """What the database said; what knows that is imported by whoever reached it, and takes seconds."""
    module = sys.modules.get("facevlm.store.database")
    sentence: str | None = module.told(error) if module else None
    return sentence


class Parser(argparse.ArgumentParser):
    """A parser whose errors take two lines, and which leaves with the arguments the flags that they came by."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\nSee: {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        flags = {a.dest: a.option_strings[-1] for a in self._actions if a.option_strings}
        found.flags = flags | getattr(found, "flags", {})
        return found, rest


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    top = Parser(
        prog="facevlm",
        description="Perceived face attributes by vision-language models, in FiftyOne, evaluated against ground truth.",
        epilog=f"{_options.STATUS} Labels say what a model perceives in a picture, not what a person is.",
    )
    top.add_argument("--version", action="version", version=f"facevlm {facevlm.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top
