"""Memory: halving where a batch does not fit, a batch size that should, checkpoints that take turns."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import psutil
import torch
from PIL.Image import Image

from facevlm.errors import ModelError
from facevlm.types import Reply

T = TypeVar("T")
Rows = list[list[Reply]]
SPARE = 0.1
"""Share of the free memory that is left alone."""
MOST = 64
USUAL = 32
GIB = 2**30


def halving(call: Callable[[Sequence[Image]], Rows], images: Sequence[Image]) -> Rows:
    """Call on all pictures; where memory runs out, on halves, keeping what is done.

    Raises :class:`~facevlm.errors.ModelError` when not even one picture fits.
    """
    done: Rows = []
    size = len(images)
    while len(done) < len(images):
        result = _attempt(call, images[len(done) : len(done) + size])
        if result is not None:
            done += result
            continue
        if size == 1:
            raise ModelError(
                "Out of memory with a single picture. Use a smaller model, dtype='bfloat16', quantize='4bit', or "
                "another device."
            )
        size //= 2
        release()
    return done


def _attempt(call: Callable[[Sequence[Image]], Rows], images: Sequence[Image]) -> Rows | None:
    try:
        return call(images)
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        return None


def release() -> None:
    """Give freed memory back; called outside of ``except``, where a traceback would hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of the machine where the device has none of its own."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def fit_batch(peak: Callable[[int], int], free: int) -> int:
    """The largest power of two of pictures, at most ``MOST``, whose peak memory should fit.

    ``peak(n)`` runs n pictures and tells their peak in bytes; it is called with 1 and 4, and growth is taken as linear.
    """
    one, four = peak(1), peak(4)
    each = max(1.0, (four - one) / 3)
    room = (free * (1 - SPARE) - (one - each)) / each
    size = 1
    while size * 2 <= min(room, MOST):
        size *= 2
    return size


class Residents(Generic[T]):
    """Things loaded by name, as many as fit; the one that was used longest ago makes room.

    ``sizes`` are bytes per name; ``limit`` is what they may take together, and one always stays.
    """

    def __init__(self, sizes: dict[str, int], limit: float, load: Callable[[str], T]) -> None:
        self.sizes, self.limit, self._load = sizes, limit, load
        self._here: OrderedDict[str, T] = OrderedDict()

    @property
    def all_fit(self) -> bool:
        return sum(self.sizes.values()) <= self.limit

    def __getitem__(self, name: str) -> T:
        if name not in self._here:
            self._make_room(self.sizes.get(name, 0))
            self._here[name] = self._load(name)
        self._here.move_to_end(name)
        return self._here[name]

    def _make_room(self, size: int) -> None:
        while self._here and size + sum(self.sizes.get(n, 0) for n in self._here) > self.limit:
            self._here.popitem(last=False)
            release()
