"""A model on several devices of this machine: one process for each, which reads faces and answers them by itself.

Only references to faces go out and rows of predictions come back. Faces of a process that died are given to others; a
face with which three died is given up.
"""

from __future__ import annotations

import collections
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from PIL.Image import Image

from facevlm import parsing
from facevlm.backends import Backend, BackendInfo, Hosted, Options, Secrets, cores
from facevlm.backends.cards import find
from facevlm.backends.choice import backend_of
from facevlm.engines._worker import Assignment, Call, Opening, Parcel, Said
from facevlm.engines.answering import Row, held
from facevlm.engines.reading import Framing, batches
from facevlm.errors import InputError, ModelError
from facevlm.types import Attribute, Face, Question, Reply

CODE = "import sys; sys.path[:] = sys.argv[2:]; from facevlm.engines._worker import main; main(int(sys.argv[1]))"
"""What a process runs. Not ``multiprocessing``, which would run the caller's script once more in each of them."""
AT_ONCE = 2
"""Parcels that a process has: one is answered while the next is read."""
TICK = 0.4
DEATHS = 3
"""Processes that may die with a face before it is given up."""
STARTS = 3
"""Times that a process is started in a row before its device is given up."""
IN_A_ROW = 30
"""Deaths in a row, with no answer between them, before the run ends."""
MOST = 64
"""Processes at most."""


def opened(
    model: str | Backend, options: Options, attributes: Sequence[Attribute], secrets: Secrets | None = None
) -> Backend:
    """The backend of a model, on several devices where the options name them; one behind an API has none.

    Raises :class:`~facevlm.errors.InputError` for devices with a backend that is open already.
    """
    if options.devices is None or (isinstance(model, str) and find(model).hosted):
        return backend_of(model, options, attributes, secrets)
    if not isinstance(model, str):
        got = type(model).__name__
        raise InputError(f"Got devices='{options.devices}' with a {got}, expected the name of a model with devices.")
    return Devices(model, options, [a.name for a in attributes])


def let_go(backend: Backend) -> None:
    """End what a backend that was opened for a run holds beyond this process."""
    if isinstance(backend, (Hosted, Devices)):
        backend.close()


def places(options: Options) -> list[str]:
    """The device of every process.

    Raises :class:`~facevlm.errors.InputError` for more of them than there are.
    """
    told = str(options.devices)
    names = _all() if told == "all" else _first(int(told), options.device) if told.isdecimal() else told.split(",")
    processors = sum(name.partition(":")[0] == "cpu" for name in names)
    most = max(2, cores.cores())
    if processors > most or len(names) > MOST:
        raise InputError(
            f"Got devices='{told}', that is {len(names)} processes, expected at most {most} on the CPU, one for each "
            f"of its cores, and {MOST} in all."
        )
    return names


def _all() -> list[str]:
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]


def _first(count: int, device: str | None) -> list[str]:
    import torch

    from facevlm.backends.weights import pick_device

    kind = pick_device(device).type
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if kind == "cpu":
        return ["cpu"] * min(count, MOST + 1)
    if count > there:
        raise InputError(f"Got devices='{count}', expected at most {there}: there are no more of '{kind}' here.")
    return [f"cuda:{k}" for k in range(count)] if kind == "cuda" else [kind]


Inbox = queue.Queue[tuple[int, int, "Said | None"]]
"""Number of a hand, the how manieth of its processes it was, and what that said; None at its end."""


class Hand:
    """A device and the process that works on it; what that says goes into ``inbox`` with the hand's ``number``."""

    def __init__(self, number: int, device: str, share: int, inbox: Inbox) -> None:
        self.number, self.device, self._share, self._inbox = number, device, share, inbox
        self.info: BackendInfo | None = None
        self.parcels: dict[int, Parcel] = {}
        self.starts, self.generation = 0, 0
        self.is_used, self.is_ready = True, False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, opening: Opening) -> None:
        """Start a process, anew where there was one, and tell it to open the model."""
        self.end()
        self.starts += 1
        self.generation += 1
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with its process
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(os.getpid()), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"OMP_NUM_THREADS": str(self._share), **os.environ},
            # Ctrl-C in a terminal is for the process that was called; it ends this one.
            start_new_session=True,
        )
        # Nothing of this object: it is to go, and its process with it, when nobody else holds it.
        args = (self._process.stdout, self.number, self.generation, self._inbox)
        threading.Thread(target=_listen, args=args, name="facevlm-device", daemon=True).start()
        self.tell(replace(opening, options=replace(opening.options, devices=None, device=self.device)))

    def tell(self, message: object) -> None:
        """Send a message; to a process that has died none, which its end says."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def end(self) -> None:
        """End the process; nothing that it is at is waited for."""
        self.is_ready = False
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._errors.close()
        self._process = None

    def how_it_ended(self) -> str:
        """In words: the signal or the status, and the last that it said."""
        assert self._process is not None
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        ended = signal.Signals(-status).name if -status in set(signal.Signals) else f"status {status}"
        return f"its process on {self.device} ended by {ended}" + (f" ({said[-1]})" if said and status > 0 else "")


def _listen(pipe: Any, number: int, generation: int, inbox: Inbox) -> None:
    try:
        while True:
            inbox.put((number, generation, pickle.load(pipe)))
    except Exception:  # noqa: BLE001  the end of the pipe, or what a process left half said
        inbox.put((number, generation, None))


class Devices:
    """The backend of a model that is open on several devices, each in a process of its own, until :meth:`close`."""

    def __init__(self, model: str, options: Options, attributes: Sequence[str]) -> None:
        self._model, self._opening = model, Opening(model, options, attributes)
        names = places(options)
        self._inbox: Inbox = queue.Queue()
        share = max(1, cores.cores() // len(names))
        self._hands = [Hand(k, name, share, self._inbox) for k, name in enumerate(names)]
        self._notes: dict[str, None] = {}
        self._run: _Run | None = None
        # Of all runs: what a process still says of a run before is not taken for an answer of this one.
        self._numbers = itertools.count()
        try:
            # One first: it may have to fetch the weights.
            for hands in [self._hands] if find(model).is_here() else [self._hands[:1], self._hands[1:]]:
                for hand in hands:
                    hand.start(self._opening)
                self._await(hands)
            self._check_alike()
        except BaseException:
            self.close()
            raise

    def _await(self, hands: Sequence[Hand]) -> None:
        """Wait until each has opened the model; those that cannot are not used, and the last one's reason is raised."""
        reasons: list[str] = []
        waiting = set(hands)
        while waiting:
            hand, said = self._next()
            waiting.discard(hand)
            if said is not None and said.error is None:
                hand.info, hand.is_ready, hand.starts = said.info, True, 0
                continue
            reasons.append(hand.how_it_ended() if said is None else str(said.error))
            hand.is_used = False
            self._notes[f"{hand.device} is not used: {reasons[-1]}"] = None
            hand.end()
        if reasons and not self._used():
            why = "; ".join(dict.fromkeys(reasons)).rstrip(".")
            raise ModelError(f"Cannot open model '{self._model}' on any of its devices: {why}.")

    def _next(self, seconds: float | None = None) -> tuple[Hand, Said | None]:
        """What is said next; raises queue.Empty where nothing is in so many seconds."""
        while True:
            number, generation, said = self._inbox.get(timeout=seconds)
            hand = self._hands[number]
            if generation == hand.generation and hand.is_used:
                if said is not None and said.info is not None:
                    hand.info = said.info
                    self._notes.update(dict.fromkeys(said.info.notes))
                return hand, said

    def _used(self) -> list[Hand]:
        return [hand for hand in self._hands if hand.is_used]

    def _check_alike(self) -> None:
        """All must give the same answers, for they are kept under one stamp."""
        kinds = {(tuple(sorted(i.identity.items())), i.decode, i.decision, i.dtype) for i in self._infos()}
        if len(kinds) > 1:
            raise ModelError(
                f"Model '{self._model}' was opened otherwise on some of its devices: {'; '.join(map(str, kinds))}. "
                "Expected the same weights, type of numbers and way of decoding; give a dtype and a revision."
            )

    def _infos(self) -> list[BackendInfo]:
        return [hand.info for hand in self._used() or self._hands if hand.info is not None]

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record; its device names all that are used."""
        infos = self._infos()
        sizes = [i.batch_size for i in infos if i.batch_size]
        return replace(
            infos[0],
            device=", ".join(hand.device for hand in self._used()),
            batch_size=min(sizes, default=None),
            notes=tuple(self._notes),
        )

    def check(self, questions: Sequence[Question]) -> None:
        """As the model's own backend, on every device."""
        self._call("check", (questions,), self._used())

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Replies of shape (len(images), len(questions)), by one of the processes."""
        [rows] = self._call("answer", (images, questions), self._used()[:1])
        return rows  # type: ignore[no-any-return]

    def _call(self, name: str, args: tuple[Any, ...], hands: Sequence[Hand]) -> list[Any]:
        for hand in hands:
            hand.tell(Call(name, args))
        found: dict[Hand, Any] = {}
        while len(found) < len(hands):
            hand, said = self._next()
            if said is None:
                raise ModelError(f"Model '{self._model}': {hand.how_it_ended()}.")
            if said.error is not None:
                raise said.error
            if said.what == Call.__name__:
                found[hand] = said.value
        return [found[hand] for hand in hands]

    def spread(
        self, faces: Sequence[Face], questions: Sequence[Question], framing: Framing, batch_size: int
    ) -> Generator[list[Row], None, None]:
        """Rows of predictions as they are ready, in any order; a list, empty or not, at least twice a second.

        Raises :class:`~facevlm.errors.ModelError` when no process is left.
        """
        threads = max(1, (framing.threads or cores.cores()) // len(self._hands))
        job = Assignment(questions, replace(framing, threads=threads), batch_size)
        self._run = _Run(job, batches(faces, held(questions, self.info, batch_size)), self._numbers)
        for hand in self._used():
            hand.tell(job)
        self._feed()
        while not self._run.is_done(hand.parcels for hand in self._hands):
            rows: list[Row] = []
            with suppress(queue.Empty):
                rows = self._heard(*self._next(TICK))
            yield rows + self._run.given_up()

    def _feed(self) -> None:
        assert self._run is not None
        for hand in self._used():
            while hand.is_ready and (parcel := self._run.next_for(hand.parcels)):
                hand.parcels[parcel.number] = parcel
                hand.tell(parcel)

    def _heard(self, hand: Hand, said: Said | None) -> list[Row]:
        """Rows that were said; else what came of a process is seen to."""
        assert self._run is not None
        if said is None:
            self._died(hand)
            return []
        if said.error is not None:
            if hand.is_ready:
                raise said.error
            self._retire(hand, str(said.error))
            return []
        if not hand.is_ready:
            hand.is_ready, hand.starts = True, 0
            hand.tell(self._run.job)
            self._feed()
            return []
        rows = self._taken(hand, said)
        self._run.deaths_in_a_row = 0
        self._feed()
        return rows

    def _taken(self, hand: Hand, said: Said) -> list[Row]:
        """The rows of a parcel; none of one that was given up meanwhile."""
        return list(said.value) if hand.parcels.pop(said.what, None) else []

    def _died(self, hand: Hand) -> None:
        """Its faces are asked again, and another process is started in its place."""
        assert self._run is not None
        how = hand.how_it_ended()
        self._run.lost(hand.parcels, how)
        if self._run.deaths_in_a_row >= IN_A_ROW:
            raise ModelError(
                f"Model '{self._model}': {IN_A_ROW} processes in a row ended without an answer, the last one so: "
                f"{how}. What was answered is kept."
            )
        if hand.starts >= STARTS:
            self._retire(hand, how)
        else:
            hand.start(self._opening)
        self._feed()

    def _retire(self, hand: Hand, reason: str) -> None:
        hand.is_used = False
        self._notes[f"{hand.device} is not used any more: {reason}"] = None
        hand.end()
        if not self._used():
            raise ModelError(f"Model '{self._model}' has no device left: {reason}. What was answered is kept.")

    def rest(self) -> list[Row]:
        """Rows that were said already when :meth:`spread` was closed; what else the processes have is given up."""
        rows: list[Row] = []
        with suppress(queue.Empty):
            while True:
                hand, said = self._next(0)
                if said is not None and said.error is None:
                    rows += self._taken(hand, said)
        for hand in self._hands:
            hand.parcels.clear()
        return rows

    def close(self) -> None:
        """End the processes. Its info stays."""
        for hand in self._hands:
            hand.end()


class _Run:
    """Who is given which faces, and what becomes of those with which a process died."""

    def __init__(self, job: Assignment, parcels: Iterator[list[Face]], numbers: Iterator[int]) -> None:
        self.job, self._fresh, self._numbers = job, parcels, numbers
        self._ahead: collections.deque[list[Face]] = collections.deque()
        self._again: collections.deque[Parcel] = collections.deque()
        self._lost: list[Row] = []
        self.deaths_in_a_row = 0

    def is_done(self, held: Iterator[dict[int, Parcel]]) -> bool:
        self._look()
        return not (self._ahead or self._again or self._lost or any(held))

    def _look(self) -> None:
        if not self._ahead and (faces := next(self._fresh, None)):
            self._ahead.append(faces)

    def next_for(self, has: dict[int, Parcel]) -> Parcel | None:
        """What a process that has these parcels is to be given; one with which a process died, alone."""
        if self._again:
            return self._again.popleft() if not has else None
        self._look()
        if len(has) >= AT_ONCE or any(parcel.deaths for parcel in has.values()) or not self._ahead:
            return None
        return self._numbered(self._ahead.popleft())

    def _numbered(self, faces: Sequence[Face], deaths: int = 0) -> Parcel:
        return Parcel(next(self._numbers), faces, deaths)

    def lost(self, parcels: dict[int, Parcel], how: str) -> None:
        """A process died with these: once more as they are, then face by face, which tells which is to blame."""
        self.deaths_in_a_row += 1
        for parcel in parcels.values():
            deaths, faces = parcel.deaths + 1, parcel.faces
            size = len(faces) if deaths == 1 else 1
            if len(faces) == 1 and deaths >= DEATHS:
                self._give_up(faces[0], f"{deaths} processes ended while they looked at it: {how}")
                continue
            size = min(size, self.job.batch_size)
            self._again += [self._numbered(group, deaths) for group in batches(faces, size)]
        parcels.clear()

    def _give_up(self, face: Face, reason: str) -> None:
        self._lost.append([parsing.failed(face, question, reason) for question in self.job.questions])

    def given_up(self) -> list[Row]:
        rows, self._lost = self._lost, []
        return rows
