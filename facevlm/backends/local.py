"""Local vision-language models through transformers: one checkpoint for all attributes, or one for each."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from PIL.Image import Image

from facevlm.backends import BackendInfo, Options, PictureSpec
from facevlm.backends.cards import Card
from facevlm.backends.checkpoint import Checkpoint, plain_picture
from facevlm.backends.memory import GIB, BatchPace, Call, Residents, Room, free_bytes, halving
from facevlm.backends.singling import Singling
from facevlm.backends.stated import stated
from facevlm.backends.trials import Trials, likely
from facevlm.backends.weights import pick_device, pick_dtype, weight_bytes
from facevlm.types import Question, Reply

PACKAGES = ("facevlm", "torch", "transformers", "bitsandbytes")
PEFT = "peft"


@dataclass(frozen=True)
class CheckpointFacts:
    """Facts about a checkpoint that was loaded."""

    name: str
    revision: str
    decode: str
    picture: PictureSpec | None
    dtype: str
    threads: int | None


class LocalBackend:
    """The :class:`~facevlm.backends.Backend` of a card. All its checkpoints are loaded and checked when it opens."""

    def __init__(self, card: Card, options: Options) -> None:
        self.card, self.options = card, options
        self._lock, self._singling = threading.Lock(), Singling(card.name)
        self._device = pick_device(options.device)
        self._trials, self._paces = Trials(self._device), dict[object, BatchPace]()
        self._loaded = self._residents()
        self._notes: dict[str, tuple[str, ...]] = {}
        opened = [self._opened(name) for name in self._loaded.sizes]
        self._decodes = {c.name: c.decode for c in opened}
        self._info = BackendInfo(
            model=card.name,
            identity=dict(sorted([*((c.name, c.revision) for c in opened), *self._of_adapter(opened)])),
            device=str(self._device),
            dtype=opened[-1].dtype,
            decode=self._decoding(),
            decision=card.decision(options),
            picture=opened[-1].picture,
            versions={name: version(name) for name in self._packages() if _has(name)},
            turns=() if self._loaded.all_fit else self._turns(),
            threads=opened[-1].threads,
            batch_size=self._likely_batch_size(opened[-1].name),
            stated=stated(card),
        )

    def _residents(self) -> Residents[Checkpoint]:
        """The checkpoints, none of them loaded yet; what a user grants them is for their weights alone."""
        options, dtype = self.options, pick_dtype(self.options, self._device)
        names = dict.fromkeys(self.card.checkpoints.values())
        sizes = {name: weight_bytes(name, dtype, options.quantize) for name in names}
        if options.memory_gb:
            return Residents(sizes, options.memory_gb * GIB, self._load, spare=0)
        return Residents(sizes, free_bytes(self._device), self._load)

    def _room(self, name: str) -> Room:
        return Room(self._device, self._loaded.sizes[name])

    def _load(self, name: str) -> Checkpoint:
        load = functools.partial(Checkpoint, self.card, name, self.options)
        return self._room(name).within(load, f"while model '{self.card.name}' was loaded and tried out")

    def _opened(self, name: str) -> CheckpointFacts:
        """What there is to say of a checkpoint, which is not held beyond: it may have to make room for the next."""
        found = self._loaded[name]
        dtype = str(found.family.model.dtype).removeprefix("torch.")
        self._notes[name] = found.notes
        return CheckpointFacts(name, found.revision, found.decode, found.picture, dtype, found.threads)

    def _packages(self) -> tuple[str, ...]:
        return (*PACKAGES, PEFT) if self.card.adapter else PACKAGES

    def _of_adapter(self, opened: Sequence[CheckpointFacts]) -> list[tuple[str, str]]:
        """The digest of an adapter, which stands behind that of its base."""
        adapter = self.card.adapter
        return [(adapter.source, opened[-1].revision.rpartition("+")[2])] if adapter else []

    def _likely_batch_size(self, last: str) -> int:
        """By the checkpoints that are in memory now."""
        names = self._loaded.sizes if self._loaded.all_fit else [last]
        return min(self._tried(name, likely(self.card, name)) for name in names)

    def _tried(self, name: str, questions: Sequence[Question]) -> int:
        checkpoint = self._loaded[name]
        with checkpoint.watched():
            return self._trials.batch_size(checkpoint, questions, self._room(name))

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record; its notes grow where a model turns out to run other than it was asked to."""
        return replace(self._info, notes=tuple(note for name in self._notes for note in self._notes[name]))

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

    def check(self, questions: Sequence[Question]) -> None:
        """Spell every answer, and try out how many pictures fit with these questions.

        Raises :class:`~facevlm.errors.ModelError` for what cannot be spelled or told apart, or does not fit.
        """
        with self._lock:
            sizes = []
            for name, members in self._by_checkpoint(questions).items():
                group = [questions[k] for k in members]
                self._loaded[name].check(group)
                sizes.append(self._tried(name, group))
            self._info = replace(self._info, batch_size=min(sizes, default=self._info.batch_size))

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
            return [row[0] for row in self._answered(checkpoint, ask, images, ("spell", text))]

    def _answered(self, checkpoint: Checkpoint, ask: Call, images: Sequence[Image], what: object) -> list[list[Reply]]:
        """What ``ask`` answers, in passes of as many pictures as fit where it is about ``what``."""

        def call(batch: Sequence[Image]) -> list[list[Reply]]:
            largest = 0 if checkpoint.picture else max(i.width * i.height for i in batch).bit_length()
            pace = self._paces.setdefault((checkpoint.name, what, largest), BatchPace())
            return halving(ask, batch, pace, self._room(checkpoint.name))

        with checkpoint.watched():
            rows = self._singling(call, images, plain_picture(checkpoint.picture))
        self._notes[checkpoint.name] = checkpoint.notes
        return rows

    def _ask(self, images: Sequence[Image], questions: Sequence[Question], *, free: bool) -> list[list[Reply]]:
        table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
        with self._lock:
            for name, members in self._by_checkpoint(questions).items():
                checkpoint = self._loaded[name]
                group = [questions[k] for k in members]
                ask = functools.partial(checkpoint.generate if free else checkpoint.ask, questions=group)
                what = (free, *(q.fingerprint() for q in group))
                for row, replies in zip(table, self._answered(checkpoint, ask, images, what), strict=True):
                    given = replies * len(group) if _is_failure(replies) else replies
                    for k, reply in zip(members, given, strict=True):
                        row[k] = reply
        return table

    def _by_checkpoint(self, questions: Sequence[Question]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {}
        for k, question in enumerate(questions):
            groups.setdefault(self.card.checkpoint(question.attribute.name), []).append(k)
        return groups


def _is_failure(replies: Sequence[Reply]) -> bool:
    """Whether one reply stands for all questions about a picture."""
    return len(replies) == 1 and replies[0].error is not None


def _has(package: str) -> bool:
    try:
        return bool(version(package))
    except ModuleNotFoundError:
        return False
