"""A database that is lost, held up, started again or refuses to write in mid-run: one sentence, in a bounded time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.conftest import _mongod
from tests.ports import free_port
from tests.servers import tied, warm
from tests.servers.killing import distinct_pictures
from tests.waiting import until

pytestmark = pytest.mark.process

RUN = """
import sys, pathlib
import fiftyone as fo
from facevlm.store import database
database.WAIT = float(sys.argv[2])
from facevlm.cli import main
from facevlm.backends import BackendInfo
import facevlm
from facevlm.errors import FacevlmError
from tests.scripted import ScriptedBackend, certain

folder = pathlib.Path(sys.argv[1])
dataset = fo.Dataset("mine", persistent=True)
dataset.add_samples([fo.Sample(filepath=str(path)) for path in sorted(folder.glob("*.png"))])

def answer(image, question):
    if backend.asked == 16:
        (folder / "asking").write_text("x")
        until(lambda: (folder / "go").exists(), "told to go on")
    return certain("Male", question)

from tests.waiting import until
backend = ScriptedBackend(answer)
try:
    facevlm.apply(dataset, backend, ["gender"], prefix="x", batch_size=4, chunk_size=4, progress=False)
except FacevlmError as error:
    print("said:", error)
print("asked:", backend.asked)
"""


class Mongo:
    """A mongod of its own that is stopped, held up and started again at will."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        folder.mkdir()
        self.uri = f"mongodb://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = [_mongod(), "--dbpath", str(self._folder), "--port", str(self._port), "--bind_ip", "127.0.0.1"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._keeper = tied.start([*command, "--quiet", "--nounixsocket"], **quiet)
        with pymongo.MongoClient(self.uri) as client:
            self.pid = int(client.admin.command("serverStatus")["pid"])

    def stop(self) -> None:
        """In good order, so that all that was written is on the disk; or what is left of a server that was killed."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        self._keeper.wait()

    def stored(self) -> int:
        with pymongo.MongoClient(self.uri) as client:
            [row] = client["fiftyone"]["datasets"].find({"name": "mine"})
            return int(client["fiftyone"][row["sample_collection_name"]].count_documents({"x_gender.label": "Male"}))


@pytest.fixture
def mongo(tmp_path: Path) -> Iterator[Mongo]:
    mongo = Mongo(tmp_path / "mongo")
    yield mongo
    mongo.stop()


@pytest.fixture
def asking(mongo: Mongo, tmp_path: Path) -> Iterator[warm.Process]:
    """A run over 40 pictures that has asked about some and waits to be told to go on."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    distinct_pictures(folder, 40)
    # What the run waits for without end is held back by FiftyOne's own driver, for this long.
    environment = os.environ | {"FIFTYONE_DATABASE_URI": f"{mongo.uri}/?serverSelectionTimeoutMS=6000"}
    process = warm.start(RUN, str(folder), "6", environment=environment)
    until(lambda: process.poll() is not None or (folder / "asking").exists(), "the run asks")
    yield process
    process.close()


def went_on(process: warm.Process, tmp_path: Path) -> tuple[str, int]:
    """What the run said in the end, and how many it asked about."""
    (tmp_path / "pictures" / "go").write_text("x")
    out, _ = process.communicate(timeout=90)
    said = out.partition("said: ")[2].partition("\n")[0]
    return said, int(out.partition("asked: ")[2])


def test_a_database_that_is_gone_is_one_sentence_and_little_more_is_asked(
    mongo: Mongo, asking: warm.Process, tmp_path: Path
) -> None:
    mongo.stop()
    said, asked = went_on(asking, tmp_path)
    assert said.startswith("The database is out of reach, FIFTYONE_DATABASE_URI does not answer: ")
    assert said.endswith("What was written before is kept; the same call goes on from there.")
    assert asked <= 32
    mongo.start()
    assert 8 <= mongo.stored() <= 16


def test_a_database_that_is_started_again_is_gone_on_with(mongo: Mongo, asking: warm.Process, tmp_path: Path) -> None:
    mongo.stop()
    mongo.start()
    assert went_on(asking, tmp_path) == ("", 40)
    assert mongo.stored() == 40


def test_a_database_that_is_held_up_is_given_up(mongo: Mongo, asking: warm.Process, tmp_path: Path) -> None:
    os.kill(mongo.pid, signal.SIGSTOP)
    said, asked = went_on(asking, tmp_path)
    os.kill(mongo.pid, signal.SIGCONT)
    assert said.startswith("The database is out of reach, FIFTYONE_DATABASE_URI does not answer: ")
    assert asked <= 32


def test_a_killed_database_has_all_samples_though_its_estimate_is_none(
    mongo: Mongo, asking: warm.Process, tmp_path: Path
) -> None:
    os.kill(mongo.pid, signal.SIGKILL)
    mongo.stop()
    mongo.start()
    assert went_on(asking, tmp_path) == ("", 40)
    environment = os.environ | {"FIFTYONE_DATABASE_URI": mongo.uri}
    code = "from facevlm.cli import main; import sys; sys.exit(main(['check', 'mine']))"
    done = warm.run(code, environment=environment)
    assert "holds no sample" not in done.stderr
    assert done.returncode == 0, done.stderr
