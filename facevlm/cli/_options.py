"""What several commands share: kinds of arguments, groups of options, the dataset to work on.

The flags of what a model and a service can be told are made from :mod:`facevlm.backends.options`, one for each option.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import facevlm
from facevlm import attributes as attribute_registry
from facevlm.backends import Briefing, Options, Remote, cards
from facevlm.backends.briefings import CONFIRM_ABOVE, DryRun
from facevlm.backends.options import Option, described
from facevlm.errors import InputError


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"got '{text}', expected NAME=VALUE")
    return name.strip(), value.strip()


def edges(text: str) -> tuple[str, list[float]]:
    name, edges = pair(text)
    try:
        return name, [float(edge) for edge in edges.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected FIELD=NUMBERS such as age=20,40,60") from None


def registry(path: Path | None) -> attribute_registry.Registry:
    return attribute_registry.load(path) if path else attribute_registry.shipped()


STATUS = (
    "Exit status: 0; 1 for a failure, or where something was asked and nothing of it was answered; 2 for bad input; "
    "130, 143 or 129 where it was stopped by Ctrl-C, SIGTERM or SIGHUP."
)
"""For the help of all, and of commands that ask a model."""
LEFT_OUT = "facevlm_left_out"
SHOWN = 5


def answered(asked: int, ok: int, what: str = "faces") -> int:
    """The exit status of a command that asked about so many, of which so many have an answer; says where none has."""
    if ok or not asked:
        return 0
    print(f"facevlm: None of the {asked:,} {what} asked about has an answer; the reasons are above.", file=sys.stderr)
    return 1


def answers(outcomes: Mapping[str, Mapping[str, int]]) -> int:
    """How many ``ok`` answers there are among counts by attribute and outcome."""
    return sum(counts.get("ok", 0) for counts in outcomes.values())


def print_left_out(skipped: Mapping[str, Any], what: str, where: str) -> None:
    """What a reader left out, counted, and the first of it by name; ``where`` says where more is to be read."""
    for part, name in ((skipped, what), (skipped["cells"], "cell")):
        if part["count"]:
            kept = ", the rest of the row is kept" if name == "cell" else ""
            print(f"{part['count']} {name if part['count'] == 1 else f'{name}s'} left out{kept}:")
        for entry in part["reasons"]:
            print(f"  {entry['count']} x {entry['reason']}")
    for row in skipped["rows"][:SHOWN]:
        print(f"    {row}")
    if len(skipped["rows"]) > SHOWN:
        print(f"    more in {where} ({len(skipped['rows'])} of them)")


def from_folder(path: Path, *name: str, prune: bool) -> Any:
    """The dataset of the pictures in a folder; the files that are none are counted and named."""
    dataset = facevlm.sources.folder(path, *name, prune=prune)
    print_left_out(dataset.info[LEFT_OUT], "file", f"dataset.info['{LEFT_OUT}']['rows']")
    return dataset


def target(args: argparse.Namespace) -> Any:
    if args.images:
        from_folder(args.images, args.dataset, prune=args.prune)
    return facevlm.sources.load(args.dataset, args.view)


Figures: TypeAlias = "Path | TextIO | None"
"""Where a command writes figures: a file, or standard output, where ``-`` stood in its place."""


def check_json(path: Figures) -> None:
    """Refuse a place for figures where none can be written, before any are made."""
    if not isinstance(path, Path):
        return
    if path and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"Cannot write figures to '{path}', expected a file in a folder that is there.")
    if path and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"Cannot write figures to '{path}', expected a file that may be written.")


def write_json(path: Figures, data: object) -> None:
    """Write figures where the user wants them, if anywhere; it may be a pipe that somebody reads.

    Raises :class:`~facevlm.errors.InputError` where they cannot be written.
    """
    if not isinstance(path, Path):
        print(json.dumps(data, indent=1), file=path) if path else None
        return
    try:
        with open(path, "w", encoding="utf-8", opener=_without_waiting) as file:
            file.write(json.dumps(data, indent=1) + "\n")
    except OSError as error:
        unread = stat.S_ISFIFO(os.stat(path).st_mode) if error.errno == errno.ENXIO and path.exists() else False
        why = "nobody reads from this named pipe" if unread else error.strerror or error
        raise InputError(f"Cannot write figures to '{path}': {why}. They are printed above.") from error


def _without_waiting(path: str, flags: int) -> int:
    """A named pipe from which nobody reads is an error here, and not waited for."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    os.set_blocking(number, True)
    return number


def seen() -> bool:
    """Whether somebody sees a progress bar; in a log file it would be a line each time it moves."""
    return sys.stderr.isatty()


def is_asked() -> bool:
    """Whether somebody sits at a terminal who can be asked."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def agreed() -> bool:
    """Ask whether to go on; an end of the input, as by Ctrl-D, is no."""
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def add_json(command: Any, what: str = "all figures") -> None:
    """Where figures go, for programs."""
    command.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"write {what} to this file; - for standard output, and all else is said on standard error",
    )


def add_target(command: Any) -> None:
    """Which pictures."""
    command.add_argument("dataset", help="name of a FiftyOne dataset; with --images, of the dataset to make")
    command.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="make the dataset of the pictures in this folder, or add them to it",
    )
    add_prune(command)
    command.add_argument("--view", help="only the samples of this saved view")


def add_prune(command: Any) -> None:
    command.add_argument(
        "--prune",
        action="store_true",
        help="with --images, take pictures that are not in the folder out of the dataset, unless they carry tags or "
        "labels of yours",
    )


def add_question(command: Any, *, prompts: bool = True) -> None:
    """Which pictures, which model, which attributes, and with ``prompts`` in which words."""
    add_target(command)
    command.add_argument("--model", default="demo", help="see 'facevlm models' (default: demo)")
    command.add_argument(
        "--attributes", type=names, default=[], help="comma-separated, such as gender,age5; see 'facevlm attributes'"
    )
    command.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    if prompts:
        command.add_argument(
            "--prompt", type=pair, action="append", default=[], metavar="ATTRIBUTE=TEXT", help="another wording"
        )


def add_prefix(command: Any) -> None:
    command.add_argument("--prefix", help="fields are named PREFIX_ATTRIBUTE (default: the model's short name)")


def add_faces(command: Any) -> None:
    """Which faces of pictures, and how they are cut out."""
    command.add_argument("--faces", help="ask about every face in this field of Detections (default: whole pictures)")
    command.add_argument("--face-labels", type=names, default=[], help="only Detections with these labels")
    command.add_argument("--min-confidence", type=float, help="only Detections of at least this confidence")
    command.add_argument("--min-face-px", type=int, help="leave out faces with a shorter side of fewer pixels")
    command.add_argument(
        "--margin", type=float, help="around a face, as a share of its box (default: the model's own, else 0.25)"
    )
    command.add_argument("--align", action="store_true", help="turn faces so that the eyes are level")


def faces(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_faces` added, as ``apply`` takes it."""
    usual = cards.find(args.model).crop()
    margin = usual.margin if args.margin is None else args.margin
    chosen = {name: getattr(args, name) for name in ("faces", "face_labels", "min_confidence", "min_face_px")}
    return chosen | {"crop": replace(usual, margin=margin, align=args.align)}


def add_running(command: Any) -> None:
    """How faces are shown to a model in batches."""
    command.add_argument("--batch-size", type=int, help="pictures per forward pass (default: what fits)")
    command.add_argument("--threads", type=int, help="decoding threads (default: one per core)")
    command.add_argument(
        "--separate", action="store_true", help="one prompt per attribute even if the model has a shared one"
    )


def running(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_running` added, as every verb takes it."""
    return {"batch_size": args.batch_size, "threads": args.threads, "joint": not args.separate}


def add_model(command: Any, *, local: bool = True, usual: Remote | None = None, ask: bool = True) -> None:
    """A flag for everything that a model and a service can be told, and what to do before pictures are sent away.

    Without ``local`` only what a service can be told; ``usual`` is what it is told otherwise. Without ``ask`` the
    command has a question of its own before it begins.
    """
    if local:
        loading = command.add_argument_group("models that run here")
        for row in described(Options):
            _add_flag(loading, row, row.default)
    service = command.add_argument_group("models behind an API (gpt-4o, gemini-flash, openai:MODEL)")
    for row in described(Remote):
        _add_flag(service, row, getattr(usual or Remote(), row.name))
    service.add_argument(
        "--no-cache", dest="cache", action="store_const", const="off", help="neither use nor keep replies on disk"
    )
    if ask:
        service.add_argument(
            "--dry-run",
            action="store_true",
            help="say what would be asked, where pictures would go and at what cost, and stop; no key is needed",
        )
        service.add_argument(
            "--yes", action="store_true", help=f"do not ask before API runs of more than ${CONFIRM_ABOVE:g}"
        )


def _add_flag(group: Any, row: Option, default: Any) -> None:
    flag, text = "--" + row.name.replace("_", "-"), row.help(default)
    if row.kind is bool and default:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=True, help=text)
    elif row.kind is bool:
        group.add_argument(flag, action="store_true", help=text)
    elif row.is_several:
        group.add_argument(flag, action="append", default=default, help=text)
    elif row.choices:
        group.add_argument(flag, choices=row.choices, default=default, help=text)
    else:
        group.add_argument(flag, type=row.kind, default=default, help=text)


def options(args: argparse.Namespace) -> Options:
    """What :func:`add_model` added, as one object."""
    remote = Remote(**{row.name: getattr(args, row.name) for row in described(Remote)})
    local = {row.name: getattr(args, row.name) for row in described(Options) if hasattr(args, row.name)}
    return Options(remote=remote, **local)


def told(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_question` and :func:`add_model` added, as every verb takes it."""
    asked = {"confirm": confirmation(args), "registry": registry(args.attributes_file), "progress": seen()}
    return {"options": options(args), **asked}


def confirmation(args: argparse.Namespace) -> Callable[[Briefing], bool]:
    """Says where pictures go, and asks before a run that costs more than a little and has no budget."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    if args.dry_run:
        return DryRun(say)

    def confirm(briefing: Briefing) -> bool:
        say(briefing.text)
        dear = briefing.dollars is not None and briefing.dollars > CONFIRM_ABOVE
        if not dear or args.yes or args.budget is not None:
            return True
        if is_asked():
            return agreed()
        raise InputError(f"The run may cost more than ${CONFIRM_ABOVE:g}. Add --yes, or set a --budget.")

    return confirm
