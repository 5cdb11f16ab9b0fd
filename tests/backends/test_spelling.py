"""One spelling of answers where a model uses one: the trie is half as large, and scores stay those of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.local import LocalBackend
from facevlm.backends.spelling import LEADS, spellings
from facevlm.types import Question
from tests.backends import tiny
from tests.backends.forcing import Reference, open_reference

FAMILIES = ("idefics3", "smolvlm")
NAMES = ("gender", "age5", "emotion7")
PICTURES = [Image.new("RGB", (64, 64), colour) for colour in ((250, 20, 20), (20, 240, 30), (90, 90, 90))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, made = tmp_path_factory.mktemp("spelling"), dict[str, Path]()

    def built(name: str) -> Path:
        if name not in made:
            made[name] = tiny.BUILDERS[name](root / name)
        return made[name]

    return built


def opened(path: Path) -> tuple[LocalBackend, Checkpoint, list[Question]]:
    card = find(f"hf:{path}")
    backend = LocalBackend(card, Options())
    return backend, backend._loaded[str(path)], questions_for(card, [get(name) for name in NAMES])


def firsts(checkpoint: Checkpoint, questions: list[Question], lead: int) -> list[int]:
    """Tokens that open an answer of that spelling, and none of the other."""
    forms = [both for q in questions for label in spellings(checkpoint.family, q) for both in label]
    other = {both[LEADS - 1 - lead][0] for both in forms}
    return sorted({both[lead][0] for both in forms} - other)


def shun(model: Any, tokens: list[int]) -> None:
    """From now on the model hardly ever says these tokens."""

    def lower(module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., tokens] -= 25
        return logits

    model.lm_head.register_forward_hook(lower)


def nodes(checkpoint: Checkpoint, questions: list[Question]) -> int:
    [picture] = checkpoint.prepare(PICTURES[:1])
    return checkpoint.trie(picture, questions).n_nodes


def assert_exact(backend: LocalBackend, reference: Reference, questions: list[Question]) -> None:
    """The reference sums over both spellings, one plain pass for each."""
    for picture, row in zip(PICTURES, backend.answer(PICTURES, questions), strict=True):
        for question, reply in zip(questions, row, strict=True):
            assert reply.log_probs == pytest.approx(reference.log_probs(picture, question), abs=1e-4)
            assert reply.choice == reference.chosen(picture, question)


@pytest.mark.contract
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lead", [0, 1])
def test_a_model_of_one_spelling_has_half_the_trie_and_the_same_scores(
    name: str, lead: int, folder: Callable[[str], Path]
) -> None:
    path = folder(name)
    _, both, questions = opened(path)
    backend, checkpoint, _ = opened(path)
    reference, unsaid = open_reference(path), firsts(checkpoint, questions, LEADS - 1 - lead)
    for model in (checkpoint.family.model, reference.model):
        shun(model, unsaid)
    assert_exact(backend, reference, questions)
    assert set(checkpoint._tries.only.values()) == {lead}
    assert nodes(checkpoint, questions) < 0.7 * nodes(both, questions)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_both_spellings_keeps_both(name: str, folder: Callable[[str], Path]) -> None:
    """As a model does whose labels are spelled one way each."""
    backend, checkpoint, questions = opened(folder(name))
    gender = questions[:1]
    assert set(checkpoint._tries.only.values()) == set()
    backend.answer(PICTURES, gender)
    assert set(checkpoint._tries.only.values()) == {None}
    backend, checkpoint, _ = opened(folder(name))
    [(male,), (female,)] = [label[:1] for label in spellings(checkpoint.family, gender[0])]
    shun(checkpoint.family.model, [male[0][0], female[1][0]])
    backend.answer(PICTURES, gender)
    assert set(checkpoint._tries.only.values()) == {None}


@pytest.mark.parametrize("name", ["paligemma", "qwen3_vl"])
def test_behind_a_line_end_there_is_one_spelling_and_nothing_is_tried(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, checkpoint, questions = opened(tiny.BUILDERS[name](tmp_path / name))
    passes, logits = list[int](), type(checkpoint.family).logits

    def counted(family: Any, inputs: Any, prefixes: Any, *more: Any) -> torch.Tensor:
        passes.append(len(prefixes))
        return logits(family, inputs, prefixes, *more)

    monkeypatch.setattr(type(checkpoint.family), "logits", counted)
    backend.answer(PICTURES, questions)
    assert set(passes) == {len(PICTURES)}
