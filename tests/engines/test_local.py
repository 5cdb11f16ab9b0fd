"""The loop: nothing is lost, nothing changes places, and one bad picture disturbs no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import PictureSpec
from facevlm.engines.local import run
from facevlm.engines.reading import AHEAD
from facevlm.engines.tally import Tally
from facevlm.errors import InputError, ModelError
from facevlm.types import Face, Prediction, Question, Reply
from tests.scripted import ScriptedBackend, certain

AGE = get("age9")
QUESTION = Question(AGE, "how old?", tuple((label,) for label in AGE.labels))
GENDER = get("gender")
OTHER = Question(GENDER, "who?", (("man",), ("woman",)))
COUNT = len(AGE.labels)


class Sink:
    """Keeps what is written, a chunk at a time; fails at a chunk if told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.chunks: list[list[Prediction]] = []
        self._fail_at = fail_at

    def __call__(self, predictions: Sequence[Prediction]) -> None:
        if len(self.chunks) == self._fail_at:
            raise OSError("disk full")
        self.chunks.append(list(predictions))

    @property
    def ids(self) -> list[str]:
        return [prediction.face.sample_id for chunk in self.chunks for prediction in chunk]

    @property
    def all(self) -> list[Prediction]:
        return [prediction for chunk in self.chunks for prediction in chunk]


def level(image: Image.Image) -> int:
    """Which of the faces it is: their grey level is 20 times their number."""
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return round(pixel[0] / 20)


def tell(image: Image.Image, question: Question) -> Reply:
    labels = question.attribute.labels
    return certain(labels[level(image) % len(labels)], question)


@pytest.fixture
def faces(tmp_path: Path) -> list[Face]:
    """Nine faces by grey level, the first of them the largest files, so that they take longest to decode."""
    paths = [tmp_path / f"{k}.png" for k in range(COUNT)]
    for k, path in enumerate(paths):
        side = 400 if k < 3 else 8
        Image.new("RGB", (side, side + k), (20 * k,) * 3).save(path)
    return [Face(str(k), str(path)) for k, path in enumerate(paths)]


def work(faces: Sequence[Face], backend: ScriptedBackend, sink: Sink, **options: Any) -> Tally:
    tally = Tally()
    for _ in run(faces, backend, [QUESTION], sink, tally=tally, **options):
        pass
    return tally


@pytest.mark.parametrize("threads", [None, 1, 8])
@pytest.mark.parametrize(("batch_size", "chunk_size"), [(1, 1), (2, 4), (4, 3), (9, 9), (32, 512)])
def test_every_face_gets_its_own_answer_in_order(
    faces: list[Face], batch_size: int, chunk_size: int, threads: int | None
) -> None:
    sink = Sink()
    work(faces, ScriptedBackend(tell), sink, batch_size=batch_size, chunk_size=chunk_size, threads=threads)
    assert [p.face for p in sink.all] == faces
    assert [p.label for p in sink.all] == list(AGE.labels)


@pytest.mark.parametrize(
    ("batch_size", "chunk_size", "batches", "chunks"),
    [(2, 4, [2, 2, 2, 2, 1], [4, 4, 1]), (3, 3, [3, 3, 3], [3, 3, 3]), (4, 6, [4, 4, 1], [8, 1]), (20, 1, [9], [9])],
)
def test_batches_go_to_the_model_and_whole_batches_into_chunks(
    faces: list[Face], batch_size: int, chunk_size: int, batches: list[int], chunks: list[int]
) -> None:
    sink, backend = Sink(), ScriptedBackend(tell)
    work(faces, backend, sink, batch_size=batch_size, chunk_size=chunk_size)
    assert backend.batches == batches
    assert [len(chunk) for chunk in sink.chunks] == chunks


def test_all_questions_of_a_face_are_written_together(faces: list[Face]) -> None:
    sink = Sink()
    list(run(faces, ScriptedBackend(tell), [QUESTION, OTHER], sink, batch_size=2, chunk_size=2))
    assert [(p.face.sample_id, p.attribute) for p in sink.all] == [
        (face.sample_id, name) for face in faces for name in ("age9", "gender")
    ]
    assert [p.label for p in sink.all if p.attribute == "gender"] == [GENDER.labels[k % 2] for k in range(COUNT)]
    assert [len(chunk) for chunk in sink.chunks] == [4, 4, 4, 4, 2]


def test_progress_comes_after_every_batch(faces: list[Face]) -> None:
    steps = [
        (p.done, p.total, p.tally.faces) for p in run(faces, ScriptedBackend(tell), [QUESTION], Sink(), batch_size=4)
    ]
    assert steps == [(4, 9, 4), (8, 9, 8), (9, 9, 9)]


def test_without_faces_nothing_is_asked_or_written() -> None:
    sink, backend = Sink(), ScriptedBackend(tell)
    assert list(run([], backend, [QUESTION], sink)) == []
    assert (backend.batches, sink.chunks) == ([], [])


# Pictures


def test_unreadable_pictures_fail_with_a_reason_and_the_rest_go_on(faces: list[Face], tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no picture")
    faces[7] = Face("7", faces[7].filepath, (2.0, 2.0, 1.0, 1.0))
    sink, backend = Sink(), ScriptedBackend(tell)
    tally = work(faces, backend, sink, batch_size=3)
    bad = {p.face.sample_id: (p.outcome, p.label, p.reason) for p in sink.all if p.outcome != "ok"}
    assert bad == {
        "1": ("failed", None, "file not found: 1.png"),
        "4": ("failed", None, "not a picture, or of an unknown format: 4.png"),
        "7": ("failed", None, "the box [2, 2, 1, 1] lies outside of the picture"),
    }
    assert {p.face.sample_id: p.label for p in sink.all if p.outcome == "ok"} == {
        str(k): AGE.labels[k] for k in (0, 2, 3, 5, 6, 8)
    }
    assert sink.ids == [str(k) for k in range(COUNT)]
    assert backend.batches == [2, 2, 2]
    assert tally.outcomes["age9"] == {"ok": 6, "failed": 3}
    assert tally.reasons["file not found: 1.png"] == 1


def test_a_model_is_not_asked_where_no_picture_can_be_read(tmp_path: Path) -> None:
    faces = [Face(str(k), str(tmp_path / f"{k}.png")) for k in range(4)]
    sink, backend = Sink(), ScriptedBackend(tell)
    list(run(faces, backend, [QUESTION, OTHER], sink, batch_size=2))
    assert backend.asked == 0
    assert [p.outcome for p in sink.all] == ["failed"] * 8


def test_pictures_come_in_the_size_that_the_model_takes(faces: list[Face]) -> None:
    seen: list[tuple[int, int]] = []

    def look(image: Image.Image, question: Question) -> Reply:
        seen.append(image.size)
        return tell(image, question)

    work(faces[2:4], ScriptedBackend(look, picture=PictureSpec(height=10, width=6)), Sink())
    assert seen == [(6, 10), (6, 10)]
    seen.clear()
    work(faces[2:4], ScriptedBackend(look), Sink())
    assert seen == [(400, 402), (8, 11)]


def test_the_box_of_a_face_is_what_the_model_sees(tmp_path: Path) -> None:
    strip = Image.new("RGB", (90, 10))
    for k in range(COUNT):
        strip.paste((20 * k,) * 3, (10 * k, 0, 10 * k + 10, 10))
    strip.save(tmp_path / "strip.png")
    boxes = [Face("s", str(tmp_path / "strip.png"), (k / 9, 0.0, 1 / 9, 1.0), str(k)) for k in (5, 0, 8)]
    sink = Sink()
    work(boxes, ScriptedBackend(tell, picture=PictureSpec(4, 4)), sink)
    assert [(p.face.label_id, p.label) for p in sink.all] == [(str(k), AGE.labels[k]) for k in (5, 0, 8)]


def test_only_a_few_batches_are_decoded_ahead(faces: list[Face]) -> None:
    class Counted(Sequence[Face]):
        taken = 0

        def __len__(self) -> int:
            return 90

        def __getitem__(self, index: int) -> Face:  # type: ignore[override]
            return faces[index % COUNT]

        def __iter__(self) -> Iterator[Face]:
            for k in range(len(self)):
                self.taken += 1
                yield self[k]

    many, sink = Counted(), Sink()
    steps = run(many, ScriptedBackend(tell), [QUESTION], sink, batch_size=2)
    next(steps)
    assert many.taken <= 2 * (AHEAD + 1)
    steps.close()
    assert len(sink.ids) == 2


# Stops


def test_closing_early_writes_what_was_answered(faces: list[Face]) -> None:
    sink, backend = Sink(), ScriptedBackend(tell)
    steps = run(faces, backend, [QUESTION], sink, batch_size=2)
    next(steps)
    next(steps)
    assert sink.chunks == []
    steps.close()
    assert sink.ids == ["0", "1", "2", "3"]
    assert backend.asked == 4


@pytest.mark.parametrize("chunk_size", [2, 3, 512])
def test_an_error_in_the_model_surfaces_after_earlier_answers_are_written(faces: list[Face], chunk_size: int) -> None:
    def break_at_five(image: Image.Image, question: Question) -> Reply:
        if level(image) == 5:
            raise ModelError("out of memory")
        return tell(image, question)

    sink = Sink()
    with pytest.raises(ModelError, match="out of memory"):
        work(faces, ScriptedBackend(break_at_five), sink, batch_size=2, chunk_size=chunk_size)
    assert sink.ids == ["0", "1", "2", "3"]


@pytest.mark.parametrize("rows", [0, 1, 3, 4])
def test_a_wrong_number_of_rows_is_an_error_after_earlier_answers_are_written(faces: list[Face], rows: int) -> None:
    class Miscounting(ScriptedBackend):
        def answer(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> list[list[Reply]]:
            answers = super().answer(images, questions)
            return answers if len(self.batches) < 3 else (answers * 2)[:rows]

    sink = Sink()
    with pytest.raises(ModelError, match=f"gave {rows} rows of replies, expected 2, one per picture"):
        work(faces, Miscounting(tell), sink, batch_size=2)
    assert sink.ids == ["0", "1", "2", "3"]


def test_rows_are_counted_against_the_pictures_that_could_be_read(faces: list[Face], tmp_path: Path) -> None:
    class Padding(ScriptedBackend):
        def answer(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> list[list[Reply]]:
            return [[tell(image, question) for question in questions] for image in (*images, images[0])]

    (tmp_path / "1.png").unlink()
    with pytest.raises(ModelError, match="gave 3 rows of replies, expected 2"):
        work(faces, Padding(tell), Sink(), batch_size=3)


@pytest.mark.parametrize("fail_at", [0, 1, 4])
def test_an_error_in_writing_surfaces_at_any_chunk(faces: list[Face], fail_at: int) -> None:
    sink = Sink(fail_at)
    with pytest.raises(OSError, match="disk full"):
        work(faces, ScriptedBackend(tell), sink, batch_size=2, chunk_size=2)
    assert sink.ids == [str(k) for k in range(2 * fail_at)]


def test_a_run_stops_soon_after_an_error_in_writing(faces: list[Face]) -> None:
    backend = ScriptedBackend(tell)
    with pytest.raises(OSError, match="disk full"):
        work(faces * 10, backend, Sink(0), batch_size=1, chunk_size=1)
    assert backend.asked <= 2


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, False])
@pytest.mark.parametrize("name", ["batch_size", "chunk_size", "threads"])
def test_bad_sizes_are_refused_before_anything_is_asked(faces: list[Face], name: str, size: Any) -> None:
    backend = ScriptedBackend(tell)
    with pytest.raises(InputError, match=f"Got {name}={size!r}, expected a whole number from 1 on"):
        list(run(faces, backend, [QUESTION], Sink(), **{name: size}))
    assert backend.asked == 0


# Tally


def test_replies_of_all_kinds_are_tallied(faces: list[Face]) -> None:
    replies = {0: Reply(refused=True), 1: Reply(error="timeout"), 2: Reply(text="a face"), 3: Reply(text="0-2")}
    backend = ScriptedBackend(lambda image, question: replies.get(level(image)) or tell(image, question))
    tally = work(faces, backend, Sink())
    assert tally.outcomes == {"age9": {"ok": 6, "refused": 1, "failed": 1, "unparsed": 1}}
    assert tally.reasons["timeout"] == 1
    assert tally.reasons.total() == 3
    assert tally.faces == COUNT
    assert 0 < tally.model_seconds <= tally.seconds


def test_coverage_is_the_mean_share_on_the_label_set(faces: list[Face]) -> None:
    def half_sure(image: Image.Image, question: Question) -> Reply:
        whole = certain("0-2", question).log_probs or ()
        lost = 0.5 if level(image) % 2 else 1.0
        return Reply(log_probs=tuple(value - lost for value in whole))

    tally = work(faces[:4], ScriptedBackend(half_sure), Sink(), batch_size=3)
    assert tally.coverage() == pytest.approx({"age9": (2.718281828**-1 + 2.718281828**-0.5) / 2})
    [warning] = tally.warnings()
    assert warning.startswith("age9: on average only 48.7 % of the model's probability lies on its labels.")


def test_next_to_no_coverage_is_not_said_to_be_none(faces: list[Face]) -> None:
    def strange(image: Image.Image, question: Question) -> Reply:
        return Reply(log_probs=tuple(value - 12 for value in certain("0-2", question).log_probs or ()))

    [warning] = work(faces[:4], ScriptedBackend(strange), Sink()).warnings()
    assert "only less than 0.1 % of the model's probability" in warning


def test_one_label_for_all_is_said_where_there_are_enough_answers() -> None:
    tally = Tally()
    for k in range(30):
        assert tally.warnings() == []
        tally.add(Prediction(Face(str(k), "x"), "gender", "ok", "Male"))
    [warning] = tally.warnings()
    assert warning.startswith("gender: all 30 answers are 'Male'.")
    tally.add(Prediction(Face("31", "x"), "gender", "ok", "Female"))
    assert tally.warnings() == []


def test_answers_that_the_other_way_decides_differently_are_counted() -> None:
    tally = Tally()
    tally.add(Prediction(Face("1", "x"), "gender", "ok", "Male", rival="Female"))
    tally.add(Prediction(Face("2", "x"), "gender", "ok", "Female"))
    assert tally.differing == {"gender": 1}
    [warning] = tally.warnings()
    assert warning.startswith("gender: of 1 of 2 answers greedy decoding takes another label")


def test_full_coverage_gives_no_warning_and_free_text_no_coverage(faces: list[Face]) -> None:
    scored = work(faces, ScriptedBackend(tell), Sink())
    assert scored.coverage() == pytest.approx({"age9": 1.0})
    assert scored.warnings() == []
    written = work(faces, ScriptedBackend(lambda image, question: Reply(text="0-2")), Sink())
    assert (written.coverage(), written.warnings()) == ({}, [])


def test_a_tally_goes_on_from_run_to_run(faces: list[Face]) -> None:
    tally = Tally()
    for part in (faces[:4], faces[4:]):
        before = tally.seconds
        list(run(part, ScriptedBackend(tell), [QUESTION, OTHER], Sink(), tally=tally))
        assert tally.seconds > before
    assert tally.faces == COUNT
    assert tally.outcomes == {"age9": {"ok": COUNT}, "gender": {"ok": COUNT}}


class OddRows(ScriptedBackend):
    """Gives one reply a picture, however many questions there are."""

    def answer(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> list[list[Reply]]:
        return [row[:1] for row in super().answer(images, questions)]


def test_a_reply_short_is_an_error_with_both_counts(pictures: list[str]) -> None:
    faces = [Face(str(k), path) for k, path in enumerate(pictures)]
    with pytest.raises(ModelError, match="gave 1 replies, expected 2, one per question"):
        list(run(faces, OddRows(tell), [QUESTION, OTHER], Sink()))
