"""The only loop: load -> answer -> parse -> write. Knows nothing of FiftyOne, models, or forms.

Threads decode the next pictures while the model works and another thread writes the last chunk. Every face ends
as exactly one prediction per question; a face that cannot be read does not disturb the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from facevlm.backends import Backend, Streaming
from facevlm.engines.answering import Row, answered, held, row_of, unread_row
from facevlm.engines.reading import Cutter, Framing, Loaded, Loader, batches
from facevlm.engines.tally import Progress, Tally
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import ImageError, check_sizes
from facevlm.faces.crops import Crop
from facevlm.types import Face, Prediction, Question

Write = Callable[[Sequence[Prediction]], None]


@runtime_checkable
class Spreading(Protocol):
    """A backend that reads and answers faces elsewhere, many at a time."""

    def spread(
        self, faces: Sequence[Face], questions: Sequence[Question], framing: Framing, batch_size: int
    ) -> Generator[list[Row], None, None]:
        """Rows of predictions as they are ready, in any order; a list, empty or not, at least twice a second."""

    def rest(self) -> list[Row]:
        """Rows that were ready when :meth:`spread` was closed."""


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
    A generator: it works while it is iterated and yields after every batch, or where the backend streams or spreads
    whenever something is ready and at least twice a second. Closing it, or an error in it, writes what was answered so
    far.
    """
    check_sizes(batch_size=batch_size, chunk_size=chunk_size, threads=threads, min_face_px=min_face_px)
    tally = tally if tally is not None else Tally()
    before, start = tally.seconds, time.perf_counter()
    framing, done = Framing(crop, min_face_px, threads), 0
    with (
        ChunkWriter(_flat(write), chunk_size) as writer,
        _source(backend, faces, questions, framing, batch_size) as source,
    ):
        try:
            for rows, seconds in source:
                tally.seconds = before + time.perf_counter() - start
                tally.model_seconds = tally.seconds if seconds is None else tally.model_seconds + seconds
                _finish(rows, tally, writer)
                done += len(rows)
                yield Progress(done, len(faces), tally)
        finally:
            if isinstance(backend, Spreading):
                source.close()
                _finish(backend.rest(), tally, writer)
    tally.seconds = before + time.perf_counter() - start


Answers = Generator[tuple[list[Row], "float | None"], None, None]
"""Rows that are whole, and the seconds of the model for them, None where it works all the time."""


def _source(
    backend: Backend, faces: Sequence[Face], questions: Sequence[Question], framing: Framing, batch_size: int
) -> closing[Answers]:
    if isinstance(backend, Spreading):
        return closing(_timeless(backend.spread(faces, questions, framing, batch_size)))
    return closing(_here(backend, faces, questions, framing, batch_size))


def _here(
    backend: Backend, faces: Sequence[Face], questions: Sequence[Question], framing: Framing, batch_size: int
) -> Answers:
    """Pictures are read in this process."""
    with Loader(faces, Cutter(backend.info, framing.crop, framing.min_face_px), batch_size, framing.threads) as loader:
        if isinstance(backend, Streaming):
            yield from _timeless(_streamed(backend, questions, loader))
            return
        for pictures in batches(loader, held(questions, backend.info, batch_size)):
            yield from answered(backend, questions, pictures, batch_size)


def _timeless(source: Generator[list[Row], None, None]) -> Answers:
    with closing(source):
        for rows in source:
            yield rows, None


def _finish(rows: list[Row], tally: Tally, writer: ChunkWriter[Row]) -> None:
    for row in rows:
        for prediction in row:
            tally.add(prediction)
        tally.small += bool(row and row[0].face.small)
    writer.add(rows)
    tally.faces += len(rows)


def _streamed(
    backend: Streaming, questions: Sequence[Question], loaded: Iterable[Loaded]
) -> Generator[list[Row], None, None]:
    """Rows of predictions as they are ready, in any order; faces whose picture cannot be read come along."""
    waiting: dict[int, Face] = {}
    unread: list[Row] = []

    def pictures() -> Iterator[Image]:
        count = 0
        for face, picture in loaded:
            if isinstance(picture, ImageError):
                unread.append(unread_row(face, questions, picture))
            else:
                waiting[count] = face
                count += 1
                yield picture

    with closing(backend.stream(pictures(), questions)) as streamed:
        for ready in streamed:
            rows, unread[:] = unread[:], []
            for number, replies in ready:
                rows.append(row_of(waiting.pop(number), questions, replies))
            yield rows
    if unread:
        yield unread


def _flat(write: Write) -> Callable[[Sequence[Row]], None]:
    return lambda rows: write([prediction for row in rows for prediction in row])
