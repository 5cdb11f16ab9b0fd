"""A process that reads faces and shows them to a model of its own, told by pipes; it knows no dataset and no database.

It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

from facevlm.backends import Backend, Hosted, Options, cores, open_backend
from facevlm.engines.answering import answered
from facevlm.engines.reading import Cutter, Framing, Loaded, by_picture
from facevlm.errors import FacevlmError, ModelError
from facevlm.types import Face, Question

WATCH = 1.0
"""Seconds between two looks whether the process that started this one is still there."""


@dataclass(frozen=True)
class Opening:
    """The model to open."""

    model: str
    options: Options
    attributes: Sequence[str]


@dataclass(frozen=True)
class Call:
    """A method of the backend to call."""

    name: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Assignment:
    """What the faces to come are asked, and how they are read."""

    questions: Sequence[Question]
    framing: Framing
    batch_size: int


@dataclass(frozen=True)
class Parcel:
    """Faces that are answered together, by their number; some ``deaths`` of processes were seen with it."""

    number: int
    faces: Sequence[Face]
    deaths: int = 0


@dataclass(frozen=True)
class Said:
    """What a process says: ``what`` it is about (``open``, ``call``, or a parcel's number), what came of it or the
    error, and the facts and notes of its backend."""

    what: Any
    value: Any = None
    error: Exception | None = None
    info: Any = None


class Worker:
    """Takes messages from one pipe in their order and answers into another; faces are read while it answers others."""

    def __init__(self, told: BinaryIO, says: BinaryIO) -> None:
        self._told, self._says = told, says
        self._inbox: queue.Queue[Any] = queue.Queue()
        self._backend: Backend | None = None
        self._job: Assignment | None = None
        self._pool: ThreadPoolExecutor | None = None

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            message = self._inbox.get()
            what = message[0].number if isinstance(message, tuple) else type(message).__name__
            try:
                value, error = self._done(message), None
            except Exception as raised:  # noqa: BLE001  raised again where it was asked for
                value, error = None, portable(raised)
            info = self._backend.info if self._backend else None
            pickle.dump(Said(what, value, error, info), self._says)
            self._says.flush()

    def _listen(self) -> None:
        """Reading begins as faces come, not when it is their turn."""
        try:
            while True:
                self._take(pickle.load(self._told))
        except EOFError:
            # The other end is closed: nobody waits for what is being answered.
            os._exit(0)
        except BaseException:  # noqa: BLE001  the process that waits for an answer is told by the end of this one
            traceback.print_exc()
            os._exit(1)

    def _take(self, message: Any) -> None:
        if isinstance(message, Assignment):
            self._begin(message)
        else:
            self._inbox.put(self._read(message) if isinstance(message, Parcel) else message)

    def _begin(self, job: Assignment) -> None:
        assert self._backend is not None
        self._job, framing = job, job.framing
        self._cutter = Cutter(self._backend.info, framing.crop, framing.min_face_px)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._pool = ThreadPoolExecutor(cores.reading(framing.threads), initializer=cores.step_back)

    def _read(self, parcel: Parcel) -> tuple[Parcel, Assignment, list[Future[list[Loaded]]]]:
        assert self._pool is not None
        assert self._job is not None
        return parcel, self._job, [self._pool.submit(self._cutter, group) for group in by_picture(parcel.faces)]

    def _done(self, message: Any) -> Any:
        if isinstance(message, Opening):
            return self._open(message)
        assert self._backend is not None
        if isinstance(message, Call):
            call = getattr(self._backend, message.name, None)
            return None if call is None else call(*message.args)
        _, job, reading = message
        pictures = [picture for future in reading for picture in future.result()]
        return [row for rows, _ in answered(self._backend, job.questions, pictures, job.batch_size) for row in rows]

    def _open(self, told: Opening) -> None:
        _settle(told.options.device or "")
        backend = open_backend(told.model, told.options, told.attributes)
        if isinstance(backend, Hosted):
            raise ModelError(f"Model '{told.model}' sends pictures to a server. Expected no devices for it.")
        self._backend = backend


def _settle(device: str) -> None:
    """A GPU is the current one of its process: kernels that are launched without a name go to it, and no memory of
    another is touched."""
    if device.startswith("cuda:"):
        import torch

        from facevlm.backends.weights import pick_device

        torch.cuda.set_device(pick_device(device))


def portable(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot be handed on to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  errors of others may do anything when they are pickled
        return ModelError(str(error) if isinstance(error, FacevlmError) else f"{type(error).__name__}: {error}")
    return error


def _watch(parent: int) -> None:
    """End with the process that started this one, also where a copy of it holds the pipe open."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(0)


def main(parent: int) -> None:
    told, says = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What others print must not come between our messages.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    Worker(told, says).run()
