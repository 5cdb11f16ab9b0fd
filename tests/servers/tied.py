"""Server processes that end with this one, however it ends: by itself, by SIGTERM, by SIGKILL or a time limit.

Between the two stands a small process that holds the reading end of a pipe. The pipe closes when this process is gone,
and then the keeper kills the server and removes its folder. No signal handler could do that after a SIGKILL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

KEEPER = """
import os, select, shutil, signal, subprocess, sys
owner, folder, *command = sys.argv[1:]
# A session of its own, so that what the server starts can be killed with it.
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
# The parent is looked at as well: a fork of it may hold the pipe open.
while server.poll() is None and os.getppid() == int(owner):
    if select.select([sys.stdin], [], [], 0.2)[0]:
        break
ended_alone = server.poll() is not None
try:
    os.killpg(server.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
server.wait()
if folder and not ended_alone:
    shutil.rmtree(folder, ignore_errors=True)
"""


def start(command: Sequence[str], folder: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """Start a server; its keeper is returned, which lives as long. ``folder`` is removed once the server was ended."""
    # Its session is its own: a signal to all of the tests' processes must leave it alive to do its work.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", KEEPER, str(os.getpid()), folder, *command],
        stdin=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def stop(keeper: subprocess.Popen[bytes]) -> None:
    """End the server at once, and wait until it is gone."""
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait()


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server for as long as the block lasts."""
    keeper = start(command, **options)
    try:
        yield keeper
    finally:
        stop(keeper)
