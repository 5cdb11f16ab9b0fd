"""Faces learnt by heart, a run that was broken off, and a disk that is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facevlm.errors import ModelError
from facevlm.training.loop import STATE, STEPS, Course, Draws, balanced_accuracy, fit, last_save, predictions
from facevlm.training.recipes import RECIPES
from facevlm.types import GREEDY
from tests.backends import tiny
from tests.training import teaching

QUICK = RECIPES["paligemma"].with_(epochs=4, batch_size=8, learning_rate=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.paligemma(tmp_path_factory.mktemp("loop") / "base")


def test_thirty_two_faces_are_learnt_by_heart(folder: Path, tmp_path: Path) -> None:
    lesson, faces = teaching.lesson(folder), teaching.faces(32)
    recipe = RECIPES["paligemma"].with_(epochs=40, batch_size=32, learning_rate=3e-3, patience=40)
    learnt = fit(lesson, faces, faces, Course(recipe, tmp_path, augment=False))
    said = predictions(lesson.checkpoint, lesson.questions, faces, decision=GREEDY)
    assert balanced_accuracy(lesson.questions, faces, said) == 1.0
    assert learnt.losses[-1][1] < 0.1 * learnt.losses[0][1]


class Broken(Exception):
    pass


def test_a_run_that_was_broken_off_goes_on_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    faces = teaching.faces(24)
    whole = fit(teaching.lesson(folder), faces, faces[:8], Course(QUICK, tmp_path / "whole", save_steps=2))

    def told(done: int, total: int) -> None:
        if done == 7:
            raise Broken

    course = Course(QUICK, tmp_path / "broken", save_steps=2, told=told)
    with pytest.raises(Broken):
        fit(teaching.lesson(folder), faces, faces[:8], course)
    cut = tmp_path / "broken" / STEPS / "checkpoint-8"
    cut.mkdir()
    (cut / STATE).write_text('{"cut":')
    assert Path(str(last_save(cut.parent))).name == "checkpoint-6"
    assert not cut.exists()
    lesson = teaching.lesson(folder)
    rest = fit(lesson, faces, faces[:8], Course(QUICK, tmp_path / "broken", save_steps=2))
    assert (rest.steps, rest.best_step, rest.figures) == (whole.steps, whole.best_step, whole.figures)
    assert [loss for _, loss in rest.losses] == pytest.approx([loss for _, loss in whole.losses], rel=1e-5)


def test_on_a_full_disk_learning_goes_on_and_says_so(folder: Path, tmp_path: Path) -> None:
    faces = teaching.faces(8)
    with full_above(2000):
        learnt = fit(teaching.lesson(folder), faces, faces, Course(QUICK, tmp_path))
    assert learnt.steps == learnt.best_step == 4
    assert any("could not be saved" in note for note in learnt.notes)
    assert last_save(tmp_path / STEPS) is None


@contextmanager
def full_above(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_activations_made_again_and_products_in_bfloat16_learn_the_same(folder: Path, tmp_path: Path) -> None:
    faces = teaching.faces(8)
    plain = fit(teaching.lesson(folder), faces, faces, Course(QUICK, tmp_path / "plain"))
    again = fit(teaching.lesson(folder), faces, faces, Course(QUICK, tmp_path / "again", checkpointing=True))
    assert [loss for _, loss in again.losses] == pytest.approx([loss for _, loss in plain.losses], rel=1e-4)
    rough = fit(teaching.lesson(folder), faces, faces, Course(QUICK, tmp_path / "rough", bfloat16=True))
    assert [loss for _, loss in rough.losses] == pytest.approx([loss for _, loss in plain.losses], rel=0.05)


def test_early_stopping_counts_from_the_best_epoch(folder: Path, tmp_path: Path) -> None:
    faces = teaching.faces(8)
    still = QUICK.with_(epochs=9, learning_rate=1e-9, patience=2)
    learnt = fit(teaching.lesson(folder), faces, faces, Course(still, tmp_path))
    assert (learnt.best_step, learnt.steps) == (1, 3)


def test_a_loss_that_is_no_number_is_said(folder: Path, tmp_path: Path) -> None:
    faces = teaching.faces(8)
    with pytest.raises(ModelError, match="The loss is nan after"):
        fit(
            teaching.lesson(folder),
            faces,
            faces,
            Course(QUICK.with_(batch_size=4, learning_rate=1e30, clip=1e30, warmup=0), tmp_path),
        )


def test_the_order_hangs_on_seed_and_epoch_alone() -> None:
    draws, again = Draws(20, 3), Draws(20, 3)
    first = list(draws)
    draws.set_epoch(1)
    again.set_epoch(1)
    assert list(draws) == list(again) != first
    assert sorted(at for at, _ in first) == list(range(20))


def test_pictures_that_cannot_be_read_are_left_out_of_their_batch(folder: Path, tmp_path: Path) -> None:
    faces = teaching.coloured(tmp_path, 4)
    Path(faces[0].face.filepath).write_bytes(Path(faces[0].face.filepath).read_bytes()[:60])
    learnt = fit(teaching.lesson(folder), faces, faces, Course(QUICK.with_(epochs=2, batch_size=1), tmp_path / "out"))
    assert learnt.unread == 2
