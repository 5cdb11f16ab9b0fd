"""What torch.compile does not say aloud is a note of the model, in its warnings and in the record of its runs."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.compiling import Compiled
from facevlm.backends.local import LocalBackend
from facevlm.engines.facts import facts
from tests.backends import tiny


class Part(torch.nn.Module):
    """Breaks its graph where it is told to, and is compiled anew for every word."""

    def forward(self, x: Tensor, word: str, breaks: bool = False) -> Tensor:
        x = x + len(word)
        if breaks:
            torch._dynamo.graph_break()
        return x * 2


@pytest.fixture
def part() -> Part:
    torch._dynamo.reset()
    return Part()


def compiled(part: Part) -> Compiled:
    return Compiled(SimpleNamespace(model=torch.nn.ModuleList([part])), "default")


def test_a_model_that_is_compiled_whole_has_no_note(part: Part) -> None:
    watch = compiled(part)
    with watch.watched():
        part(torch.ones(2), "a")
    assert watch.note("m") == ""


def test_a_model_that_breaks_into_pieces_says_so(part: Part) -> None:
    watch, other = compiled(part), compiled(Part())
    with watch.watched():
        part(torch.ones(2), "a", breaks=True)
    assert watch.note("m").startswith("m: torch.compile breaks the model at 1 places, where it runs uncompiled.")
    assert other.note("m") == ""


def test_a_model_that_runs_uncompiled_in_the_end_says_so(part: Part, caplog: pytest.LogCaptureFixture) -> None:
    watch = compiled(part)
    with watch.watched(), caplog.at_level(logging.WARNING):
        for k in range(torch._dynamo.config.recompile_limit + 2):
            part(torch.ones(2), "x" * k)
    assert "torch.compile gave up on 1 of its parts after too many shapes and runs them uncompiled" in watch.note("m")
    assert "hit config" not in caplog.text


def test_what_became_of_it_is_in_the_record_of_the_run(part: Part, tmp_path: Path) -> None:
    name = f"hf:{tiny.paligemma(tmp_path)}"
    backend, asked = LocalBackend(find(name), Options()), questions_for(find(name), [get("gender")])
    assert not backend.info.notes
    checkpoint = backend._loaded[str(tmp_path)]
    checkpoint._compiled = compiled(part)

    def beside(*_: Any) -> None:
        with torch.inference_mode(False):
            part(torch.ones(2), "a", breaks=True)

    checkpoint.family.model.register_forward_pre_hook(beside)
    backend.answer([Image.new("RGB", (32, 32))], asked)
    [note] = backend.info.notes
    assert "breaks the model at 1 places" in note
    assert note in facts(backend.info, {"gender": asked[0]})["backend"]["notes"]
