"""The files of an adapter: a folder of PEFT with small matrices that are added to those of a base model.

They are looked at before anything is loaded: like a checkpoint's, they may come from anybody.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm import folders
from facevlm.backends import inventory
from facevlm.errors import ModelError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""The first of these that is there is read."""
KIND = "LORA"
TASKS = (None, "CAUSAL_LM", "SEQ_2_SEQ_LM")
"""What an adapter may have been trained for: the others put another head on the model."""
BASE = "base_model_name_or_path"
UNMERGED = ("alora_invocation_tokens", "arrow_config", "megatron_config")
"""Adapters that depend on what is asked, or that import what they name."""
A, B = "lora_A", "lora_B"
PART = 2**20
REMEDY = "Expected a folder written by PEFT's save_pretrained for a LoRA adapter of a language model."


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder or hub id as it was named.

    ``base_revision`` is that of the base on the hub, as the adapter says it. With ``names_base`` the base is the one
    that the adapter names, and a revision that the user tells is that of the adapter.
    """

    source: str
    base_revision: str | None = None
    names_base: bool = False

    def revisions(self, told: str | None) -> tuple[str | None, str | None]:
        """The revisions of base and adapter, where a user told one."""
        return (self.base_revision, told) if self.names_base else (told, None)


@dataclass(frozen=True)
class NamedBase:
    """What the configuration of an adapter says of its base."""

    base: str
    revision: str | None


def read(path: Path) -> NamedBase:
    """What an ``adapter_config.json`` says.

    Raises :class:`~facevlm.errors.ModelError` for a file that is none, and for an adapter of another kind.
    """
    data = inventory.read_object(path)
    if data.get("peft_type") != KIND:
        raise ModelError(f"{path}: got peft_type = {_short(data.get('peft_type'))}, expected '{KIND}'. {REMEDY}")
    if data.get("task_type") not in TASKS:
        tasks = " or ".join(str(task) for task in TASKS if task)
        raise ModelError(f"{path}: got task_type = {_short(data.get('task_type'))}, expected {tasks}. {REMEDY}")
    if strange := [name for name in UNMERGED if data.get(name)]:
        raise ModelError(f"{path}: got {strange[0]}, expected a LoRA adapter without it. {REMEDY}")
    base, revision = data.get(BASE), data.get("revision")
    if not all(text is None or isinstance(text, str) for text in (base, revision)):
        raise ModelError(f"{path}: got {BASE} or revision of another kind, expected texts. {REMEDY}")
    return NamedBase((base or "").strip(), revision or None)


def _short(value: object) -> str:
    return repr(value)[:60]


def check(folder: Path) -> None:
    """Look at an adapter's files without building anything.

    Raises :class:`~facevlm.errors.ModelError` that says what is in them and what was expected.
    """
    read(folder / CONFIG)
    path = weights(folder)
    inventory.stored(path)
    if path.suffix != ".safetensors":
        return
    ranks = [
        entry.shape[0] for entry in inventory.entries_of(path) if _is_matrix(entry, A) or "embedding_A" in entry.name
    ]
    if not ranks:
        raise ModelError(f"{path}: got no matrices '{A}', expected those of a LoRA adapter. {REMEDY}")
    _check_ranks(folder / CONFIG, max(ranks))


def weights(folder: Path) -> Path:
    """The weight file of an adapter. Raises :class:`~facevlm.errors.ModelError` where there is none."""
    found = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if found is None:
        raise ModelError(f"{folder}: there are no weights of the adapter ({' or '.join(WEIGHTS)}). {REMEDY}")
    return found


def _check_ranks(path: Path, most: int) -> None:
    """No rank is larger than those of the weights: matrices of that size would be built first."""
    data = inventory.read_object(path)
    patterns = data.get("rank_pattern") or {}
    told = [data.get("r"), *(patterns.values() if isinstance(patterns, dict) else [patterns])]
    for rank in told:
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
            raise ModelError(f"{path}: got the rank {_short(rank)}, but the weights beside it have {most}. {REMEDY}")


def _is_matrix(entry: inventory.StoredTensor, part: str) -> bool:
    return f".{part}." in entry.name and len(entry.shape) == 2


def check_fit(folder: Path, base: Path) -> None:
    """Raise :class:`~facevlm.errors.ModelError` where matrices of an adapter have other sizes than all those of their
    name in the base model. What the base does not store under that name, or quantised, is seen when it is loaded."""
    path = weights(folder)
    if path.suffix != ".safetensors" or any(p.suffix != ".safetensors" for p in inventory.weight_files(base)):
        return
    sizes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for entry in inventory.entries(base):
        if entry.name.endswith(".weight") and len(entry.shape) == 2 and entry.kind in inventory.FLOATS:
            sizes[entry.name.split(".")[-2]].add(entry.shape)
    for name, got in _shapes(path):
        known = sizes.get(name)
        # Some layers are stored the other way round.
        if known and got not in known and got[::-1] not in known:
            expected = " or ".join(_size(shape) for shape in sorted(known))
            raise misfit(
                str(folder), str(base), f"it changes matrices '{name}' of {_size(got)}, there they are of {expected}"
            )


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The last name of every changed matrix, and its size."""
    parts: dict[str, dict[str, int]] = defaultdict(dict)
    for entry in inventory.entries_of(path):
        for part, side in ((A, 1), (B, 0)):
            if _is_matrix(entry, part):
                parts[entry.name.partition(f".{part}.")[0]][part] = entry.shape[side]
    for name, found in parts.items():
        if len(found) == 2:
            yield name.split(".")[-1], (found[B], found[A])


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def misfit(source: str, base: str, why: str) -> ModelError:
    """What is said of an adapter that was made for another model than its base."""
    return ModelError(
        f"The adapter {source} does not fit the base model {base}: {why}. Expected the model that it was trained on; "
        "name that one as the model, with this adapter."
    )


def digest(folder: Path) -> str:
    """Digest of all that an adapter changes: its configuration and its weights, both as a whole."""
    seen = hashlib.sha256()
    for path in (folder / CONFIG, weights(folder)):
        with folders.opened(path) as handle:
            seen.update(path.name.encode())
            while part := handle.read(PART):
                seen.update(part)
    return seen.hexdigest()[:12]
