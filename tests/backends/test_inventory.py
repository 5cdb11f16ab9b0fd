"""Checkpoints' folders from anybody: nonsense in them is one sentence, said before anything is built or run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from facevlm.backends import inventory, open_backend
from facevlm.errors import ModelError
from facevlm.folders import ASSETS

Change = Callable[[Path], object]


def telling(name: str, **entries: Any) -> Change:
    def change(root: Path) -> None:
        data = json.loads((root / name).read_text())
        for key, value in entries.items():
            part, _, own = key.rpartition("__")
            (data[part] if part else data)[own] = value
        (root / name).write_text(json.dumps(data))

    return change


def holding(name: str, content: bytes) -> Change:
    return lambda root: (root / name).write_bytes(content)


def cut(root: Path) -> None:
    os.truncate(root / "model.safetensors", 100_000)


def a_pipe(name: str) -> Change:
    def change(root: Path) -> None:
        (root / name).unlink(missing_ok=True)
        os.mkfifo(root / name)

    return change


def large(root: Path) -> None:
    os.truncate(root / "config.json", 10**9)


NONSENSE: dict[str, tuple[Change, str]] = {
    "a million layers": (
        telling("config.json", text_config__num_hidden_layers=10**6),
        r"config\.json: got text_config\.num_hidden_layers = 1,000,000, but the weights beside it hold \d+ tensors",
    ),
    "a wide model": (telling("config.json", text_config__hidden_size=10**9), r"config\.json: got text_config\."),
    "a large vocabulary": (
        telling("config.json", text_config__vocab_size=10**9),
        r"config\.json: got text_config\.vocab",
    ),
    "a text for a number": (telling("config.json", text_config__num_hidden_layers="many"), "expected a whole number"),
    "a list": (holding("config.json", b"[]"), r"config\.json: got a list, expected a JSON object"),
    "deep": (holding("config.json", b"[" * 10**5), r"config\.json cannot be read as JSON"),
    "no text": (holding("tokenizer_config.json", b"\xff\xfe"), r"tokenizer_config\.json cannot be read as JSON"),
    "1 GB": (large, r"config\.json cannot be read as JSON: it has 1,000,000,000 bytes, expected at most 67,108,864"),
    "a pipe": (a_pipe("tokenizer.json"), r"tokenizer\.json cannot be read as JSON: it is a named pipe"),
    "weights that are a pipe": (
        a_pipe("model.safetensors"),
        r"model\.safetensors holds no weights: it is a named pipe",
    ),
    "empty weights": (holding("model.safetensors", b""), r"model\.safetensors holds no weights: it has 0 bytes"),
    "cut weights": (cut, r"model\.safetensors has 100,000 bytes, expected [\d,]+ as its head says: it is cut"),
    "a part that is elsewhere": (
        holding("model.safetensors.index.json", b'{"weight_map": {"a": "../x.safetensors"}}'),
        r"index\.json names the weight file '\.\./x\.safetensors', which is not in its folder",
    ),
    "no map of parts": (holding("model.safetensors.index.json", b"{}"), "expected one from tensors to files"),
    "no configuration": (lambda root: (root / "config.json").unlink(), r"there is no config\.json"),
    "a strange tokenizer": (holding("tokenizer.json", b'{"version": 7}'), "tokenizer's files cannot be used"),
    "a strange processor": (holding("processor_config.json", b'{"image_processor": 5}'), "demo_copy"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ASSETS / "demo_model", tmp_path / "demo_copy"))


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_in_a_folder_is_one_sentence_that_names_the_file(case: str, root: Path) -> None:
    change, said = NONSENSE[case]
    change(root)
    begun = time.monotonic()
    with pytest.raises(ModelError, match=said) as caught:
        open_backend(f"hf:{root}")
    assert "xpected" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 30


def test_the_shipped_model_passes() -> None:
    inventory.check(ASSETS / "demo_model")


class Runs:
    """An object that makes a folder while it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def test_a_pickle_is_not_run_and_said_to_be_one(root: Path, tmp_path: Path) -> None:
    (root / "model.safetensors").unlink()
    torch.save({"weights": Runs(tmp_path / "made"), "more": torch.zeros(2 * 10**6)}, root / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"its weights are pickled objects.*Expected safetensors"):
        open_backend(f"hf:{root}")
    (root / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(tmp_path / "made")))
    with pytest.raises(ModelError, match="xpected"):
        open_backend(f"hf:{root}")
    assert not (tmp_path / "made").exists()


def test_tensors_alone_are_read_from_a_bin_file(root: Path) -> None:
    torch.save(load_file(root / "model.safetensors"), root / "pytorch_model.bin")
    (root / "model.safetensors").unlink()
    assert open_backend(f"hf:{root}").info.decode == "score"


def test_weights_of_another_model_are_not_filled_up_with_random_numbers(root: Path) -> None:
    tensors = load_file(root / "model.safetensors")
    (root / "model.safetensors").unlink()
    torch.save(dict(list(tensors.items())[3:]), root / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"its weights lack \d tensors of the model"):
        open_backend(f"hf:{root}")
