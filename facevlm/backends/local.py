"""Local vision-language models through transformers: one checkpoint for all attributes, or one for each."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from importlib.metadata import version

import torch
from PIL.Image import Image
from PIL.Image import new as new_image

from facevlm.backends import BackendInfo, Options
from facevlm.backends.cards import Card
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.memory import GIB, USUAL, Residents, fit_batch, free_bytes, halving
from facevlm.backends.weights import pick_device, pick_dtype, weight_bytes
from facevlm.types import Attribute, Question, Reply

PACKAGES = ("facevlm", "torch", "transformers", "bitsandbytes")


class LocalBackend:
    """The :class:`~facevlm.backends.Backend` of a card. All its checkpoints are loaded and checked when it opens."""

    def __init__(self, card: Card, options: Options) -> None:
        self.card, self.options = card, options
        self._lock = threading.Lock()
        device = pick_device(options.device)
        dtype = pick_dtype(options, device)
        names = list(dict.fromkeys(card.checkpoints.values()))
        sizes = {name: weight_bytes(name, dtype) for name in names} if len(names) > 1 else {}
        limit = options.memory_gb * GIB if options.memory_gb else free_bytes(device)
        self._loaded = Residents(sizes, limit, functools.partial(Checkpoint, card, options=options))
        opened = [self._loaded[name] for name in names]
        self._revisions = {c.name: c.revision for c in opened}
        self._decodes = {c.name: c.decode for c in opened}
        turns = () if self._loaded.all_fit else self._turns()
        self._info = BackendInfo(
            model=card.name,
            identity=dict(sorted(self._revisions.items())),
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            decode=self._decoding(),
            picture=opened[-1].picture,
            versions={name: version(name) for name in PACKAGES if _has(name)},
            notes=tuple(c.note for c in opened if c.note),
            turns=turns,
            batch_size=self._batch_size(opened[-1], device),
        )

    @property
    def info(self) -> BackendInfo:
        return self._info

    def _decoding(self) -> str:
        """``score``, ``generate``, or both with the names of those that generate."""
        if len(set(self._decodes.values())) == 1:
            return next(iter(self._decodes.values()))
        return "score; generate for " + ", ".join(n for n, how in self._decodes.items() if how == "generate")

    def _turns(self) -> tuple[tuple[str, ...], ...]:
        groups: dict[str, list[str]] = {}
        for attribute, name in self.card.checkpoints.items():
            groups.setdefault(name, []).append(attribute)
        return tuple(tuple(group) for group in groups.values())

    def _batch_size(self, checkpoint: Checkpoint, device: torch.device) -> int:
        """Measured on a GPU; the usual elsewhere, where pictures of a batch take little beside the weights."""
        if device.type != "cuda":
            return USUAL
        attribute = Attribute("size", ("small", "large"), "what is the size of the person in the image?")
        question = Question(attribute, attribute.question, (("small",), ("large",)))
        ask = checkpoint.generate if checkpoint.decode == "generate" else checkpoint.score

        def peak(pictures: int) -> int:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            side = checkpoint.picture
            size = (side.width, side.height) if side else (448, 448)
            ask([new_image("RGB", size)] * pictures, [question])
            return int(torch.cuda.max_memory_allocated(device) - before)

        return fit_batch(peak, free_bytes(device))

    def check(self, questions: Sequence[Question]) -> None:
        """Spell every answer; raises :class:`~facevlm.errors.ModelError` for what cannot be spelled or told apart."""
        with self._lock:
            for name, members in self._by_checkpoint(questions).items():
                self._loaded[name].check([questions[k] for k in members])

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Scores of every label, or free answers where the model was opened, or fell back, to ``generate``."""
        return self._ask(images, questions, free=False)

    def say(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Free greedy answers, whatever the way of decoding."""
        return self._ask(images, questions, free=True)

    def spell(self, images: Sequence[Image], text: str, max_new_tokens: int) -> list[Reply]:
        """Free greedy answers to one prompt of the first checkpoint, special tokens kept; ``malformed`` if cut off."""
        with self._lock:
            checkpoint = self._loaded[next(iter(self.card.checkpoints.values()))]
            ask = functools.partial(checkpoint.spell, text=text, max_new_tokens=max_new_tokens)
            return [reply for (reply,) in halving(ask, images)]

    def _ask(self, images: Sequence[Image], questions: Sequence[Question], *, free: bool) -> list[list[Reply]]:
        table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
        with self._lock:
            for name, members in self._by_checkpoint(questions).items():
                checkpoint = self._loaded[name]
                ask = checkpoint.generate if free or checkpoint.decode == "generate" else checkpoint.score
                group = [questions[k] for k in members]
                answered = halving(functools.partial(ask, questions=group), images)
                for row, replies in zip(table, answered, strict=True):
                    for k, reply in zip(members, replies, strict=True):
                        row[k] = reply
        return table

    def _by_checkpoint(self, questions: Sequence[Question]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {}
        for k, question in enumerate(questions):
            groups.setdefault(self.card.checkpoint(question.attribute.name), []).append(k)
        return groups


def _has(package: str) -> bool:
    try:
        return bool(version(package))
    except ModuleNotFoundError:
        return False
