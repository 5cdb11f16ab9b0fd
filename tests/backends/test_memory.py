"""Memory: batches that are halved, batch sizes that fit, checkpoints that take turns."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from facevlm.attributes import define, get
from facevlm.backends import Options, open_backend
from facevlm.backends import local as local_backend
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.families.base import Family
from facevlm.backends.local import LocalBackend
from facevlm.backends.memory import (
    GIB,
    MOST,
    BatchPace,
    NoRoom,
    Residents,
    Room,
    fit_batch,
    free_bytes,
    halving,
    is_short,
    measured,
    peak_bytes,
    total_bytes,
)
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


SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.81 GiB). Tried to allocate 512.00 MiB on private pool."),
    RuntimeError("Invalid buffer size: 18.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    SafetensorError("Error while mapping: Cannot allocate memory (os error 12)"),
    MemoryError("Unable to allocate 9 GiB for an array"),
]


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_memory_runs_out_by_many_names(error: Exception) -> None:
    calls: list[int] = []

    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        calls.append(len(images))
        if len(images) > 4:
            raise error
        return [[Reply(text="x")] for _ in images]

    assert len(halving(call, [Image.new("RGB", (1, 1))] * 16)) == 16
    assert calls == [16, 8, 4, 4, 4, 4]
    wrapped = ValueError("cannot load")
    wrapped.__cause__ = error
    assert is_short(wrapped)


@pytest.mark.parametrize("error", [RuntimeError("shapes"), ValueError("out of memory lane"), OSError("no file")])
def test_what_is_not_about_memory_is_not_taken_for_it(error: Exception) -> None:
    assert not is_short(error)


def test_the_caches_of_apples_device_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(1))
    halves(6, [], RuntimeError)
    assert emptied == [1, 1]


def test_apples_device_tells_what_a_pass_takes_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    held, device = [100], torch.device("mps")
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: held[0])
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 1000)
    assert measured(device)
    assert peak_bytes(device, lambda: held.append(held.pop() + 50)) == 50
    assert (free_bytes(device), total_bytes(device)) == (850, 1000)


def test_the_error_of_memory_says_sizes_and_remedies() -> None:
    with pytest.raises(NoRoom) as caught:
        Room(torch.device("cpu"), 3 * GIB).within(lambda: exec_error(SHORT[0]), "while it was loaded")
    said = str(caught.value)
    assert re.search(
        r"memory while it was loaded: its weights take about 3\.0 GiB, .* of .* GiB are free on cpu, ", said
    )
    assert "2.00 GiB more were wanted" in said
    assert "quantize='4bit'" in said
    assert "facevlm.unload()" in said
    assert "facevlm.unload()" not in caught.value.in_app()
    assert caught.value.__context__ is None, "it would hold what is to be given back"


def exec_error(error: Exception) -> None:
    raise error


def test_what_did_not_fit_is_not_tried_again_for_long() -> None:
    pace, calls = BatchPace(), list[int]()

    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        calls.append(len(images))
        if len(images) > 20:
            raise torch.OutOfMemoryError
        return [[Reply(text=str(image.width))] for image in images]

    pictures = [Image.new("RGB", (k + 1, 1)) for k in range(64)]
    for _ in range(64):
        assert [r[0].text for r in halving(call, pictures, pace)] == [str(k + 1) for k in range(64)]
    vain = [n for n in calls if n > 20]
    assert vain[:2] == [64, 32]
    assert 3 <= len(vain) <= 6
    assert calls[:6] == [64, 32, 16, 16, 16, 16]


def test_more_are_tried_once_there_is_room_again() -> None:
    pace, room, calls = BatchPace(), [4], list[int]()

    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        calls.append(len(images))
        if len(images) > room[0]:
            raise torch.OutOfMemoryError
        return [[Reply(text="x")] for _ in images]

    pictures = [Image.new("RGB", (1, 1))] * 16
    halving(call, pictures, pace)
    room[0] = 16
    for _ in range(40):
        halving(call, pictures, pace)
    assert calls[-1] == 16


def test_other_errors_are_not_taken_for_memory() -> None:
    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(call, [Image.new("RGB", (1, 1))])


@pytest.mark.parametrize(("free", "size"), [(GIB, 1), (10 * GIB, 8), (20 * GIB, 16), (1000 * GIB, MOST)])
def test_the_batch_that_fits_is_a_power_of_two(free: int, size: int) -> None:
    assert fit_batch(lambda pictures: GIB // 2 + pictures * GIB, free) == size


@pytest.mark.parametrize(("fits", "size"), [(1, 1), (2, 2), (3, 2), (4, MOST)])
def test_a_trial_that_does_not_fit_is_made_with_fewer(fits: int, size: int) -> None:
    def peak(pictures: int) -> int:
        if pictures > fits:
            raise torch.OutOfMemoryError
        return pictures

    assert fit_batch(peak, GIB) == size


def test_a_trial_of_which_no_picture_fits_raises_what_was_said() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fit_batch(lambda pictures: exec_oom(), GIB)


def exec_oom() -> int:
    raise torch.OutOfMemoryError


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


def test_room_is_left_for_what_passes_through() -> None:
    sizes = dict.fromkeys("abcd", int(5.44 * GIB))
    assert not Residents(sizes, 22 * GIB, str.upper).all_fit
    assert Residents(sizes, 22 * GIB, str.upper, spare=0).all_fit
    assert Residents({"a": 40}, 9, str.upper).all_fit, "a single one takes no turns"


def test_one_that_does_not_fit_beside_others_after_all_is_loaded_alone() -> None:
    def load(name: str) -> str:
        if name == "b" and here._here:
            raise torch.OutOfMemoryError
        return name.upper()

    here: Residents[str] = Residents({"a": 1, "b": 1}, 9, load)
    assert here.all_fit
    assert [here["a"], here["b"], here["a"]] == ["A", "B", "A"]
    assert not here.all_fit
    assert list(here._here) == ["a"]


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


class Played:
    """A device that is named for CUDA and whose memory is as said; models run on the CPU, and ``most`` pictures fit."""

    def __init__(self, patch: pytest.MonkeyPatch, most: int) -> None:
        self.passes: list[tuple[int, int]] = []
        patch.setattr(local_backend, "pick_device", lambda wanted: torch.device("cuda"))
        for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
            patch.setattr(torch.cuda, name, lambda device=None: 0)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (20 * GIB, 24 * GIB))
        score = Family.logits

        def logits(family: Family, inputs: Any, prefixes: Any, trie: Any, keep: Any) -> torch.Tensor:
            self.passes.append((len(prefixes), len(keep)))
            if len(prefixes) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return score(family, inputs, prefixes, trie, keep)

        patch.setattr(Family, "logits", logits)


@pytest.mark.parametrize(("most", "size"), [(1, 1), (2, 2), (4, MOST), (64, MOST)])
def test_the_batch_that_fits_is_tried_out_when_a_model_opens(
    card: Card, monkeypatch: pytest.MonkeyPatch, most: int, size: int
) -> None:
    Played(monkeypatch, most)
    assert LocalBackend(card, Options()).info.batch_size == size


def test_memory_that_runs_out_when_a_model_is_tried_out_is_one_sentence(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    Played(monkeypatch, 0)
    with pytest.raises(NoRoom, match=r"^Out of memory while model 'two' was loaded and tried out: its weights take "):
        LocalBackend(card, Options())


def test_weights_that_do_not_fit_are_one_sentence(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")

    monkeypatch.setattr(transformers.PaliGemmaForConditionalGeneration, "to", full)
    with pytest.raises(NoRoom, match=r"64\.00 MiB more were wanted\. Use a smaller model") as caught:
        open_backend(f"hf:{card.checkpoints['gender']}")
    assert "Expected a folder" not in str(caught.value)


def test_a_model_is_tried_out_with_the_questions_of_the_run(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Played(monkeypatch, 64)
    backend, many = LocalBackend(card, Options()), define("hues", [f"hue {k}" for k in range(300)], "which?")
    most = max(kept for _, kept in device.passes)
    questions = questions_for(card.only(["race5"]), [many])
    backend = LocalBackend(card.only(["race5"]), Options())
    device.passes.clear()
    questions = [replace(q, attribute=replace(q.attribute, name="race5")) for q in questions]
    backend.check(questions)
    tried = list(device.passes)
    backend.check(questions)
    assert [n for n, _ in tried] == [1, 4]
    assert device.passes == tried, "what was tried out is not tried again"
    backend.answer([Image.new("RGB", (32, 32))], questions)
    assert device.passes[-1][1] == tried[0][1] > most


def test_a_run_remembers_how_many_pictures_fit(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(card, Options())
    questions, pictures = questions_for(card, [get("gender")]), [Image.new("RGB", (32, 32))] * 64
    device = Played(monkeypatch, 20)
    for _ in range(4):
        assert all(reply.error is None for [reply] in backend.answer(pictures, questions))
    assert [n for n, _ in device.passes] == [64, 32] + [16] * 16


@pytest.mark.parametrize("wrong", [{"memory_gb": 0}, {"quantize": "2bit"}, {"compile": "fast"}, {"attention": "flash"}])
def test_options_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"Got {next(iter(wrong))}=.*expected"):
        Options(**wrong)
