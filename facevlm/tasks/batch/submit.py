"""Handing in: the requests of a run in files, the files as batches, and what is noted about them."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facevlm.backends import Remote
from facevlm.backends.remote.batches import URL, BatchService, limits
from facevlm.engines.answering import row_of, unread_row
from facevlm.engines.reading import Cutter, Loader
from facevlm.engines.tally import Progress
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import FieldError, ImageError, InputError
from facevlm.store import provenance, runs
from facevlm.tasks._run import Run
from facevlm.tasks.apply import ApplyRun
from facevlm.tasks.batch.common import METHOD, batch_key, batching, flat, lacks, storable
from facevlm.types import Face, Prediction, Reply


@dataclass(frozen=True)
class Submitted:
    """What was handed in: ``faces`` in so many ``batches``; ``answered`` were known already, ``left`` did not fit into
    the budget or were not agreed to, ``unread`` have a picture that cannot be read."""

    run_key: str
    prefix: str
    faces: int
    batches: tuple[str, ...]
    answered: int = 0
    unread: int = 0
    left: int = 0
    skipped: int = 0


@dataclass
class _Part:
    """One file of requests, written line by line."""

    path: Path
    requests: int = 0
    size: int = 0

    def takes(self, line: bytes) -> bool:
        most = limits()
        return self.requests < most.requests and self.size + len(line) <= most.bytes

    def add(self, line: bytes) -> None:
        with self.path.open("ab") as handle:
            handle.write(line)
        self.requests += 1
        self.size += len(line)


class SubmitRun(Run[Submitted]):
    """A checked submission that has not begun: it hands in the requests of ``run``, which never begins itself.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is sent yet. See :func:`submit` for the arguments.
    """

    def __init__(self, run: ApplyRun, model: str, remote: Remote) -> None:
        self.run, self.prefix, self.total = run, run.prefix, run.total
        self._model, self._remote = model, remote
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self._batching = batching(run.backend)
            if remote.samples != 1:
                raise InputError(f"Got samples={remote.samples} and a batch, expected 1: a batch asks once.")
            self.batch_key = batch_key(self.prefix)
            _check_none_out(run.dataset, self.prefix)
            on_error.pop_all()
        self._questions = list(run.questions.values())
        self.briefing = self._batching.batch_briefing(self.total, self._questions)
        self._lacking = lacks(run.pending)
        self._mark = uuid.uuid4().hex
        self._batches: list[str] = []
        self._replaces: list[str | None] = []
        self._known = self._unread = self._sent = 0
        self._service: BatchService | None = None

    def meet(self) -> None:
        self.run.meet()

    def close(self) -> None:
        self.run.close()

    def record(self, status: str) -> None:
        """Nothing is noted of a submission that the provider never saw."""
        if self._service is not None:
            self._note(status)

    def finished(self) -> str:
        return "submitted"

    def work(self) -> Generator[Progress, None, None]:
        """Word the requests and hand them in. Stopped, it leaves whole batches, which can be collected."""
        run = self.run
        service = self._batching.batches()
        service.check()
        self._service = service
        others = provenance.others(run.dataset, run.fields, run.stamps)
        self._replaces = sorted({stamp for some in others.values() for stamp in some}, key=str)
        writer = run.subjects.writer(run.prefix, run.fields, run.stamps)
        self._note("submitting")
        run.record("submitted")
        with ChunkWriter[list[Prediction]](flat(writer), run.chunk_size) as kept:
            # A face that lacks one answer is asked for all: the answers of a batch are read without knowing which.
            faces = [face for group in run.pending.values() for face in group]
            yield from self._hand_in(service, kept, faces)

    def _hand_in(
        self, service: BatchService, kept: ChunkWriter[list[Prediction]], faces: Sequence[Face]
    ) -> Generator[Progress, None, None]:
        run, most = self.run, self._affordable()
        cutter = Cutter(run.backend.info, run.crop, run.min_face_px)
        with (
            _room() as folder,
            Loader(faces, cutter, run.batch_size, run.threads) as loader,
        ):
            parts = (_Part(folder / f"{n}.jsonl") for n in itertools.count())
            part = next(parts)
            for face, body, known in self._requests(loader, kept):
                if known is not None:
                    self._known += 1
                    kept.add([row_of(face, self._questions, known)])
                    continue
                if most is not None and self._sent >= most:
                    break
                line = _line(face, body)
                if not part.takes(line):
                    self._send(service, part)
                    part = next(parts)
                part.add(line)
                self._sent += 1
                yield Progress(self._sent + self._known + self._unread, self.total, run.tally)
            if part.requests:
                self._send(service, part)

    def _requests(
        self, loader: Loader, kept: ChunkWriter[list[Prediction]]
    ) -> Iterator[tuple[Face, Mapping[str, Any], list[Reply] | None]]:
        """Every face with its request; one that cannot be read is written as such and left out."""
        for face, picture in loader:
            if isinstance(picture, ImageError):
                self._unread += 1
                kept.add([storable(unread_row(face, self._questions, picture), self._lacking)])
                continue
            [(body, known)] = self._batching.requests([picture], self._questions)
            yield face, body, known

    def _affordable(self) -> int | None:
        """How many requests fit into the budget, None without one."""
        dollars = self._batching.batch_briefing(1, self._questions).dollars
        budget = self._remote.budget
        return None if budget is None or not dollars else int(budget / dollars)

    def _send(self, service: BatchService, part: _Part) -> None:
        # Before and after: whoever collects meanwhile, or after this process ended here, looks for it by its mark.
        self._note("submitting")
        state = service.submit(part.path, f"{self._mark}-{len(self._batches)}")
        self._batches.append(state.id)
        part.path.unlink()
        self._note("submitting")

    def _note(self, status: str) -> None:
        """Keep what is needed to collect from any process: no picture, no key. What is collected already stays so."""
        run = self.run
        chosen = run.subjects.selection
        before = runs.read(run.dataset, self.batch_key)
        record = {
            "status": status,
            "prefix": self.prefix,
            "mark": self._mark,
            "model": self._model,
            "remote": asdict(self._remote),
            "about": None if chosen is None else asdict(chosen),
            "stamps": dict(run.stamps),
            "fields": dict(run.fields),
            "replaces": self._replaces,
            "asked": json.dumps({name: asdict(question) for name, question in run.questions.items()}),
            "batches": list(self._batches),
            "collected": before["collected"] if before.get("mark") == self._mark else [],
        }
        runs.write(run.dataset, self.batch_key, record, METHOD)

    def result(self) -> Submitted:
        return Submitted(
            run_key=self.run.run_key,
            prefix=self.prefix,
            faces=self._sent,
            batches=tuple(self._batches),
            answered=self._known,
            unread=self._unread,
            left=self.total - self._sent - self._known - self._unread,
            skipped=self.run.skipped,
        )


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    """A folder for the files that are handed in, for the length of the block.

    Raises :class:`~facevlm.errors.InputError` where there is none, or no room in it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="facevlm-batch-") as folder:
            yield Path(folder)
    except OSError as error:
        raise InputError(
            f"Cannot write the requests of a batch to the system's folder for such files: {error}. What was handed in "
            "before can be collected. Make room, or name another folder by TMPDIR."
        ) from error


def _line(face: Face, body: Mapping[str, Any]) -> bytes:
    """A request in a batch; its id names the face by the ids of the dataset, and says nothing else."""
    name = face.sample_id if face.label_id is None else f"{face.sample_id}.{face.label_id}"
    request = {"custom_id": name, "method": "POST", "url": URL, "body": body}
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def _check_none_out(dataset: Any, prefix: str) -> None:
    record = runs.read(dataset, batch_key(prefix))
    out = [batch for batch in record.get("batches") or () if batch not in (record.get("collected") or ())]
    if out or record.get("status", "submitted") != "submitted":
        said = f"{len(out) or 'Some'} batches of prefix '{prefix}' are not collected yet."
        raise FieldError(
            f"{said} Collect or cancel them first (facevlm batch collect {dataset.name} --prefix {prefix}), or choose "
            "another prefix.",
            app=f"{said} Run 'Collect face attribute batches' first, or choose another field prefix.",
        )
