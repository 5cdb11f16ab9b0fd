"""Python programs in processes of their own, forked from one that has imported what takes seconds to import.

What is imported already is of others alone: torch, transformers and FiftyOne, which is not connected to a database
before it is asked for something. The program's environment, arguments, output and end are those of ``python -c``.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TAKES_LONG = ("torch", "transformers", "fiftyone", "fiftyone.zoo", "fiftyone.brain", "fiftyone.operators")


class Process:
    """A started program, with what the tests need of ``subprocess.Popen``. Its output is kept in files."""

    def __init__(self, code: str, arguments: tuple[str, ...], environment: Mapping[str, str], folder: str) -> None:
        self._out, self._err = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115  closed with the process
        self._keeper, other = socket.socketpair()
        with other:
            socket.send_fds(_forking(), [b"x"], [other.fileno(), self._out.fileno(), self._err.fileno()])
        self._said = self._keeper.makefile()
        told = {"code": code, "arguments": arguments, "environment": dict(environment), "folder": folder}
        self._keeper.sendall(f"{json.dumps(told)}\n".encode())
        self.pid = int(self._said.readline())
        self.returncode: int | None = None
        # Two threads may wait for it.
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._keeper], [], [], 0)[0]:
                self.returncode = int(self._said.readline())
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._keeper], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        for file in (self._out, self._err):
            file.seek(0)
        return self._out.read(), self._err.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it still runs."""
        self.kill()
        self.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Let go of it, which ends it."""
        for file in (self._out, self._err, self._said, self._keeper):
            file.close()


def start(code: str, *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Process:
    """A program that runs; ``environment`` is that of the tests unless another one is given."""
    return Process(code, arguments, os.environ if environment is None else environment, str(cwd))


def run(
    code: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    check: bool = False,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """A program that has ended, as ``subprocess.run`` would return it."""
    process = start(code, *arguments, environment=environment, cwd=cwd)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.close()
    assert not check or process.returncode == 0, err
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


@functools.cache
def _forking() -> socket.socket:
    """To the process that forks; one for all tests of this process, from the first that needs it on."""
    here, there = socket.socketpair()
    command = [sys.executable, "-c", "import sys; from tests.servers import warm; warm.fork(int(sys.argv[1]))"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with there:
        command.append(str(there.fileno()))
        forking = subprocess.Popen(
            command, cwd=ROOT, env=environment, pass_fds=[there.fileno()], start_new_session=True
        )
    atexit.register(forking.wait)
    atexit.register(here.close)
    return here


def fork(control: int) -> None:
    """Import what takes long, and fork for each program until the tests are gone. Returns where a program has ended.

    A program is run by this very call, in a fork, so that it ends as Python ends any other.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in TAKES_LONG:
            __import__(name)
    gc.collect()
    # Else the first collection of each fork would copy all that is here.
    gc.freeze()
    tests = socket.socket(fileno=control)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        said, received, _, _ = socket.recv_fds(tests, 1, 3)
        if not said:
            return
        if os.fork() == 0:
            tests.close()
            told = _kept(*received)
            break
        for one in received:
            os.close(one)
    _become(told)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    exec(compile(told["code"], "<string>", "exec"), main.__dict__)


def _kept(tests: int, out: int, err: int) -> dict[str, Any]:
    """What is to be run, in a fork of this process; this one tells the tests of it, and ends with it or with them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    conversation = socket.socket(fileno=tests)
    told: dict[str, Any] = json.loads(conversation.makefile().readline())
    runs, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        conversation.close()
        os.close(runs)
        for number, file in ((1, out), (2, err)):
            os.dup2(file, number)
            os.close(file)
        return told
    os.close(alive)
    conversation.sendall(f"{pid}\n".encode())
    # The one is closed when the program has ended, the other when the tests have.
    if runs not in select.select([runs, conversation.fileno()], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        conversation.sendall(f"{status}\n".encode())
    finally:
        os._exit(0)


def _become(told: dict[str, Any]) -> None:
    """Take over the folder, the environment and the arguments; what FiftyOne has read from the environment, too."""
    import fiftyone as fo
    import fiftyone.core.config as foc

    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv = ["-c", *told["arguments"]]
    warnings.simplefilter("ignore")
    # Whoever started the tests may ignore these, as nohup does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fo.config.__dict__.update(foc.load_config().__dict__)
