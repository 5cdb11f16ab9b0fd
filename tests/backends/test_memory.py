"""Memory: batches that are halved, batch sizes that fit, checkpoints that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.backends.memory import GIB, MOST, Residents, fit_batch, free_bytes, halving
from facevlm.datasets import samples
from facevlm.engines import local
from facevlm.errors import InputError, ModelError
from facevlm.types import Face, Prediction, Reply
from tests.backends import tiny

NAMES = ("gender", "race5", "age5")


def halves(fits: int, calls: list[int], error: type[Exception]) -> list[list[Reply]]:
    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        calls.append(len(images))
        if len(images) > fits:
            raise error("not enough memory: you tried to allocate")
        return [[Reply(text=str(image.width))] for image in images]

    return halving(call, [Image.new("RGB", (k + 1, 1)) for k in range(20)])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_and_keeps_what_is_done(error: type[Exception]) -> None:
    calls: list[int] = []
    replies = halves(6, calls, error)
    assert [r[0].text for r in replies] == [str(k + 1) for k in range(20)]
    assert calls == [20, 10, 5, 5, 5, 5]


def test_out_of_memory_with_one_picture_is_an_error() -> None:
    with pytest.raises(ModelError, match="single picture"):
        halves(0, [], torch.OutOfMemoryError)


def test_other_errors_are_not_taken_for_memory() -> None:
    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(call, [Image.new("RGB", (1, 1))])


@pytest.mark.parametrize(("free", "size"), [(GIB, 1), (10 * GIB, 8), (20 * GIB, 16), (1000 * GIB, MOST)])
def test_the_batch_that_fits_is_a_power_of_two(free: int, size: int) -> None:
    assert fit_batch(lambda pictures: GIB // 2 + pictures * GIB, free) == size


def test_the_batch_size_of_a_model_that_takes_nothing_is_the_largest() -> None:
    assert fit_batch(lambda pictures: 0, 1) == 1
    assert fit_batch(lambda pictures: 0, GIB) == MOST


def test_free_memory_of_this_machine_is_some() -> None:
    assert free_bytes(torch.device("cpu")) > 0


def test_residents_make_room_by_last_use() -> None:
    loads: list[str] = []

    def load(name: str) -> str:
        loads.append(name)
        return name.upper()

    here = Residents({"a": 4, "b": 4, "c": 4}, 9, load)
    assert not here.all_fit
    assert [here[n] for n in "abacab"] == ["A", "B", "A", "C", "A", "B"]
    assert loads == ["a", "b", "c", "b"]


def test_one_that_is_larger_than_the_limit_is_loaded_alone() -> None:
    here = Residents({"a": 40, "b": 40}, 9, str.upper)
    assert [here["a"], here["b"], here["a"]] == ["A", "B", "A"]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    """Two checkpoints: one for gender and age, one for race."""
    first = tiny.paligemma(tmp_path_factory.mktemp("first"))
    second = tiny.paligemma(tmp_path_factory.mktemp("second"))
    weights = load_file(second / "model.safetensors")
    save_file({name: w * 1.2 for name, w in weights.items()}, second / "model.safetensors", {"format": "pt"})
    return Card("two", {"gender": str(first), "race5": str(second), "age5": str(first)})


def run(backend: LocalBackend, card: Card) -> list[Prediction]:
    faces = [Face(str(k), r.filepath) for k, r in enumerate(samples.read("single")[::12])]
    questions = questions_for(card, [get(n) for n in NAMES], {n: get(n).question for n in NAMES})
    rows: list[Prediction] = []
    steps = list(local.run(faces, backend, questions, rows.extend, batch_size=3))
    assert steps[-1].done == len(faces)
    return sorted(rows, key=lambda p: (int(p.face.sample_id), p.attribute))


def test_checkpoints_that_do_not_fit_take_turns_and_answer_the_same(card: Card) -> None:
    both = LocalBackend(card, Options())
    assert both.info.turns == ()
    little = LocalBackend(card, Options(memory_gb=1e-6))
    assert little.info.turns == (("gender", "age5"), ("race5",))
    loads: list[str] = []
    fetch = little._loaded._load

    def load(name: str) -> object:
        loads.append(name)
        return fetch(name)

    little._loaded._load = load  # type: ignore[assignment]
    assert run(little, card) == run(both, card)
    assert loads == [card.checkpoints["gender"], card.checkpoints["race5"]]


def test_only_the_checkpoints_that_are_asked_are_loaded(card: Card) -> None:
    assert list(card.only(["race5"]).checkpoints) == ["race5"]
    assert list(LocalBackend(card.only(["race5"]), Options()).info.identity) == [card.checkpoints["race5"]]
    assert card.only(["unknown"]).checkpoints == card.checkpoints


@pytest.mark.parametrize("wrong", [{"memory_gb": 0}, {"quantize": "2bit"}, {"compile": "fast"}, {"attention": "flash"}])
def test_options_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"Got {next(iter(wrong))}=.*expected"):
        Options(**wrong)
