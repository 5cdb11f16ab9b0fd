"""A linear classifier for each attribute on the frozen vision tower of a model: some kilobytes in their folder."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from facevlm import folders
from facevlm.backends import BackendInfo, Options, cards
from facevlm.backends.cards import ANY, Card
from facevlm.backends.families.base import Family
from facevlm.backends.memory import BatchPace, Room, halving
from facevlm.backends.weights import load as load_model
from facevlm.errors import ModelError
from facevlm.types import PROBABLE, Question, Reply

FILE = "linear.safetensors"
LARGEST = 2**28
"""Bytes of the file at most."""
NEVER = -30.0
"""What stands for the log-odds of a label that was never seen, which must be a number."""


def write(folder: Path, tables: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Put weights (labels, width) and biases (labels,) by attribute into a folder."""
    named = {
        f"{name}.{part}": t for name, pair in tables.items() for part, t in zip(("weight", "bias"), pair, strict=True)
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.float().contiguous() for name, tensor in named.items()}, folder / FILE)


class LinearBackend:
    """The :class:`~facevlm.backends.Backend` of a folder of linear classifiers; its base is loaded when it opens."""

    def __init__(self, card: Card, options: Options) -> None:
        self.card, self._folder = card, Path(cards.location(card.checkpoint(ANY)))
        base = cards.find(card.linear)
        if base.hosted or base.scheme or base.linear:
            raise ModelError(f"'{self._folder}' stands on '{card.linear}', expected a model that runs here.")
        raw = self._read()
        self._tables, self._lock, self._pace = load(raw), threading.Lock(), BatchPace()
        names = set(base.checkpoints.values())
        if len(names) != 1:
            raise ModelError(f"'{self._folder}' stands on '{card.linear}', which is {len(names)} checkpoints.")
        self.family, revision = load_model(base, names.pop(), options)
        self._info = BackendInfo(
            model=card.name,
            identity={card.checkpoint(ANY): hashlib.sha256(raw + revision.encode()).hexdigest()[:12]},
            device=str(self.family.model.device),
            dtype=str(self.family.model.dtype).removeprefix("torch."),
            decode="score",
            decision=PROBABLE,
            picture=self.family.picture,
        )

    def _read(self) -> bytes:
        try:
            raw = folders.read_bytes(self._folder / FILE, LARGEST)
            load(raw)
        except (OSError, SafetensorError, ValueError) as error:
            raise ModelError(
                f"'{self._folder / FILE}' cannot be read: {error}. Expected a folder that facevlm train wrote by "
                "method='linear'."
            ) from error
        return raw

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record."""
        return self._info

    def check(self, questions: Sequence[Question]) -> None:
        """Raise :class:`~facevlm.errors.ModelError` for an attribute that is not in the folder, or has other labels."""
        for question in questions:
            name, labels = question.attribute.name, len(question.attribute.labels)
            table = self._tables.get(f"{name}.weight")
            if table is None or len(table) != labels or len(self._tables.get(f"{name}.bias", ())) != labels:
                got = "none" if table is None else f"one of {len(table)} labels"
                raise ModelError(f"'{self._folder / FILE}' has {got} for {name}, expected one of {labels} labels.")

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Log-probabilities of every label."""
        self.check(questions)
        with self._lock:
            room = Room(self.family.model.device, 0)
            return halving(functools.partial(self._answered, questions=questions), images, self._pace, room)

    def _answered(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        seen = features(self.family, images)
        table: list[list[Reply]] = [[] for _ in images]
        for question in questions:
            name = question.attribute.name
            weight, bias = (self._tables[f"{name}.{part}"].to(seen.device) for part in ("weight", "bias"))
            for row, scores in zip(table, (seen @ weight.T + bias).log_softmax(1).tolist(), strict=True):
                row.append(Reply(log_probs=tuple(scores), decision=PROBABLE))
        return table


def features(family: Family, images: Sequence[Image]) -> Tensor:
    """What a frozen tower makes of RGB pictures, float32 (pictures, width)."""
    with torch.inference_mode():
        return family.pooled([family.prepare(image) for image in images])
