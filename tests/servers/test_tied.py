"""No server outlives the tests, however these end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import until

pytestmark = pytest.mark.kill

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
import os, threading
def test_that_never_ends(tmp_path):
    os.rename(write(tmp_path), {told!r})
    threading.Event().wait()
def write(folder):
    path = folder / "told"
    path.write_text(f"{{os.getpid()}} {{os.environ['HOME']}}")
    return path
"""


def mongods(home: str) -> list[int]:
    """Process ids of the databases whose files lie there."""
    every = psutil.process_iter(["pid", "cmdline"])
    return [p.pid for p in every if f"{home}/mongo" in (p.info["cmdline"] or ()) and "mongod" in p.info["cmdline"][0]]


@pytest.mark.parametrize(
    ("ended_by", "workers"),
    [(signal.SIGTERM, 0), (signal.SIGKILL, 0), (signal.SIGKILL, 1)],
    ids=["term", "kill", "xdist"],
)
def test_the_database_ends_with_killed_tests(tmp_path: Path, ended_by: signal.Signals, workers: int) -> None:
    told = tmp_path / "told"
    (tmp_path / "test_waiting.py").write_text(WAITING.format(told=str(told)))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", str(workers), "--rootdir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    tests = subprocess.Popen(
        [*command, "-c", str(ROOT / "pyproject.toml"), str(tmp_path / "test_waiting.py")],
        cwd=ROOT,
        env=environment | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: told.exists() or tests.poll() is not None, "the tests began")
        assert tests.poll() is None
        worker, home = told.read_text().split()
        assert len(mongods(home)) == 1
    finally:
        tests.send_signal(ended_by)
        tests.wait()
    until(lambda: not mongods(home), "the database is gone")
    until(lambda: not Path(home).exists(), "its folder is removed")
    until(lambda: not psutil.pid_exists(int(worker)), "the worker is gone")
