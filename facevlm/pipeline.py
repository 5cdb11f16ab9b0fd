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
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from PIL.Image import Image, Resampling

from facevlm import crops, images, parsing
from facevlm.backends import Backend, BackendInfo, PictureSpec, Streaming
from facevlm.crops import Crop
from facevlm.errors import ImageError, InputError, ModelError, SmallFaceError
from facevlm.types import Face, Prediction, Question, Reply

Item = TypeVar("Item")
Write = Callable[[Sequence[Prediction]], None]
LOW_COVERAGE = 0.5
AHEAD = 3
HELD_BYTES = 2**30
"""Memory for pictures that wait for their turn with the next checkpoint."""
USUAL_PIXELS = 1024 * 1024
AT_ONCE = 64
"""Most faces that are cut out of one decoded picture before the next is begun: a crowd must not fill the memory."""


@dataclass
class Tally:
    """What came of a run so far: outcomes per attribute, reasons, seconds, coverage; ``small`` faces among them."""

    faces: int = 0
    small: int = 0
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
    crop: Crop | None = None,
    min_face_px: int | None = None,
) -> Generator[Progress, None, None]:
    """Ask ``questions`` about every face and write the predictions in chunks of ``chunk_size`` faces.

    Faces with a box are cut out as ``crop`` says; those whose box has a shorter side below ``min_face_px`` pixels are
    not asked about. Faces of one picture should stand together: it is then decoded once for all of them.
    A generator: it works while it is iterated and yields after every batch, or where the backend streams whenever
    something is ready and at least twice a second. Closing it, or an error in it, writes what was answered so far.
    """
    check_sizes(batch_size=batch_size, chunk_size=chunk_size, threads=threads, min_face_px=min_face_px)
    cutter = Cutter(backend.info, crop, min_face_px)
    tally = tally if tally is not None else Tally()
    before, start = tally.seconds, time.perf_counter()
    rounds = _rounds(questions, backend.info)
    held = batch_size if len(rounds) == 1 else max(batch_size, HELD_BYTES // _bytes_per_picture(backend.info.picture))
    done = 0
    with Writer(_flat(write), chunk_size) as writer, Loader(faces, cutter, batch_size, threads) as loader:
        if isinstance(backend, Streaming):
            for rows in _streamed(backend, questions, loader):
                tally.seconds = before + time.perf_counter() - start
                tally.model_seconds = tally.seconds
                _finish(rows, tally, writer)
                done += len(rows)
                yield Progress(done, len(faces), tally)
            return
        for pictures in batches(loader, held):
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


def _finish(rows: list[list[Prediction]], tally: Tally, writer: Writer[list[Prediction]]) -> None:
    for row in rows:
        for prediction in row:
            tally.add(prediction)
        tally.small += bool(row and row[0].face.small)
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
            rows.append(unread_row(face, questions, picture))
        else:
            rows.append(row_of(face, questions, next(replies)))
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
                unread.append(unread_row(face, questions, picture))
            else:
                waiting[count] = face
                count += 1
                yield picture

    with closing(backend.stream(pictures(), questions)) as answered:
        for ready in answered:
            rows, unread[:] = unread[:], []
            for number, replies in ready:
                rows.append(row_of(waiting.pop(number), questions, replies))
            yield rows
    if unread:
        yield unread


def unread_row(face: Face, questions: Sequence[Question], error: ImageError) -> list[Prediction]:
    made = parsing.too_small if isinstance(error, SmallFaceError) else parsing.failed
    return [made(face, question, str(error)) for question in questions]


def row_of(face: Face, questions: Sequence[Question], replies: Sequence[Reply]) -> list[Prediction]:
    if len(replies) != len(questions):
        raise ModelError(f"The backend gave {len(replies)} replies, expected {len(questions)}, one per question.")
    return [parsing.predict(face, question, reply) for question, reply in zip(questions, replies, strict=True)]


def batches(items: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Loader:
    """Pictures in order, decoded by threads a few batches ahead; an unreadable one comes as its error."""

    def __init__(self, faces: Sequence[Face], cutter: Cutter, batch_size: int, threads: int | None = None) -> None:
        self._faces, self._ahead, self._cutter = faces, AHEAD * batch_size, cutter
        self._pool = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1), thread_name_prefix="facevlm-load")

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Loaded]:
        waiting: deque[tuple[int, Future[list[Loaded]]]] = deque()
        queued = 0
        for together in _by_picture(self._faces):
            waiting.append((len(together), self._pool.submit(self._cutter, together)))
            queued += len(together)
            while queued >= self._ahead:
                count, oldest = waiting.popleft()
                queued -= count
                yield from oldest.result()
        for _, rest in waiting:
            yield from rest.result()


def _by_picture(faces: Sequence[Face]) -> Iterator[list[Face]]:
    """Faces that stand together and are of one picture, ``AT_ONCE`` at most."""
    for _, group in itertools.groupby(faces, key=lambda face: (face.filepath, face.box_xywh_rel is None)):
        while together := list(itertools.islice(group, AT_ONCE)):
            yield together


class Cutter:
    """The faces of one picture, cut out of it as a model takes them; the picture is decoded once."""

    def __init__(self, info: BackendInfo, crop: Crop | None = None, min_face_px: int | None = None) -> None:
        spec = info.picture
        self._size = (spec.width, spec.height) if spec else None
        self._resample = spec.resample if spec else Resampling.BICUBIC
        self._max_side, self._crop, self._least = info.max_side, crop or Crop(), min_face_px

    def __call__(self, faces: Sequence[Face]) -> list[Loaded]:
        try:
            if faces[0].box_xywh_rel is None:
                size, resample, side = self._size, self._resample, self._max_side
                whole = images.load(faces[0].filepath, size, resample, max_side=side)
                return [(face, whole) for face in faces]
            picture = images.load(faces[0].filepath)
        except ImageError as error:
            return [(face, error) for face in faces]
        return [self._cut(picture, face, face.box_xywh_rel) for face in faces if face.box_xywh_rel is not None]

    def _cut(self, picture: Image, face: Face, box: images.BOX) -> Loaded:
        try:
            face = replace(face, side_px=images.side_px(box, picture.width, picture.height))
            self._check_size(face)
            cut = crops.cut(picture, box, self._crop, face.eyes_xy_rel, self._size, self._resample)
            return face, cut if self._max_side is None else images.shrunk(cut, self._max_side)
        except ImageError as error:
            return face, error

    def _check_size(self, face: Face) -> None:
        if self._least is not None and face.side_px is not None and face.side_px < self._least:
            raise SmallFaceError(f"small: the face has less than min_face_px={self._least} pixels")


class Writer(Generic[Item]):
    """Collects what is to be written and writes a chunk at a time in one thread of its own, in order."""

    def __init__(self, write: Callable[[Sequence[Item]], None], chunk_size: int) -> None:
        self._write, self._chunk_size = write, chunk_size
        self._items: list[Item] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="facevlm-write")
        self._last: Future[None] | None = None

    def __enter__(self) -> Writer[Item]:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._flush()
            if self._last is not None:
                self._last.result()
        finally:
            self._pool.shutdown(wait=True)

    def add(self, items: Sequence[Item]) -> None:
        self._items += items
        if len(self._items) >= self._chunk_size:
            self._flush()

    def _flush(self) -> None:
        if self._last is not None:
            self._last.result()
        if self._items:
            self._last = self._pool.submit(self._write, self._items)
            self._items = []


def _flat(write: Write) -> Callable[[Sequence[list[Prediction]]], None]:
    return lambda rows: write([prediction for row in rows for prediction in row])
