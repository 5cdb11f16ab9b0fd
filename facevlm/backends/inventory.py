"""The files of a checkpoint's folder, looked at before anything is built of them: it may come from anybody."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from facevlm import folders
from facevlm.errors import ModelError

CONFIG = "config.json"
TEXTS = (
    *(CONFIG, "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json", "vocab.json"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
"""Those that hold a JSON object, where they are there."""
WEIGHTS = ("*.safetensors", "*.bin")
"""Weight files: the first of these that there are."""
LARGEST_HEAD = 10**8
"""Bytes of the head of a safetensors file at most, as the format says."""
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "depth", "encoder_layers", "decoder_layers")
WIDTHS = ("hidden_size", "d_model", "embed_dim", "n_embd")
PACKED = 16
"""Parameters that an element of a weight file stands for at most: it may be stored quantised."""
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Types of numbers that are read as the model's own, and the bytes of one."""
REMEDY = "Expected a folder written by save_pretrained; fetch or save it anew."


@dataclass(frozen=True)
class Stored:
    """What the weight files of a folder hold: so many tensors with so many elements in all."""

    tensors: float
    elements: float


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file: ``kind`` is its type of numbers as the format writes it, such as ``BF16``."""

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes: int


def check(folder: str | Path) -> None:
    """Look at the files of a checkpoint's folder without building anything.

    Raises :class:`~facevlm.errors.ModelError` that names the file, what is in it, and what was expected: for one that
    is no file, no JSON object, empty, cut, or too large, and for a configuration of more than the weights hold.
    """
    root = Path(folder)
    texts = {name: read_object(root / name) for name in TEXTS if os.path.lexists(root / name)}
    if CONFIG not in texts:
        raise ModelError(f"{root}: there is no {CONFIG}. {REMEDY}")
    for name, data in texts.items():
        if name.endswith(".index.json"):
            _check_index(root / name, data)
    found = [stored(path) for path in weight_files(root)]
    if not found:
        raise ModelError(f"{root}: there are no weights ({' or '.join(WEIGHTS)}). {REMEDY}")
    held = Stored(sum(part.tensors for part in found), sum(part.elements for part in found))
    _check_sizes(root / CONFIG, texts[CONFIG], held)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: safetensors, or where there are none, those of torch."""
    return next((found for pattern in WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def entries(folder: Path) -> Iterator[StoredTensor]:
    """The tensors in the safetensors files of a folder that was checked."""
    for path in weight_files(folder):
        yield from entries_of(path)


def entries_of(path: Path) -> Iterator[StoredTensor]:
    """The tensors in a safetensors file that was checked."""
    with folders.opened(path) as handle:
        _, head = _head(handle, path.stat().st_size)
    for name, entry in head.items():
        first, end = map(int, entry["data_offsets"])
        yield StoredTensor(name, str(entry["dtype"]), tuple(map(int, entry["shape"])), end - first)


def _head(handle: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """How long the head of a safetensors file of that size is, 0 where it has none; its entries by name."""
    length = int.from_bytes(handle.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEAD, size - 8):
        return 0, {}
    return length, {name: entry for name, entry in json.loads(handle.read(length)).items() if name != "__metadata__"}


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights, and all parts that an index of them names."""
    try:
        for path in folder.glob("*.index.json"):
            _check_index(path, read_object(path))
    except ModelError:
        return False
    return bool(weight_files(folder))


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file. Raises :class:`~facevlm.errors.ModelError` where there is none."""
    try:
        data = json.loads(folders.read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ModelError(f"{path} cannot be read as JSON: {reason}. {REMEDY}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: got a {type(data).__name__}, expected a JSON object. {REMEDY}")
    return data


def _check_index(path: Path, data: Mapping[str, Any]) -> None:
    """Every part that an index of weight files names lies beside it."""
    shards = data.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{path}: got no weight_map, expected one from tensors to files. {REMEDY}")
    for name in sorted(set(shards.values())):
        if os.path.basename(name) != name or not (path.parent / name).is_file():
            raise ModelError(f"{path} names the weight file '{name}', which is not in its folder. {REMEDY}")


def stored(path: Path) -> Stored:
    """What a weight file holds. Raises :class:`~facevlm.errors.ModelError` for one that is no file, empty or cut."""
    try:
        with folders.opened(path) as handle:
            size = os.fstat(handle.fileno()).st_size
            if path.suffix != ".safetensors":
                # What is pickled is not looked into: as many elements as there are bytes, in as many tensors.
                return Stored(math.inf, size)
            length, head = _head(handle, size)
        if not length:
            raise ModelError(f"{path} holds no weights: it has {size:,} bytes and no head. {REMEDY}")
        tensors = list(head.values())
        ends = [int(entry["data_offsets"][1]) for entry in tensors]
        elements = sum(math.prod(map(int, entry["shape"])) for entry in tensors)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ModelError(f"{path} holds no weights: {reason}. {REMEDY}") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ModelError(f"{path} has {size:,} bytes, expected {expected:,} as its head says: it is cut. {REMEDY}")
    return Stored(len(tensors), elements)


def _check_sizes(path: Path, config: Mapping[str, Any], stored: Stored) -> None:
    """The sizes that a configuration names against what the weights hold: a layer is a tensor or more, and at least as
    many elements as it is wide; a vocabulary is as many rows of that width."""
    for name, part in _parts(config):
        width = max([1.0, *(_size(path, part, key) for key in WIDTHS)])
        for key in LAYERS:
            if _size(path, part, key) > stored.tensors:
                raise ModelError(_too_large(path, f"{name}{key}", part[key], f"{stored.tensors:,} tensors"))
        # Towers for pictures carry a vocabulary's size that stands for nothing, and some whole models do.
        words = ("vocab_size",) if "text" in name or "text_config" not in config else ()
        for key in (*LAYERS, *words):
            if _size(path, part, key) * width > PACKED * stored.elements:
                raise ModelError(_too_large(path, f"{name}{key}", part[key], f"{stored.elements:,} numbers"))
        if width > stored.elements:
            raise ModelError(_too_large(path, f"{name}{WIDTHS[0]}", width, f"{stored.elements:,} numbers"))


def _parts(config: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A configuration and those in it, each with the name that stands before its keys."""
    yield name, config
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("config"):
            yield from _parts(value, f"{name}{key}.")


def _size(path: Path, part: Mapping[str, Any], key: str) -> float:
    value = part.get(key)
    if value is None or isinstance(value, list):
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ModelError(f"{path}: got {key} = {str(value)[:40]!r}, expected a whole number. {REMEDY}")
    return value


def _too_large(path: Path, key: str, value: object, held: str) -> str:
    return f"{path}: got {key} = {value:,}, but the weights beside it hold {held} in all. {REMEDY}"
