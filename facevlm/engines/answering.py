"""A backend is shown pictures, and what it answers becomes one row of predictions for each face, in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from facevlm import parsing
from facevlm.backends import Backend, BackendInfo, PictureSpec
from facevlm.engines.reading import Loaded
from facevlm.errors import ImageError, ModelError, SmallFaceError
from facevlm.types import Face, Prediction, Question, Reply

Row = list[Prediction]
HELD_BYTES = 2**30
"""Memory for pictures that wait for their turn with the next checkpoint."""
USUAL_PIXELS = 1024 * 1024
SHAPE = "answer(images, questions) returns for every picture a list with one facevlm.Reply per question"


def rounds(questions: Sequence[Question], info: BackendInfo) -> list[list[Question]]:
    """The questions that are asked together: all, or in turns where the backend cannot hold all its checkpoints."""
    turn = {name: number for number, names in enumerate(info.turns) for name in names}
    groups: dict[int, list[Question]] = {}
    for question in questions:
        groups.setdefault(turn.get(question.attribute.name, -1), []).append(question)
    return list(groups.values())


def held(questions: Sequence[Question], info: BackendInfo, batch_size: int) -> int:
    """How many pictures are gone through together: a batch, or as many as memory holds where checkpoints take turns."""
    if len(rounds(questions, info)) == 1:
        return batch_size
    return max(batch_size, HELD_BYTES // _bytes_per_picture(info.picture))


def _bytes_per_picture(spec: PictureSpec | None) -> int:
    return 3 * (spec.width * spec.height if spec else USUAL_PIXELS)


def answered(
    backend: Backend, questions: Sequence[Question], pictures: Sequence[Loaded], batch_size: int
) -> Iterator[tuple[list[Row], float]]:
    """After every batch, the rows that are whole, in order, and the seconds that the backend took for it."""
    table: list[Row] = [[] for _ in pictures]
    asked = rounds(questions, backend.info)
    for number, members in enumerate(asked, 1):
        for first in range(0, len(pictures), batch_size):
            began = time.perf_counter()
            rows = _answer(backend, members, pictures[first : first + batch_size])
            seconds = time.perf_counter() - began
            for row, more in zip(table[first : first + batch_size], rows, strict=True):
                row += more
            yield (table[first : first + batch_size] if number == len(asked) else []), seconds


def _answer(backend: Backend, questions: Sequence[Question], batch: Sequence[Loaded]) -> list[Row]:
    """One row of predictions per face, in order."""
    pictures = [picture for _, picture in batch if not isinstance(picture, ImageError)]
    answers = backend.answer(pictures, questions) if pictures else []
    check_shape(answers, len(pictures), "rows of replies", "picture")
    replies, rows = iter(answers), []
    for face, picture in batch:
        if isinstance(picture, ImageError):
            rows.append(unread_row(face, questions, picture))
        else:
            rows.append(row_of(face, questions, next(replies)))
    return rows


def unread_row(face: Face, questions: Sequence[Question], error: ImageError) -> Row:
    made = parsing.too_small if isinstance(error, SmallFaceError) else parsing.failed
    return [made(face, question, str(error)) for question in questions]


def check_shape(answers: object, wanted: int, what: str, each: str) -> None:
    """Raise :class:`~facevlm.errors.ModelError` where a backend, which anybody may write, answers in another shape."""
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise ModelError(f"The backend gave a {type(answers).__name__} for {what}, expected a list: {SHAPE}.")
    if len(answers) != wanted:
        raise ModelError(f"The backend gave {len(answers)} {what}, expected {wanted}, one per {each}.")


def row_of(face: Face, questions: Sequence[Question], replies: Sequence[Reply]) -> Row:
    check_shape(replies, len(questions), "replies", "question")
    for reply in replies:
        if not isinstance(reply, Reply):
            raise ModelError(f"The backend gave a {type(reply).__name__} as a reply, expected a Reply: {SHAPE}.")
    return [parsing.predict(face, question, reply) for question, reply in zip(questions, replies, strict=True)]
