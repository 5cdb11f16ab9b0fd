"""The only loop: load -> answer -> parse -> write. Knows nothing of FiftyOne, models, or forms.

Threads decode the next pictures while the model works and another thread writes the last chunk. Every face ends
as exactly one prediction per question; a face that cannot be read does not disturb the others.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from PIL.Image import Image, Resampling

from facevlm import images, parsing
from facevlm.backends import Backend, BackendInfo, PictureSpec, Streaming
from facevlm.errors import ImageError, InputError, ModelError
from facevlm.types import Face, Prediction, Question, Reply

Write = Callable[[Sequence[Prediction]], None]
LOW_COVERAGE = 0.5
AHEAD = 3
HELD_BYTES = 2**30
"""Memory for pictures that wait for their turn with the next checkpoint."""
USUAL_PIXELS = 1024 * 1024


@dataclass
class Tally:
    """What came of a run so far: outcomes per attribute, reasons, seconds, coverage."""

    faces: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    coverage_sum: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        self.outcomes.setdefault(prediction.attribute, Counter())[prediction.outcome] += 1
        if prediction.reason:
            self.reasons[prediction.reason] += 1
        if prediction.coverage is not None:
            self.coverage_sum[prediction.attribute] += prediction.coverage  # type: ignore[assignment]

    def coverage(self) -> dict[str, float]:
        """Mean share of the model's probability that lay on the label set, per attribute that was scored."""
        return {name: total / self.outcomes[name]["ok"] for name, total in self.coverage_sum.items()}

    def warnings(self) -> list[str]:
        """Sentences about attributes whose prompt or answer strings do not seem to fit the model."""
        return [
            f"{name}: on average only {share:.0%} of the model's probability lies on its labels. "
            "The prompt or the answer strings may not fit this model."
            for name, share in self.coverage().items()
            if share < LOW_COVERAGE
        ]


@dataclass(frozen=True)
class Progress:
    """After every batch: how many of the faces are done, and the tally."""

    done: int
    total: int
    tally: Tally


def check_sizes(**sizes: int | None) -> None:
    """Raise :class:`~facevlm.errors.InputError` unless every size is a whole number from 1 on, or None."""
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"Got {name}={size!r}, expected a whole number from 1 on.")


def run(
    faces: Sequence[Face],
    backend: Backend,
    questions: Sequence[Question],
    write: Write,
    *,
    batch_size: int = 32,
    chunk_size: int = 256,
    threads: int | None = None,
    tally: Tally | None = None,
) -> Generator[Progress, None, None]:
    """Ask ``questions`` about every face and write the predictions in chunks of ``chunk_size`` faces.

    A generator: it works while it is iterated and yields after every batch, or where the backend streams whenever
    something is ready and at least twice a second. Closing it, or an error in it, writes what was answered so far.
    """
    check_sizes(batch_size=batch_size, chunk_size=chunk_size, threads=threads)
    tally = tally if tally is not None else Tally()
    before, start = tally.seconds, time.perf_counter()
    rounds = _rounds(questions, backend.info)
    held = batch_size if len(rounds) == 1 else max(batch_size, HELD_BYTES // _bytes_per_picture(backend.info.picture))
    done = 0
    with _Writer(write, chunk_size) as writer, _Loader(faces, backend.info, batch_size, threads) as loader:
        if isinstance(backend, Streaming):
            for rows in _streamed(backend, questions, loader):
                tally.seconds = before + time.perf_counter() - start
                tally.model_seconds = tally.seconds
                _finish(rows, tally, writer)
                done += len(rows)
                yield Progress(done, len(faces), tally)
            return
        for pictures in _batches(loader, held):
            table: list[list[Prediction]] = [[] for _ in pictures]
            for number, members in enumerate(rounds, 1):
                for first in range(0, len(pictures), batch_size):
                    batch = pictures[first : first + batch_size]
                    began = time.perf_counter()
                    rows = _answer(backend, members, batch)
                    tally.model_seconds += time.perf_counter() - began
                    for row, more in zip(table[first : first + batch_size], rows, strict=True):
                        row += more
                    tally.seconds = before + time.perf_counter() - start
                    if number == len(rounds):
                        _finish(table[first : first + batch_size], tally, writer)
                        done += len(batch)
                    yield Progress(done, len(faces), tally)
    tally.seconds = before + time.perf_counter() - start


def _rounds(questions: Sequence[Question], info: BackendInfo) -> list[list[Question]]:
    """The questions that are asked together: all, or in turns where the backend cannot hold all its checkpoints."""
    turn = {name: number for number, names in enumerate(info.turns) for name in names}
    groups: dict[int, list[Question]] = {}
    for question in questions:
        groups.setdefault(turn.get(question.attribute.name, -1), []).append(question)
    return list(groups.values())


def _bytes_per_picture(spec: PictureSpec | None) -> int:
    return 3 * (spec.width * spec.height if spec else USUAL_PIXELS)


def _finish(rows: list[list[Prediction]], tally: Tally, writer: _Writer) -> None:
    for row in rows:
        for prediction in row:
            tally.add(prediction)
    writer.add(rows)
    tally.faces += len(rows)


Loaded = tuple[Face, "Image | ImageError"]


def _answer(backend: Backend, questions: Sequence[Question], batch: Sequence[Loaded]) -> list[list[Prediction]]:
    """One row of predictions per face, in order."""
    pictures = [picture for _, picture in batch if not isinstance(picture, ImageError)]
    answers = backend.answer(pictures, questions) if pictures else []
    if len(answers) != len(pictures):
        raise ModelError(f"The backend gave {len(answers)} rows of replies, expected {len(pictures)}, one per picture.")
    replies, rows = iter(answers), []
    for face, picture in batch:
        if isinstance(picture, ImageError):
            rows.append([parsing.failed(face, question, str(picture)) for question in questions])
        else:
            rows.append(_row(face, questions, next(replies)))
    return rows


def _streamed(
    backend: Streaming, questions: Sequence[Question], loaded: Iterable[Loaded]
) -> Generator[list[list[Prediction]], None, None]:
    """Rows of predictions as they are ready, in any order; faces whose picture cannot be read come along."""
    waiting: dict[int, Face] = {}
    unread: list[list[Prediction]] = []

    def pictures() -> Iterator[Image]:
        count = 0
        for face, picture in loaded:
            if isinstance(picture, ImageError):
                unread.append([parsing.failed(face, question, str(picture)) for question in questions])
            else:
                waiting[count] = face
                count += 1
                yield picture

    with closing(backend.stream(pictures(), questions)) as answered:
        for ready in answered:
            rows, unread[:] = unread[:], []
            for number, replies in ready:
                rows.append(_row(waiting.pop(number), questions, replies))
            yield rows
    if unread:
        yield unread


def _row(face: Face, questions: Sequence[Question], replies: Sequence[Reply]) -> list[Prediction]:
    if len(replies) != len(questions):
        raise ModelError(f"The backend gave {len(replies)} replies, expected {len(questions)}, one per question.")
    return [parsing.predict(face, question, reply) for question, reply in zip(questions, replies, strict=True)]


def _batches(items: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class _Loader:
    """Pictures in order, decoded by threads a few batches ahead; an unreadable one comes as its error."""

    def __init__(self, faces: Sequence[Face], info: BackendInfo, batch_size: int, threads: int | None) -> None:
        self._faces, self._ahead, self._max_side = faces, AHEAD * batch_size, info.max_side
        spec = info.picture
        self._size = (spec.width, spec.height) if spec else None
        self._resample = spec.resample if spec else Resampling.BICUBIC
        self._pool = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1), thread_name_prefix="facevlm-load")

    def __enter__(self) -> _Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Loaded]:
        waiting: deque[Future[Loaded]] = deque()
        for face in self._faces:
            waiting.append(self._pool.submit(self._load, face))
            if len(waiting) >= self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _load(self, face: Face) -> Loaded:
        try:
            picture = images.load(face.filepath, face.box_xywh_rel, self._size, self._resample, max_side=self._max_side)
            return face, picture
        except ImageError as error:
            return face, error


class _Writer:
    """Collects predictions and writes them a chunk at a time in one thread of its own, in order."""

    def __init__(self, write: Write, chunk_size: int) -> None:
        self._write, self._chunk_size = write, chunk_size
        self._rows: list[list[Prediction]] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="facevlm-write")
        self._last: Future[None] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._flush()
            if self._last is not None:
                self._last.result()
        finally:
            self._pool.shutdown(wait=True)

    def add(self, rows: list[list[Prediction]]) -> None:
        self._rows += rows
        if len(self._rows) >= self._chunk_size:
            self._flush()

    def _flush(self) -> None:
        if self._last is not None:
            self._last.result()
        if self._rows:
            flat = [prediction for row in self._rows for prediction in row]
            self._last = self._pool.submit(self._write, flat)
            self._rows = []
