"""How a model is tuned, as data: numbers that somebody published, each with where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from facevlm.errors import InputError, lookup

FULL, FROZEN, LORA, LINEAR = METHODS = ("full", "frozen", "lora", "linear")
"""Every parameter; all but the vision tower's; low-rank adapters beside every matrix; a classifier on the tower."""
TOKENS, CLOSED = OBJECTIVES = ("tokens", "labels")
"""The probability of the answer's tokens among all; the probability of the label among the attribute's."""
LABELS, GROUPS = BALANCES = ("labels", "groups")
"""Every label, or every label in every group of faces, is shown equally often."""
TOWER, PROJECTOR = "tower", "projector"
MOST_SMOOTHING = 0.2
FIGURE = "eval_balanced_accuracy"
"""The balanced accuracy on the validation faces, as the log of a run names it."""


@dataclass(frozen=True)
class Recipe:
    """Numbers of a tuning. ``rates`` are learning rates of parts of the model that have their own.

    ``batch_size`` faces are shown before each step, ``accumulate`` times. ``warmup`` is a share of all steps below 1, a
    number of steps from 1 on. ``rank`` and ``alpha`` are those of low-rank adapters. ``patience`` epochs without a
    better balanced accuracy on the validation faces end the run, None for never.
    """

    title: str
    source: str
    epochs: float
    learning_rate: float
    batch_size: int
    accumulate: int = 1
    schedule: str = "cosine"
    warmup: float = 0.05
    clip: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    smoothing: float = 0.0
    rates: Mapping[str, float] | None = None
    rank: int = 16
    alpha: int = 32
    patience: int | None = 3

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "accumulate", "rank", "alpha"):
            if not getattr(self, name) > 0:
                raise InputError(f"Got {name}={getattr(self, name)!r}, expected a number above 0.")
        if not 0 <= self.smoothing <= MOST_SMOOTHING:
            raise InputError(
                f"Got label_smoothing={self.smoothing!r}, expected a share from 0 to {MOST_SMOOTHING:g}: how much of "
                "each answer's weight is spread over all others."
            )

    def with_(self, **given: Any) -> Recipe:
        """The recipe with what was given in place of its own; None leaves its own."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})


RECIPES = {
    "paligemma": Recipe(
        "PaliGemma, every parameter",
        "big_vision/configs/proj/paligemma/transfers/forkme.py: lr 1e-5, batch 32, 15 epochs, cosine, 5 % warm-up, "
        "clip 1, weight decay 3e-7",
        epochs=15,
        learning_rate=1e-5,
        batch_size=32,
        weight_decay=3e-7,
    ),
    "facescan": Recipe(
        "FaceScanPaliGemma, emotion",
        "card of NYUAD-ComNets/FaceScanPaliGemma_Emotion: lr 2e-5, batch 1 x accumulation 2, 5 epochs, linear, 2 "
        "warm-up steps, Adam",
        epochs=5,
        learning_rate=2e-5,
        batch_size=1,
        accumulate=2,
        schedule="linear",
        warmup=2,
    ),
    "lora": Recipe(
        "Low-rank adapters on every matrix",
        "ms-swift: alpha 32 on all linear layers at 1e-4 (rank 8 there), vit_lr 2e-5 for the tower and aligner_lr 1e-4 "
        "for the projector; Unsloth: rank 16",
        epochs=5,
        learning_rate=1e-4,
        batch_size=16,
        rates={TOWER: 2e-5, PROJECTOR: 1e-4},
    ),
}
USUAL = {FULL: "paligemma", FROZEN: "paligemma", LORA: "lora"}


def find(name: str | None, method: str) -> Recipe:
    """A recipe by name, or the usual one of a method.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    return lookup("recipe", RECIPES, name or USUAL.get(method, "paligemma"))


# The parts are found by the names that transformers' classes give their modules.
PARTS = (
    (PROJECTOR, ("multi_modal_projector", "connector", "merger", "image_projection", "image_proj", "visual_temporal")),
    (TOWER, ("vision_tower", "vision_model", "visual.", "image_tower")),
)


def part_of(parameter: str) -> str:
    """The part of a model that a parameter is of, by its name: ``tower``, ``projector``, or empty for the decoder."""
    return next((part for part, names in PARTS if any(name in parameter for name in names)), "")
