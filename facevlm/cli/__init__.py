"""The command line: facevlm demo | load | check | detect | predict | ask | evaluate | report | models and more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import facevlm
from facevlm.cli import (
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
    probe,
    report,
    sensitivity,
)
from facevlm.errors import FacevlmError, InputError

COMMANDS = (
    demo,
    load,
    check,
    detect,
    apply,
    describe,
    ask,
    evaluate,
    report,
    compare,
    sensitivity,
    paper,
    probe,
    listing,
    cache,
    batch,
)

KEPT = "What was answered is kept; the same command goes on from there."
"""What is said of a command that was stopped, where its ``stopped`` says nothing else."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for bad input, 130 when stopped."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except InputError as error:
        print(f"facevlm: {error}", file=sys.stderr)
        return 2
    except FacevlmError as error:
        print(f"facevlm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"facevlm: stopped. {getattr(args, 'stopped', KEPT)}", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    top = argparse.ArgumentParser(
        prog="facevlm",
        description="Perceived face attributes by vision-language models, in FiftyOne, evaluated against ground truth.",
        epilog="Labels say what a model perceives in a picture, not what a person is.",
    )
    top.add_argument("--version", action="version", version=f"facevlm {facevlm.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top
