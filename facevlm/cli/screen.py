"""What commands print, with the control characters of others written out: a terminal would obey them."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from facevlm.errors import visible


class Unheard(OSError):
    """What a command says cannot be written: nobody reads it any more, or a disk is full."""


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unheard(error.errno, error.strerror) from error


class Screen:
    """A stream that shows what is written to it; in all else it is the stream that it is made of.

    Carriage returns at the ends of a piece of text stay: by them progress bars write over themselves.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        inner = text.strip("\r")
        before, _, after = text.partition(inner) if inner else (text, "", "")
        told = before + visible(inner) + after
        with _heard():
            try:
                self._stream.write(told)
            except UnicodeEncodeError:
                # A terminal or file of few letters: what it has none for is written out.
                self._stream.write(told.encode("ascii", "backslashreplace").decode())
        return len(text)

    def flush(self) -> None:
        with _heard():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Standard output and errors as screens while a command runs."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # A process that was started without them has none.
        out, err = (cast(TextIO, Screen(stream or nowhere)) for stream in (sys.stdout, sys.stderr))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield


@contextlib.contextmanager
def aside(args: argparse.Namespace) -> Iterator[None]:
    """Where figures are to go to standard output (``--json -``), all else is said on standard error."""
    if getattr(args, "json", None) != Path("-"):
        yield
        return
    args.json = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield
    args.json.flush()


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message with the arguments of verbs named as they are on the command line: ``--batch-size 0`` for
    ``batch_size=0``."""
    named = "|".join(map(re.escape, sorted(flags, key=len, reverse=True)))
    return re.sub(rf"(?<![\w.-])({named})=(?=\S)", lambda found: f"{flags[found[1]]} ", message) if flags else message


def silence() -> None:
    """Let go of what cannot be written, of which the interpreter would complain once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
