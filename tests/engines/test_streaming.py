"""The loop with a backend that streams: every face once, unreadable ones too, in any order, and early ends."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import BackendInfo, Streaming
from facevlm.engines.local import run
from facevlm.errors import ModelError
from facevlm.types import Face, Prediction, Question, Reply
from tests.scripted import ScriptedBackend, certain

GENDER = get("gender")
QUESTION = Question(GENDER, "who?", (("man",), ("woman",)))


class Streamed(ScriptedBackend):
    """Hands answers back in reverse order, ``window`` pictures at a time; ``limit`` pictures at most."""

    def __init__(self, window: int = 3, limit: int = 10**6, max_side: int | None = None) -> None:
        super().__init__(lambda image, question: certain("Male" if _level(image) < 5 else "Female", question))
        self.window, self.limit, self.max_side = window, limit, max_side
        self.sizes: list[tuple[int, int]] = []
        self.closed = False

    @property
    def info(self) -> BackendInfo:
        return BackendInfo("streamed", {}, "cpu", "none", "chat", max_side=self.max_side)

    def stream(
        self, images: Iterable[Image.Image], questions: Sequence[Question]
    ) -> Generator[list[tuple[int, list[Reply]]], None, None]:
        held: list[tuple[int, Image.Image]] = []
        try:
            yield []
            for number, image in enumerate(images):
                if number >= self.limit:
                    return
                self.sizes.append(image.size)
                held.append((number, image))
                if len(held) == self.window:
                    yield self._answers(held, questions)
            yield self._answers(held, questions)
        finally:
            self.closed = True

    def _answers(
        self, held: list[tuple[int, Image.Image]], questions: Sequence[Question]
    ) -> list[tuple[int, list[Reply]]]:
        taken, held[:] = held[::-1], []
        return [(number, self.answer([image], questions)[0]) for number, image in taken]


def _level(image: Image.Image) -> int:
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return round((pixel[0] - 10) / 20)


@pytest.fixture
def faces(pictures: list[str]) -> list[Face]:
    return [Face(str(k), path) for k, path in enumerate(pictures)]


def work(faces: list[Face], backend: Streamed) -> tuple[list[Prediction], list[tuple[int, int]]]:
    written: list[Prediction] = []
    steps = [(p.done, p.total) for p in run(faces, backend, [QUESTION], written.extend, chunk_size=4)]
    return written, steps


@pytest.mark.parametrize("window", [1, 3, 10, 50])
def test_every_face_gets_its_own_answer_whatever_the_order(faces: list[Face], window: int) -> None:
    backend = Streamed(window)
    assert isinstance(backend, Streaming)
    written, steps = work(faces, backend)
    assert {p.face.sample_id: p.label for p in written} == {str(k): "Male" if k < 5 else "Female" for k in range(10)}
    assert len(written) == 10
    assert steps[0] == (0, 10)
    assert steps[-1] == (10, 10)
    assert backend.closed


@pytest.mark.parametrize("bad", [[0], [9], [3, 4], list(range(10))])
def test_unreadable_pictures_end_as_failed(faces: list[Face], bad: list[int]) -> None:
    for k in bad:
        Path(faces[k].filepath).unlink()
    written, steps = work(faces, Streamed())
    assert sorted(int(p.face.sample_id) for p in written) == list(range(10))
    assert {int(p.face.sample_id) for p in written if p.outcome == "failed"} == set(bad)
    assert steps[-1] == (10, 10)


def test_an_early_end_leaves_faces_without_an_answer(faces: list[Face]) -> None:
    written, steps = work(faces, Streamed(window=2, limit=4))
    assert sorted(p.face.sample_id for p in written) == ["0", "1", "2", "3"]
    assert steps[-1] == (4, 10)


def test_closing_closes_the_stream_and_writes_what_was_answered(faces: list[Face]) -> None:
    backend, written = Streamed(window=2), list[Prediction]()
    steps = run(faces, backend, [QUESTION], written.extend)
    for _ in range(3):
        next(steps)
    steps.close()
    assert backend.closed
    assert len(written) == 4


def test_pictures_come_no_larger_than_the_backend_takes(faces: list[Face], tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.png")
    backend = Streamed(max_side=60)
    work([Face("w", str(tmp_path / "wide.png")), faces[0]], backend)
    assert backend.sizes == [(60, 20), (24, 24)]


class Short(Streamed):
    """Gives no reply to any question."""

    def answer(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> list[list[Reply]]:
        return [[] for _ in images]


def test_a_reply_short_is_an_error(faces: list[Face]) -> None:
    backend = Short()
    with pytest.raises(ModelError, match="gave 0 replies, expected 1"):
        work(faces, backend)
    assert backend.closed
