"""Handing in: the requests of a run in files, the files as batches, and what is noted about them."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facevlm.backends import Briefing
from facevlm.backends.remote.batches import URL, BatchService, limits
from facevlm.engines.local import row_of, unread_row
from facevlm.engines.reading import Cutter, Loader
from facevlm.engines.tally import Progress
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import FieldError, ImageError, InputError
from facevlm.store import runs, targets
from facevlm.tasks.apply import Application
from facevlm.tasks.batch.common import METHOD, batch_key, batching, flat, lacks, storable
from facevlm.types import Attribute, Face, Prediction, Question, Reply


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


class Submission(Application):
    """A checked submission that has not begun: iterate :meth:`steps`, then read :meth:`submitted`.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is sent yet. See :func:`submit`.
    """

    def __init__(self, target: targets.Collection, model: str, attributes: Sequence[str | Attribute], **options: Any):
        super().__init__(target, model, attributes, **options)
        with ExitStack() as on_error:
            on_error.callback(self._close)
            self._model, self._batching = model, batching(self.backend)
            self._remote = options["options"].remote
            if self._remote.samples != 1:
                raise InputError(f"Got samples={self._remote.samples} and a batch, expected 1: a batch asks once.")
            self.batch_key = batch_key(self.prefix)
            _check_none_out(self._dataset, self.prefix)
            on_error.pop_all()
        self._lacking = lacks(self._work)
        self._batches: list[str] = []
        self._known = self._unread = self._sent = 0

    def _briefing(self) -> Briefing:
        return batching(self.backend).batch_briefing(self.total, list(self.questions.values()))

    def steps(self) -> Generator[Progress, None, None]:
        """Word the requests and hand them in. Stopped, it leaves whole batches, which can be collected."""
        if not self.total:
            self._close()
            return
        writer = self._subjects.writer(self.prefix, self.fields, self._stamps)
        status = "stopped"
        try:
            service = self._batching.batches()
            service.check()
            self._mark = uuid.uuid4().hex
            self._note("submitting")
            self._record("submitted")
            with ChunkWriter[list[Prediction]](flat(writer), self._sizes["chunk_size"] or 1) as kept:
                # A face that lacks one answer is asked for all: the answers of a batch are read without knowing which.
                faces = [face for group in self._work.values() for face in group]
                yield from self._hand_in(service, kept, list(self.questions.values()), faces)
            status = "submitted"
        finally:
            self._close()
            if self._mark:
                self._note(status)

    _mark = ""

    def _hand_in(
        self,
        service: BatchService,
        kept: ChunkWriter[list[Prediction]],
        questions: Sequence[Question],
        faces: Sequence[Face],
    ) -> Generator[Progress, None, None]:
        most = self._affordable(questions)
        cutter = Cutter(self.backend.info, self._crop, self._min_face_px)
        with (
            tempfile.TemporaryDirectory(prefix="facevlm-batch-") as folder,
            Loader(faces, cutter, int(self._sizes["batch_size"] or 1), self._sizes["threads"]) as loader,
        ):
            parts = (_Part(Path(folder) / f"{n}.jsonl") for n in iter(int, 1))
            part = next(parts)
            for face, body, known in self._requests(loader, questions, kept):
                if known is not None:
                    self._known += 1
                    kept.add([row_of(face, questions, known)])
                    continue
                if most is not None and self._sent >= most:
                    break
                line = _line(face, body)
                if not part.takes(line):
                    self._send(service, part, questions)
                    part = next(parts)
                part.add(line)
                self._sent += 1
                yield Progress(self._sent + self._known + self._unread, self.total, self.tally)
            if part.requests:
                self._send(service, part, questions)

    def _requests(
        self, loader: Loader, questions: Sequence[Question], kept: ChunkWriter[list[Prediction]]
    ) -> Iterator[tuple[Face, Mapping[str, Any], list[Reply] | None]]:
        """Every face with its request; one that cannot be read is written as such and left out."""
        for face, picture in loader:
            if isinstance(picture, ImageError):
                self._unread += 1
                kept.add([storable(unread_row(face, questions, picture), self._lacking)])
                continue
            [(body, known)] = self._batching.requests([picture], questions)
            yield face, body, known

    def _affordable(self, questions: Sequence[Question]) -> int | None:
        """How many requests fit into the budget, None without one."""
        dollars = self._batching.batch_briefing(1, questions).dollars
        budget = self._remote.budget
        return None if budget is None or not dollars else int(budget / dollars)

    def _send(self, service: BatchService, part: _Part, questions: Sequence[Question]) -> None:
        # Before and after: whoever collects meanwhile, or after this process ended here, looks for it by its mark.
        self._note("submitting")
        state = service.submit(part.path, f"{self._mark}-{len(self._batches)}")
        self._batches.append(state.id)
        part.path.unlink()
        self._note("submitting")

    def _note(self, status: str) -> None:
        """Keep what is needed to collect from any process: no picture, no key. What is collected already stays so."""
        chosen = self._subjects.selection
        before = runs.fresh(self._dataset, self.batch_key)
        record = {
            "status": status,
            "prefix": self.prefix,
            "mark": self._mark,
            "model": self._model,
            "remote": asdict(self._remote),
            "about": None if chosen is None else asdict(chosen),
            "stamps": dict(self._stamps),
            "fields": dict(self.fields),
            "asked": json.dumps({name: asdict(question) for name, question in self.questions.items()}),
            "batches": list(self._batches),
            "collected": before["collected"] if before.get("mark") == self._mark else [],
        }
        runs.write(self._dataset, self.batch_key, record, METHOD)

    def submitted(self) -> Submitted:
        """What was handed in."""
        left = self.total - self._sent - self._known - self._unread
        skipped = len(self._subjects.faces) - self.total
        return Submitted(
            self.run_key, self.prefix, self._sent, tuple(self._batches), self._known, self._unread, left, skipped
        )


def _line(face: Face, body: Mapping[str, Any]) -> bytes:
    """A request in a batch; its id names the face by the ids of the dataset, and says nothing else."""
    name = face.sample_id if face.label_id is None else f"{face.sample_id}.{face.label_id}"
    request = {"custom_id": name, "method": "POST", "url": URL, "body": body}
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def _check_none_out(dataset: Any, prefix: str) -> None:
    record = runs.fresh(dataset, batch_key(prefix))
    out = [batch for batch in record.get("batches") or () if batch not in (record.get("collected") or ())]
    if out or record.get("status", "submitted") != "submitted":
        raise FieldError(
            f"{len(out) or 'Some'} batches of prefix '{prefix}' are not collected yet. Collect or cancel them first "
            f"(facevlm batch collect {dataset.name} --prefix {prefix}), or choose another prefix."
        )
