"""Models that are kept loaded: what makes room, and what gives the memory back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import facevlm
from facevlm import backends
from facevlm.backends import KEEP_LOADED, Options, open_backend, unload_when_idle, weights
from facevlm.backends.local import LocalBackend
from tests.backends import tiny


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """No model is kept before a test, and what was kept before is not lost."""
    before = dict(backends._loaded)
    backends._loaded.clear()
    yield
    backends._loaded.clear()
    backends._loaded.update(before)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return [f"hf:{tiny.paligemma(tmp_path / str(k))}" for k in range(KEEP_LOADED + 2)]


def model_of(name: str) -> weakref.ref[Any]:
    opened = open_backend(name)
    assert isinstance(opened, LocalBackend)
    return weakref.ref(opened._loaded[name.removeprefix("hf:")].family.model)


def test_a_kept_model_goes_before_another_is_loaded(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[weakref.ref[Any]] = []
    in_memory: list[int] = []
    load = weights.load

    def counted(*args: Any) -> Any:
        in_memory.append(sum(model() is not None for model in models))
        return load(*args)

    monkeypatch.setattr("facevlm.backends.checkpoint.load", counted)
    gc.disable()
    try:
        models += [model_of(name) for name in names[:1]]
        for name in names[1:]:
            models.append(model_of(name))
    finally:
        gc.enable()
    assert max(in_memory) == KEEP_LOADED - 1


def test_unload_gives_the_memory_back(names: list[str]) -> None:
    model = model_of(names[0])
    assert model() is not None
    facevlm.unload()
    assert model() is None
    assert not backends._loaded


def test_a_model_that_a_run_holds_stays_with_it(names: list[str]) -> None:
    held = open_backend(names[0])
    facevlm.unload()
    assert held.info.decode == "score"
    assert open_backend(names[0]) is not held


def test_after_an_idle_time_models_go(names: list[str]) -> None:
    model = model_of(names[0])
    first = unload_when_idle(600)
    second = unload_when_idle(0)
    second.join()
    assert first.finished.is_set(), "a later call counts anew"
    assert model() is None


def test_where_memory_runs_out_kept_models_go_and_it_is_loaded_again(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, load = model_of(names[0]), weights.load

    def crowded(*args: Any) -> Any:
        if kept() is not None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")
        return load(*args)

    monkeypatch.setattr("facevlm.backends.checkpoint.load", crowded)
    assert open_backend(names[1], Options()).info.decode == "score"
    assert list(backends._loaded.values()) == [open_backend(names[1], Options())]
