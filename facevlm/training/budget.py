"""What a run will take, told before anything is loaded: memory by the base's files, time by a trial of the device."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from facevlm import folders
from facevlm.backends import cards, inventory
from facevlm.backends.memory import GIB, free_bytes
from facevlm.errors import ModelError
from facevlm.training import recipes
from facevlm.training.recipes import Recipe

WEIGHT, LEARNING = 4, 12
"""Bytes of a parameter in float32; and beside it of its gradient and Adam's two means, where it learns."""
PROMPT = 64
"""Tokens of a prompt and an answer, about."""
SIDE, TRIES = 1024, 4
USED = 0.35
"""Share of a device's rate in plain products of matrices that training reaches, about."""


@dataclass(frozen=True)
class Budget:
    """Parameters in all and those that learn, bytes in memory, bytes that are free there (0: not known), and seconds of
    an epoch. All of it is estimated; nan where nothing is known."""

    parameters: float
    learning: float
    bytes: float
    free: float
    seconds: float

    @property
    def told(self) -> str:
        """One line for a screen."""
        free = f" of {self.free / GIB:.1f} GiB that are free" if self.free else ""
        return (
            f"About {self.parameters:,.0f} parameters, {self.learning:,.0f} of which learn; about "
            f"{self.bytes / GIB:.1f} GiB of memory{free}; about {_duration(self.seconds)} an epoch"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(
    checkpoint: str, recipe: Recipe, method: str, device: torch.device, answers: int, *, checkpointing: bool = False
) -> Budget:
    """The budget of a run over so many answers an epoch; of a checkpoint that is not here yet all but what is free is
    nan."""
    folder = _folder(checkpoint)
    free = free_bytes(device)
    if folder is None:
        return Budget(math.nan, math.nan, math.nan, free, math.nan)
    sizes = {entry.name: entry.shape for entry in inventory.entries(folder)}
    numbers = {name: math.prod(shape) for name, shape in sizes.items()}
    parameters = sum(numbers.values())
    learning = float(parameters)
    if method == recipes.FROZEN:
        learning -= sum(n for name, n in numbers.items() if recipes.part_of(name) == recipes.TOWER)
    if method == recipes.LORA:
        learning = sum(recipe.rank * sum(shape) for name, shape in sizes.items() if len(shape) == 2)
    config = json.loads(folders.read_text(folder / cards.CONFIG))
    tokens, kept = _activations(config, checkpointing)
    held = kept * recipe.batch_size * (2 if device.type == "cuda" else 4)
    # Forwards, and twice as much backwards; once more forwards where activations are made again.
    work = answers * 2.0 * tokens * parameters * (4 if checkpointing else 3)
    return Budget(parameters, learning, parameters * WEIGHT + learning * LEARNING + held, free, work / _rate(device))


def check(budget: Budget) -> None:
    """Raise :class:`~facevlm.errors.ModelError` where the memory that is free cannot be enough."""
    fixed = budget.parameters * WEIGHT + budget.learning * LEARNING
    if budget.free and fixed > budget.free:
        raise ModelError(
            f"Too little memory: weights, gradients and what the optimizer keeps take about {fixed / GIB:.1f} GiB, and "
            f"{budget.free / GIB:.1f} GiB are free. Use method='lora' or 'frozen', a smaller base, or another device."
        )


def _folder(checkpoint: str) -> Path | None:
    place = Path(cards.location(checkpoint))
    if place.is_dir():
        return place
    return Path(snapshot_download(checkpoint, local_files_only=True)) if cards.is_here(checkpoint) else None


def _activations(config: Any, checkpointing: bool) -> tuple[float, float]:
    """Tokens of a picture with its prompt, and numbers that are kept of it for the way back."""
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    side = vision.get("image_size") or 448
    patches = (side / (vision.get("patch_size") or 14)) ** 2 if isinstance(side, int) else 256.0
    kept = sum(
        tokens * (layers * width if checkpointing else layers * (14 * width + 5 * (inner or 4 * width)))
        for tokens, (layers, width, inner) in ((patches, _shape(vision)), (patches + PROMPT, _shape(text)))
    )
    return patches + PROMPT, kept


def _shape(part: Any) -> tuple[int, int, int]:
    layers = next((part[key] for key in inventory.LAYERS if isinstance(part.get(key), int)), 24)
    width = next((part[key] for key in inventory.WIDTHS if isinstance(part.get(key), int)), 1024)
    inner = part.get("intermediate_size")
    return layers, width, inner if isinstance(inner, int) else 0


def _rate(device: torch.device) -> float:
    """Operations a second that training gets out of a device, by a trial of a few hundredths of a second."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    table = torch.ones(SIDE, SIDE, device=device, dtype=dtype)
    float((table @ table)[0, 0])
    began = time.perf_counter()
    for _ in range(TRIES):
        table = table @ table / SIDE
    float(table[0, 0])
    return USED * TRIES * 2.0 * SIDE**3 / max(1e-6, time.perf_counter() - began)
