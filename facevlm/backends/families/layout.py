"""What a pass is fed beside pictures, on the model's device: tokens, mask, positions; kept for pictures written alike.

A copy to a GPU from ordinary memory, or any look at a value that lies there, makes the host wait for all that was
given to the device before. So everything is made of what the host knows, travels by :func:`placed`, and stays there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
KEPT_BYTES = 2**26
"""Memory of a device for what is kept of one model: its masks grow with the square of the tokens."""


@dataclass(frozen=True)
class Layout:
    """Tokens (rows, total), the mask as the model takes it, position ids (..., rows, total), and the positions among
    all whose logits are kept; ``rows`` is 1 where all pictures of a batch share them."""

    tokens: Tensor
    mask: Any
    positions: Tensor
    keep: Tensor

    def over(self, batch: int) -> Layout:
        """The same for every picture of a batch, without a copy."""
        return Layout(
            self.tokens.expand(batch, -1),
            _over(self.mask, batch),
            self.positions.expand(*self.positions.shape[:-2], batch, -1),
            self.keep,
        )


def _over(mask: Any, batch: int) -> Any:
    if isinstance(mask, Mapping):
        return {name: _over(part, batch) for name, part in mask.items()}
    return mask.expand(batch, *mask.shape[1:])


class DeviceCache(Generic[T]):
    """What was made for a key, as much of it as ``most`` bytes hold; what was used longest ago goes first."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was kept for a key, else what ``make`` gives, fit for training as well as for inference."""
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key][0]
        # Tensors made in inference mode could not be saved for a backward pass later on.
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        self._made[key] = made, sum(t.numel() * t.element_size() for t in _tensors(made))
        while self._made and sum(size for _, size in self._made.values()) > self._most:
            self._made.popitem(last=False)
        return made


def _tensors(thing: object) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Layout):
        for part in (thing.tokens, thing.mask, thing.positions, thing.keep):
            yield from _tensors(part)
    elif isinstance(thing, Mapping):
        for part in thing.values():
            yield from _tensors(part)
