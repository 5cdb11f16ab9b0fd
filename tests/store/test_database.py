"""Without a database the user gets one sentence on what to do, and no traceback."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.servers import warm

pytestmark = pytest.mark.process

COMMAND = "import sys; from facevlm import cli; sys.exit(cli.main(sys.argv[1:]))"
WITHOUT_MONGOD = f"""
import fiftyone.core.service as fos
def missing():
    raise fos.ServiceExecutableNotFound("Could not find `mongod`")
fos.DatabaseService = missing
{COMMAND}
"""
NOBODY_LISTENS = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500"


def start(script: str, uri: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with this database and no other."""
    chosen = {} if uri is None else {"FIFTYONE_DATABASE_URI": uri}
    kept = {k: v for k, v in os.environ.items() if k not in ("FIFTYONE_DATABASE_URI", "FIFTYONE_PRIVATE_DATABASE_PORT")}
    return warm.run(script, *arguments, environment=kept | chosen, timeout=120)


@pytest.mark.parametrize(
    ("script", "uri", "said"),
    [
        (COMMAND, NOBODY_LISTENS, "Cannot reach FIFTYONE_DATABASE_URI: ConnectionError. Check that it runs"),
        (COMMAND, "mongodb://", "Cannot reach FIFTYONE_DATABASE_URI: InvalidURI. Check that it runs"),
        (WITHOUT_MONGOD, None, "MongoDB is not installed: FiftyOne's installer could not fetch it. On Linux run"),
    ],
    ids=["nobody listens", "bad URI", "no mongod"],
)
def test_a_database_out_of_reach_is_one_sentence(script: str, uri: str | None, said: str) -> None:
    done = start(script, uri, "apply", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"facevlm: {said}")
    assert done.stderr.count("\n") == 1


def test_making_a_dataset_needs_the_database_too() -> None:
    done = start(COMMAND, NOBODY_LISTENS, "demo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("facevlm: Cannot reach FIFTYONE_DATABASE_URI")
    assert done.stderr.count("\n") == 1


def test_lists_need_no_database() -> None:
    done = start(COMMAND, NOBODY_LISTENS, "attributes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "race7 -> race5" in done.stdout
