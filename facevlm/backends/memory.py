"""Memory: halving where a batch does not fit, a batch size that should, checkpoints that take turns."""

from __future__ import annotations

import functools
import gc
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psutil
import torch
from PIL.Image import Image
from safetensors import SafetensorError

from facevlm.errors import ModelError
from facevlm.types import Reply

T = TypeVar("T")
Rows = list[list[Reply]]
Call = Callable[[Sequence[Image]], Rows]
SPARE = 0.1
"""Share of the free memory that is left alone, for what passes through a model and for what is not foreseen."""
MOST = 64
USUAL = 32
PATIENCE = 16
"""Passes that fit before more pictures are tried again; twice as many after every time that they did not fit."""
GIB = 2**30
SHORT = re.compile(
    r"out of memory|(not enough|can.?t allocate|cannot allocate) memory|invalid buffer size|alloc_failed|bad_alloc"
    r"|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
"""How PyTorch's devices and libraries, and those below them, say that memory ran out."""
ASKED = re.compile(r"(?:tried to allocate|invalid buffer size:) ([\d.]+ ?[KMGT]?i?B)\b", re.IGNORECASE)


class NoRoom(ModelError):
    """Not even one picture, or not even the weights, fit into memory."""


def is_short(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that memory ran out; on any device, by any name."""
    while error is not None:
        if isinstance(error, (NoRoom, torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, (RuntimeError, OSError, SafetensorError)) and SHORT.search(str(error)):
            return True
        error = error.__cause__
    return False


@dataclass(frozen=True)
class Room:
    """The memory in which a model works; ``weights`` are the bytes that its weights take, 0 where that is not known."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    weights: int = 0

    def short(self, doing: str, said: str) -> NoRoom:
        """The error of memory that ran out ``doing`` something, as others ``said``: sizes and remedies."""
        asked = ASKED.search(said)
        sizes = [
            f"its weights take about {_gib(self.weights)}" if self.weights else "",
            self._free(),
            f"{asked[1]} more were wanted" if asked else "",
        ]
        told = ", ".join(filter(None, sizes))
        here = f"Out of memory {doing}{': ' if told else ''}{told}. "
        return NoRoom(
            f"{here}Use a smaller model, smaller pictures, dtype='bfloat16', quantize='4bit', or another device; let "
            "go of models that were used before by facevlm.unload(), and end other programs that hold memory.",
            app=f"{here}Choose a smaller model, weights in 4 bits or another device among the model's options, or end "
            "other programs that hold memory.",
        )

    def _free(self) -> str:
        """What is free in words; nothing where a device does not tell, or no more after what happened."""
        try:
            free = f"{_gib(free_bytes(self.device))} of {_gib(total_bytes(self.device))} are free on {self.device}"
        except RuntimeError:
            return ""
        return free if self.device.type == "cpu" or measured(self.device) else ""

    def within(self, call: Callable[[], T], doing: str) -> T:
        """What ``call`` returns. Raises :class:`NoRoom`, free of what the call held, where memory runs out in it."""
        try:
            return call()
        except NoRoom:
            raise
        except Exception as error:
            if not is_short(error):
                raise
            said = str(error)
        # Not below ``except``: the traceback would hold what is to be given back.
        release()
        raise self.short(doing, said)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.0f} MiB"


@dataclass
class BatchPace:
    """How many pictures of one kind fit into memory together, learnt from passes over them; at first, any number."""

    most: int | None = None
    patience: int = PATIENCE
    _fitted: int = 0
    _grown: bool = False

    def size(self, wanted: int) -> int:
        """So many of the pictures ``wanted`` are tried together."""
        return wanted if self.most is None else min(wanted, self.most)

    def fitted(self, size: int) -> None:
        """A pass over so many is done; after enough of them, twice as many are tried."""
        if self.most is None or size < self.most:
            return
        self._fitted += 1
        if self._fitted >= self.patience:
            self.most, self._fitted, self._grown = 2 * self.most, 0, True

    def failed(self, size: int) -> None:
        """So many did not fit; where they were more than what had fitted, it is longer until more are tried again."""
        self.patience *= 2 if self._grown else 1
        self.most, self._fitted, self._grown = max(1, size // 2), 0, False


def halving(call: Call, images: Sequence[Image], pace: BatchPace | None = None, room: Room | None = None) -> Rows:
    """Call on as many pictures as ``pace`` says will fit; where memory runs out, on halves, keeping what is done.

    Raises :class:`NoRoom` when not even one picture fits.
    """
    pace, done = pace or BatchPace(), Rows()
    while len(done) < len(images):
        batch = images[len(done) : len(done) + pace.size(len(images) - len(done))]
        result, said = _attempt(functools.partial(call, batch))
        if result is not None:
            done += result
            pace.fitted(len(batch))
            continue
        release()
        if len(batch) == 1:
            shape = f"{batch[0].width}x{batch[0].height}"
            raise (room or Room()).short(f"with a single picture of {shape}", said)
        pace.failed(len(batch))
    return done


def _attempt(call: Callable[[], T]) -> tuple[T | None, str]:
    """What a call returns; or None and what was said where memory ran out."""
    try:
        return call(), ""
    except Exception as error:
        if not is_short(error):
            raise
        return None, str(error)


def release() -> None:
    """Give freed memory back to its device; called outside of ``except``, where a traceback would hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of the machine where the device has none of its own."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    machine = int(psutil.virtual_memory().available)
    if device.type == "mps":
        return min(machine, max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()))
    return machine


def total_bytes(device: torch.device) -> int:
    """All memory of a device; of the machine where the device has none of its own."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return int(torch.mps.recommended_max_memory() if device.type == "mps" else psutil.virtual_memory().total)


def measured(device: torch.device) -> bool:
    """Whether what a pass takes of a device's memory can be told."""
    return device.type in ("cuda", "mps")


def peak_bytes(device: torch.device, call: Callable[[], object]) -> int:
    """The most memory that a call takes beside what is held before it.

    MPS tells no peak: what its driver holds behind the call, when nothing was kept for reuse before, is as much.
    """
    if device.type == "mps":
        torch.mps.empty_cache()
        before = torch.mps.driver_allocated_memory()
        call()
        return int(torch.mps.driver_allocated_memory() - before)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return int(torch.cuda.max_memory_allocated(device) - before)


def fit_batch(peak: Callable[[int], int], free: int) -> int:
    """The largest power of two of pictures, at most ``MOST``, whose peak memory should fit.

    ``peak(n)`` runs n pictures and tells their peak in bytes; it is called with 1 and 4, or 2 where 4 run out of
    memory, and growth is taken as linear. Where a single picture runs out of memory, its error is raised.
    """
    one, most = peak(1), MOST
    for several in (4, 2):
        many, _ = _attempt(functools.partial(peak, several))
        if many is not None:
            each = max(1.0, (many - one) / (several - 1))
            return _power_of_two(min((free * (1 - SPARE) - (one - each)) / each, most))
        release()
        most = several // 2
    return 1


def _power_of_two(most: float) -> int:
    size = 1
    while size * 2 <= most:
        size *= 2
    return size


class Residents(Generic[T]):
    """Things loaded by name, as many as fit; the one that was used longest ago makes room.

    ``sizes`` are bytes per name; ``limit`` is what there is for all together, of which the share ``spare`` is left for
    what passes through them; one always stays. Where one does not fit beside others after all, it is loaded alone.
    """

    def __init__(self, sizes: Mapping[str, int], limit: float, load: Callable[[str], T], spare: float = SPARE) -> None:
        self.sizes, self.limit, self._load = sizes, limit * (1 - spare), load
        self._here: OrderedDict[str, T] = OrderedDict()
        self._crowded = False

    @property
    def all_fit(self) -> bool:
        return len(self.sizes) < 2 or (not self._crowded and sum(self.sizes.values()) <= self.limit)

    def __getitem__(self, name: str) -> T:
        if name not in self._here:
            self._make_room(self.sizes.get(name, 0))
            self._here[name] = self._loaded(name)
        self._here.move_to_end(name)
        return self._here[name]

    def _loaded(self, name: str) -> T:
        if not self._here:
            return self._load(name)
        thing, _ = _attempt(functools.partial(self._load, name))
        if thing is not None:
            return thing
        self._crowded = True
        self._here.clear()
        release()
        return self._load(name)

    def _make_room(self, size: int) -> None:
        held = sum(self.sizes.get(n, 0) for n in self._here)
        while self._here and (self._crowded or size + held > self.limit):
            gone, _ = self._here.popitem(last=False)
            held -= self.sizes.get(gone, 0)
            release()
