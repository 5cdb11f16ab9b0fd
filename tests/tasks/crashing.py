"""Work that is killed after each of its writes and done again: ``python -m tests.tasks.crashing CASE FOLDER``.

A process of its own for every kind of work: it forks, which one with threads of other tests had better not do.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm.database as odm_database
import mongoengine
import pymongo
import pymongo.monitoring
from mongoengine import connection
from PIL import Image

import facevlm
from facevlm.detection import DetectorInfo, FoundFace
from facevlm.store import results, runs
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

COUNT = 6
STUCK = 60.0
"""Seconds after which a fork that waits for something ends, and tells where it stands."""
WRITES = {"insert", "update", "delete", "findAndModify", "create", "createIndexes", "drop", "aggregate"}
BOX = [0.1, 0.1, 0.8, 0.8]
TOLD = 1500
"""Letters of what a fork said at its end."""
Work = Callable[[str, Path], Any]
VERBS = (
    facevlm.apply,
    facevlm.datasets.load,
    facevlm.describe,
    facevlm.detect,
    facevlm.evaluate,
    facevlm.sources.folder,
)
"""Named here: imported once, not by every fork."""


class Killer(pymongo.monitoring.CommandListener):
    """Ends its process, as SIGKILL does, right after so many writes."""

    def __init__(self, left: int) -> None:
        self._left = left

    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        """Nothing is lost yet."""

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
        """Nothing was written."""

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
        if event.command_name in WRITES:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def connect_anew(listeners: list[Any]) -> None:
    """A client of its own for a fork, which must not use its parent's."""
    uri = fo.config.database_uri
    odm_database._client = pymongo.MongoClient(uri, event_listeners=listeners)
    # Forgotten and not closed: closing waits for threads that are not in a fork.
    for known in (connection._connections, connection._dbs, connection._connection_settings):
        known.clear()
    mongoengine.connect(fo.config.database_name, host=uri, event_listeners=listeners)
    for kind in kinds_of(mongoengine.Document):
        # Each remembers the collection of the parent's client.
        kind._collection = None


def kinds_of(kind: type[Any]) -> Iterator[type[Any]]:
    for made in kind.__subclasses__():
        yield made
        yield from kinds_of(made)


def forked(work: Callable[[], Any], log: Path, left: int | None = None) -> int:
    """Exit status of the work in a fork of this warmed process, which is killed after so many writes.

    All work is done in forks: one of a process that had done some could wait for a lock that a thread of it held.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        faulthandler.dump_traceback_later(STUCK, file=log.open("w"), exit=True)
        connect_anew([] if left is None else [Killer(left)])
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001  a fork must not go on as its parent
        log.write_text(traceback.format_exc())
    finally:
        os._exit(1)


def answer(image: Image.Image, question: Question) -> Reply:
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    labels = question.attribute.labels
    return certain(labels[pixel[0] // 16 % len(labels)], question)


class Detector:
    """One face in every picture."""

    info = DetectorInfo("one", "1", "none")

    def detect(self, images: Any) -> list[list[FoundFace]]:
        return [[FoundFace((0.1, 0.1, 0.5, 0.5), 0.9)] for _ in images]


def make(name: str, folder: Path) -> fo.Dataset:
    dataset = fo.Dataset(name, persistent=True)
    paths = sorted(str(path) for path in folder.glob("*.png"))
    dataset.add_samples(
        [
            fo.Sample(
                filepath=path,
                truth=fo.Classification(label=("Male", "Female")[k % 2]),
                boxes=fo.Detections(detections=[fo.Detection(label="face", bounding_box=BOX)]),
            )
            for k, path in enumerate(paths)
        ]
    )
    return dataset


def apply(name: str, folder: Path) -> None:
    facevlm.apply(
        fo.load_dataset(name), ScriptedBackend(answer), ["gender", "age5"], prefix="x", batch_size=2, chunk_size=2,
        progress=False,
    )  # fmt: skip


def apply_faces(name: str, folder: Path) -> None:
    facevlm.apply(
        fo.load_dataset(name), ScriptedBackend(answer), ["gender", "age5"], faces="boxes", prefix="x", batch_size=2,
        chunk_size=2, progress=False,
    )  # fmt: skip


def detect(name: str, folder: Path) -> None:
    facevlm.detect(fo.load_dataset(name), "found", detector=Detector(), quality=True, progress=False)


def evaluate(name: str, folder: Path) -> None:
    facevlm.evaluate(fo.load_dataset(name), ["gender"], prefix="x", ground_truth={"gender": "truth"}, draws=20)


def load(name: str, folder: Path) -> None:
    """As the command line does where a dataset of that name is there."""
    overwrite = fo.dataset_exists(name)
    facevlm.datasets.load(
        "folders", folder.parent / "classes", attribute="gender", dataset_name=name, overwrite=overwrite, progress=False
    )


def apply_images(name: str, folder: Path) -> None:
    """As ``facevlm apply --images`` does."""
    facevlm.sources.folder(folder, name)
    apply(name, folder)


def describe(name: str, folder: Path) -> None:
    url = (folder / "url").read_text()
    facevlm.describe(
        fo.load_dataset(name), "openai:m", ["gender"], free=["hair"], prefix="x", base_url=url, cache="off",
        progress=False,
    )  # fmt: skip


def made(*works: Work) -> Work:
    """What is there before the work that is killed."""

    def prepare(name: str, folder: Path) -> None:
        make(name, folder)
        for work in works:
            work(name, folder)

    return prepare


def nothing(name: str, folder: Path) -> None:
    """Nothing is there before."""


KILLED: dict[str, tuple[Work, Work]] = {
    "apply": (made(), apply),
    "apply again": (made(apply), apply),
    "apply on faces": (made(), apply_faces),
    "apply of a folder": (nothing, apply_images),
    "detect": (made(), detect),
    "evaluate": (made(apply), evaluate),
    "evaluate again": (made(apply, evaluate), evaluate),
    "load": (nothing, load),
    "describe": (made(), describe),
}


def told(name: str) -> dict[str, Any]:
    """What a dataset says, without what is new in every run: ids and times."""
    dataset = fo.load_dataset(name)
    dataset.reload()
    paths = [
        path
        for path, field in dataset.get_field_schema(flat=True).items()
        if path.rpartition(".")[2] in ("label", "outcome", "said", "confidence", "bounding_box")
    ]
    values = dataset.sort_by("filepath").values(paths) if paths else []
    records = {key: runs.read(dataset, key) for key in dataset.list_runs()}
    kept = {key: [record.get(part) for part in ("status", "outcomes")] for key, record in records.items()}
    figures = {key: results.load(dataset, key)["evaluations"][0]["overall"] for key in results.eval_keys(dataset)}
    return {
        "samples": dataset.sort_by("filepath").values("filepath"),
        "labels": dict(zip(paths, values, strict=True)),
        "records": kept,
        "figures": figures,
        "views": dataset.list_saved_views(),
        "evaluations": dataset.list_evaluations(),
    }


class Copies:
    """Copies of a dataset under new names, all of which are deleted at the end; of nothing where it is not there."""

    def __init__(self, origin: str) -> None:
        self._origin, self._names = origin, [origin]

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *exc: object) -> None:
        for name in self._names:
            if fo.dataset_exists(name):
                fo.delete_dataset(name)

    def one(self) -> str:
        name = f"{self._origin}-{len(self._names)}"
        self._names.append(name)
        if fo.dataset_exists(self._origin):
            fo.load_dataset(self._origin).clone(name, persistent=True)
        return name


def killed_everywhere(case: str, folder: Path) -> list[str]:
    """At which writes a kill was not made good by the same call, and what was otherwise then."""
    (prepare, work), log = KILLED[case], folder.parent / "log"
    # Else the first collection of each fork would copy all that is here.
    gc.freeze()
    origin, broken = f"crash-{time.time_ns()}", []

    def run(name: str, left: int | None = None) -> int:
        return forked(functools.partial(work, name, folder), log, left)

    assert forked(functools.partial(prepare, origin, folder), log) == 0, log.read_text()
    with Copies(origin) as copies:
        whole = copies.one()
        assert run(whole) == 0, log.read_text()
        expected = told(whole)
        assert case == "load" or "'ok'" in str(expected), "nothing was answered"
        for k in range(200):
            name = copies.one()
            status = run(name, k)
            if status == 0:
                break
            assert status == -signal.SIGKILL, log.read_text()
            if run(name):
                broken.append(f"after write {k + 1}: {log.read_text()[-TOLD:]}")
            elif (seen := told(name)) != expected:
                parts = {part: (seen[part], expected[part]) for part in expected if seen[part] != expected[part]}
                broken.append(f"after write {k + 1}: other {', '.join(parts)}: {parts}"[:600])
        else:
            raise AssertionError("no end of writes")
    assert k > 2, "nothing was killed"
    return [f"{len(broken)} of {k} moments:", *broken] if broken else []


def main() -> None:
    sys.exit("\n".join(killed_everywhere(sys.argv[1], Path(sys.argv[2]))) or None)


if __name__ == "__main__":
    main()
