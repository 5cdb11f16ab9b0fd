"""A forked program is as one that was started anew."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.servers import warm
from tests.waiting import until

pytestmark = pytest.mark.process


def test_a_program_has_the_folder_arguments_and_environment_that_it_is_given(tmp_path: Path) -> None:
    code = "import os, sys, fiftyone as fo; print(os.getcwd(), sys.argv[1:], dict(os.environ), fo.config.database_uri)"
    done = warm.run(code, "a", "b c", environment={"FIFTYONE_DATABASE_URI": "mongodb://other"}, cwd=tmp_path)
    assert done.stdout.startswith(f"{tmp_path} ['a', 'b c'] {{'FIFTYONE_DATABASE_URI': 'mongodb://other'")
    assert done.stdout.endswith("mongodb://other\n")


def test_nothing_of_this_project_is_imported_before_the_program_does() -> None:
    done = warm.run("import sys; print(sorted(n for n in sys.modules if n.startswith(('facevlm', 'operators'))))")
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit, sys; atexit.register(print, 'at last', file=sys.stderr)", 0, "at last\n"),
    ],
)
def test_a_program_ends_as_python_ends_it(code: str, status: int, said: str) -> None:
    done = warm.run(code)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.endswith(said)


def test_a_failed_program_is_an_error_where_that_is_asked_for() -> None:
    with pytest.raises(AssertionError, match="division by zero"):
        warm.run("1 / 0", check=True)


def test_a_program_that_runs_is_waited_for_so_long_and_ended() -> None:
    process = warm.start("import threading; threading.Event().wait()")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGTERM)
    assert (process.wait(), process.poll()) == (-signal.SIGTERM, -signal.SIGTERM)
    process.close()


def test_a_program_ends_with_the_tests_that_started_it() -> None:
    process = warm.start("import threading; threading.Event().wait()")
    # As the end of this process would.
    process.hang_up()
    until(lambda: not psutil.pid_exists(process.pid), "the program is gone")
