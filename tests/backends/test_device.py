"""What each family does on a device of its own: nothing between two devices, and next to no waiting for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from packaging.version import Version
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.families.base import Family
from facevlm.backends.families.layout import DeviceCache
from facevlm.backends.local import LocalBackend
from facevlm.types import Question, Reply
from tests.backends import device, tiny

BATCH = 32
OTHERS = {
    "paligemma": 0,
    "paligemma2": 0,
    "llava": 1,
    "llava_next": 2,
    "qwen2_vl": 1,
    "qwen2_5_vl": 1,
    "qwen3_vl": 5,
    "idefics3": 5,
    "smolvlm": 5,
    "gemma3": 1,
    "internvl": 1,
    "florence2": 4,
}
"""How often transformers itself makes the host wait in one batch of these checkpoints, whatever its size, since 5.23.

One for each is the check that there are as many features as tokens that stand for them. Qwen3-VL adds two for each
layer to which its tower's are added (two here), LLaVA-NeXT one for the lengths of its features, Idefics3 and SmolVLM
four for tiles and their masks, Florence-2 (two prompts) two for each pass, to see whether anything is padded.
"""
BEFORE = {"idefics3": 6, "smolvlm": 10}
"""The same, at most, in releases before."""


@dataclass(frozen=True, repr=False)
class Subject:
    """A checkpoint of one family, and what it answered before its weights were put on the device."""

    backend: LocalBackend
    checkpoint: Checkpoint
    questions: Sequence[Question]
    wanted: dict[str, list[list[Reply]]]


def alike() -> list[Image.Image]:
    return [Image.new("RGB", (96, 96), (k, 90, 9)) for k in range(BATCH)]


def of_all_shapes() -> list[Image.Image]:
    return [Image.new("RGB", (40 + 3 * k, 96 - 2 * k), (k, 90, 9)) for k in range(BATCH)]


BATCHES: dict[str, Callable[[], list[Image.Image]]] = {"alike": alike, "of all shapes": of_all_shapes}


@pytest.fixture(scope="session")
def there(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """A family whose weights lie on the device, opened when it is first asked for."""
    root = tmp_path_factory.mktemp("there")

    @functools.cache
    def opened(name: str) -> Subject:
        card = find(f"hf:{tiny.BUILDERS[name](root / name)}")
        tuned = {"gender": "man or woman?", "age5": "how old?"} if name == "florence2" else None
        questions = questions_for(card, [get("gender"), get("age5")], tuned)
        backend = LocalBackend(card, Options())
        wanted = {kind: backend.answer(made(), questions) for kind, made in BATCHES.items()}
        checkpoint = backend._loaded[next(iter(backend.card.checkpoints.values()))]
        device.put(checkpoint.family.model)
        return Subject(backend, checkpoint, questions, wanted)

    return opened


def assert_close(got: Sequence[Sequence[Reply]], want: Sequence[Sequence[Reply]]) -> None:
    for row, other in zip(got, want, strict=True):
        assert [reply.choice for reply in row] == [reply.choice for reply in other]
        for reply, wanted in zip(row, other, strict=True):
            assert reply.log_probs == pytest.approx(wanted.log_probs, abs=1e-4)


@pytest.mark.contract
@pytest.mark.parametrize("name", tiny.BUILDERS)
def test_the_host_waits_once_a_batch_and_no_devices_are_mixed(name: str, there: Callable[[str], Subject]) -> None:
    """Already in the first batch, and however the pictures are shaped; transformers' own waits are those known."""
    subject = there(name)
    for kind, made in BATCHES.items():
        with device.watched() as watch:
            got = subject.backend.answer(made(), subject.questions)
        assert_close(got, subject.wanted[kind])
        assert not watch.mixed
        assert watch.own.total() == 1, watch.own
        if Version(tf.__version__) >= Version("5.23"):
            assert watch.others.total() == OTHERS[name], watch.others
        assert watch.others.total() <= BEFORE.get(name, OTHERS[name]), watch.others
        assert watch.waits.total() <= (3 if name.startswith("paligemma") else BATCH)


@pytest.mark.contract
@pytest.mark.parametrize("name", tiny.BUILDERS)
def test_free_answers_and_the_check_at_load_mix_no_devices(name: str, there: Callable[[str], Subject]) -> None:
    subject = there(name)
    with device.watched() as watch:
        said = subject.backend.say(of_all_shapes()[:2], subject.questions[:1])
        with torch.inference_mode():
            gap = subject.checkpoint._scoring_gap(*subject.checkpoint._try_out())
    assert [row[0].error for row in said] == [None, None]
    assert gap < 1e-4
    # Gemma 3's own mask is made under vmap, which hands on tensors that say nothing of the device.
    assert [where for where in watch.mixed if "sdpa_attention" not in where] == []


@pytest.mark.parametrize("name", ["paligemma", "gemma3", "qwen2_5_vl"])
def test_what_is_kept_travels_once(name: str, there: Callable[[str], Subject]) -> None:
    subject = there(name)
    with device.watched():
        subject.backend.answer(alike(), subject.questions)
    with device.watched() as watch:
        subject.backend.answer(alike(), subject.questions)
    assert watch.copies == 2, "the pictures there, the scores back"


@pytest.mark.contract
@pytest.mark.parametrize("name", tiny.BUILDERS)
def test_what_is_kept_answers_in_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when masks, positions and tokens are made anew for every picture of every batch."""
    card = find(f"hf:{tiny.BUILDERS[name](tmp_path / name)}")
    tuned = {"gender": "man or woman?", "age5": "how old?"} if name == "florence2" else None
    questions = questions_for(card, [get("gender"), get("age5")], tuned)
    backend = LocalBackend(card, Options())
    kept = [backend.answer(alike()[:5], questions) for _ in range(2)]
    monkeypatch.setattr(Family, "shapes", lambda family, inputs, batch: range(batch))
    monkeypatch.setattr(DeviceCache, "of", lambda kept, key, make: make())
    assert backend.answer(alike()[:5], questions) == kept[0] == kept[1]


def test_what_is_kept_is_bounded() -> None:
    kept, made = DeviceCache[torch.Tensor](most=3 * 800), list[int]()

    def make(number: int) -> torch.Tensor:
        made.append(number)
        return torch.zeros(100, dtype=torch.float64)

    for number in (1, 2, 1, 3, 1, 4, 1, 2):
        kept.of(number, functools.partial(make, number))
    assert (made, len(kept)) == ([1, 2, 3, 4, 2], 3)
    assert len(DeviceCache[torch.Tensor](most=1)) == 0
    with torch.inference_mode():
        assert not kept.of(5, functools.partial(make, 5)).is_inference()


# The device itself


def waits(work: Callable[[torch.Tensor], Any]) -> tuple[int, int, int]:
    """How often ``work`` waits, mixes devices, and copies, on three numbers that lie on the device."""
    with device.watched() as watch:
        numbers = torch.arange(3.0, device=device.DEVICE)
        assert numbers.device == device.DEVICE
        work(numbers)
    return watch.waits.total(), watch.mixed.total(), watch.copies


@pytest.mark.parametrize(
    "work",
    [
        lambda t: t.sum().item(),
        lambda t: t.tolist(),
        lambda t: bool(t.sum() > 1),
        lambda t: int(t[0]),
        lambda t: [] if t[0] > 0 else [1],
        lambda t: t.nonzero(),
        lambda t: torch.where(t > 1),
        lambda t: t[t > 1],
        lambda t: t[torch.tensor([0, 1])],
        lambda t: t.masked_select(t > 1),
        lambda t: t.unique(),
        lambda t: torch.repeat_interleave(t, t.long()),
        lambda t: torch.tensor([1.0], device=t.device),
        lambda t: torch.arange(t.sum(), device=t.device),
        lambda t: t.__setitem__(t > 1, t[:1]),
        lambda t: t.copy_(torch.ones(3)),
    ],
)
def test_the_device_notices_a_wait(work: Callable[[torch.Tensor], Any]) -> None:
    assert waits(work) == (1, 0, 0)


@pytest.mark.parametrize(
    ("work", "copies"), [(lambda t: t.cpu(), 1), (lambda t: t.to("cpu"), 1), (lambda t: torch.ones(3).to(t.device), 1)]
)
def test_the_device_notices_a_copy_that_waits(work: Callable[[torch.Tensor], Any], copies: int) -> None:
    assert waits(work) == (1, 0, copies)


@pytest.mark.parametrize(
    "work",
    [
        lambda t: t + torch.ones(3),
        lambda t: torch.cat([t, torch.ones(1)]),
        lambda t: torch.ones(3)[t.long()],
        lambda t: torch.nn.functional.embedding(torch.tensor([1]), t[:, None]),
    ],
)
def test_the_device_notices_a_mixture(work: Callable[[torch.Tensor], Any]) -> None:
    assert waits(work) == (0, 1, 0)


@pytest.mark.parametrize(
    "work",
    [
        lambda t: (t + 1).softmax(0) @ torch.ones(3, device=t.device),
        lambda t: t[t.long()],
        lambda t: t.masked_fill(t > 1, 0),
        lambda t: t.__setitem__(t > 1, 0.0),
        lambda t: torch.where(t > 1, t, 0.0),
        lambda t: t + torch.tensor(1.0),
        lambda t: [part.shape for part in t.split(1)],
        lambda t: t.to(torch.bfloat16).to(t.device),
    ],
)
def test_what_a_device_does_by_itself_is_no_wait(work: Callable[[torch.Tensor], Any]) -> None:
    assert waits(work) == (0, 0, 0)


def test_a_copy_from_pinned_memory_is_no_wait() -> None:
    assert waits(lambda t: torch.ones(3).pin_memory().to(t.device, non_blocking=True)) == (0, 0, 1)
