"""The only loop: load -> answer -> parse -> write. Knows nothing of FiftyOne, models, or forms.

Threads decode the next pictures while the model works and another thread writes the last chunk. Every face ends
as exactly one prediction per question; a face that cannot be read does not disturb the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from PIL.Image import Image

from facevlm import parsing
from facevlm.backends import Backend, BackendInfo, PictureSpec, Streaming
from facevlm.engines.reading import Cutter, Loaded, Loader, batches
from facevlm.engines.tally import Progress, Tally
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import ImageError, ModelError, SmallFaceError, check_sizes
from facevlm.faces.crops import Crop
from facevlm.types import Face, Prediction, Question, Reply

Item = TypeVar("Item")
Write = Callable[[Sequence[Prediction]], None]
HELD_BYTES = 2**30
"""Memory for pictures that wait for their turn with the next checkpoint."""
USUAL_PIXELS = 1024 * 1024


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
    with ChunkWriter(_flat(write), chunk_size) as writer, Loader(faces, cutter, batch_size, threads) as loader:
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


def _finish(rows: list[list[Prediction]], tally: Tally, writer: ChunkWriter[list[Prediction]]) -> None:
    for row in rows:
        for prediction in row:
            tally.add(prediction)
        tally.small += bool(row and row[0].face.small)
    writer.add(rows)
    tally.faces += len(rows)


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


def _flat(write: Write) -> Callable[[Sequence[list[Prediction]]], None]:
    return lambda rows: write([prediction for row in rows for prediction in row])
