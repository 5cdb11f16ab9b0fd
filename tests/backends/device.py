"""A device that is none: tensors that lie in the host's memory and say that they lie on ``cuda:0``.

What a program would do wrong on a GPU can so be counted without one: operations between tensors of two devices, which
fail there, and everything for which the host has to wait until the device has done all that it was given: looking at
a value, indexing by truth values, copying without pinned memory.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda", 0)
PLACES = ("/facevlm/", "/transformers/", "/tests/")


class Held(Tensor):
    """A tensor on the device."""


class Pinned(Tensor):
    """A tensor of the host in memory from which a device copies by itself."""


VALUES = {
    getattr(Tensor, name)
    for name in (
        *("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__complex__", "__array__"),
        *("nonzero", "masked_select", "unique", "unique_consecutive", "equal", "allclose", "bincount", "is_nonzero"),
    )
} | {torch.nonzero, torch.masked_select, torch.unique, torch.equal, torch.allclose, torch.bincount, torch.is_nonzero}
"""What needs to know a value, or how many values hold, before it can go on."""
ASKED = {Tensor.device.__get__: DEVICE, Tensor.is_cuda.__get__: True, Tensor.is_cpu.__get__: False}  # type: ignore[attr-defined]
NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray}
RANGES = {torch.arange, torch.linspace, torch.full, torch.zeros, torch.ones, torch.empty}
REPEATS = {torch.repeat_interleave, Tensor.repeat_interleave}


@dataclass
class Watch:
    """What was done while it was watched: waits and mixed operations by the place that asked for them."""

    own: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    mixed: Counter[str] = field(default_factory=Counter)
    copies: int = 0

    @property
    def waits(self) -> Counter[str]:
        """Those that transformers asks for, and those that the library itself does."""
        return self.own + self.others

    def waited(self, what: str) -> None:
        place = _place()
        (self.others if "/transformers/" in place else self.own)[f"{what} at {_short(place)}"] += 1


def _place() -> str:
    """The innermost line outside of torch and of this file, by file and line."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename != __file__ and any(place in frame.filename for place in PLACES):
            return f"{frame.filename}:{frame.lineno}"
    return "?"


def _short(place: str) -> str:
    return "/".join(place.split("/")[-3:])


class Device(TorchFunctionMode):
    """While it is on, tensors may be put on the device, and what is done there is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        held = any(isinstance(t, Held) for t in _tensors((args, kwargs)))
        if held and func in ASKED:
            return ASKED[func]
        if func is Tensor.pin_memory:
            return args[0].as_subclass(Pinned)
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(func, args, kwargs)
        if _is_here(kwargs.get("device")):
            return self._made(func, args, kwargs)
        if held:
            self._watch(func, args, kwargs)
        found = func(*args, **kwargs)
        return _plain(found) if func in VALUES and isinstance(found, Tensor) and not held else found

    def _moved(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A copy from one to the other, or another type of numbers."""
        tensor, target = args[0], _target(func, args[1:], kwargs)
        free = kwargs.pop("non_blocking", False) and isinstance(tensor, Pinned)
        rest = [a for a in args[1:] if not _names_a_device(a)]
        kwargs.pop("device", None)
        kwargs.pop("other", None)
        found = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if target is None or _is_here(target) == isinstance(tensor, Held):
            return found
        self.watch.copies += 1
        if isinstance(tensor, Held):
            self.watch.waited("copied to the host")
            return _plain(found)
        if not free:
            self.watch.waited("copied from memory that is not pinned")
        return found.as_subclass(Held)

    def _made(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A tensor made on the device, of numbers that the host knows."""
        kwargs.pop("device")
        if func in NUMBERS or (func in RANGES and list(_tensors(args))):
            self.watch.waited(f"{func.__name__} of numbers")
        return func(*args, **kwargs).as_subclass(Held)

    def _watch(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        name = getattr(func, "__name__", str(func))
        if (
            func in VALUES
            or (func is torch.where and len(args) == 1)
            or (func in REPEATS and kwargs.get("output_size") is None and isinstance(_second(args, kwargs), Tensor))
        ):
            self.watch.waited(name)
        elif func in (Tensor.__getitem__, Tensor.__setitem__):
            self._indexed(func, args)
        elif func is Tensor.copy_:
            if not (isinstance(args[1], (Held, Pinned)) and isinstance(args[0], Held)):
                self.watch.waited(name)
        elif any(not isinstance(t, Held) and t.dim() for t in _tensors((args, kwargs))):
            self.watch.mixed[f"{name} at {_short(_place())}"] += 1

    def _indexed(self, func: Callable[..., Any], args: Sequence[Any]) -> None:
        """A table of truth values has to be counted, unless one value is written wherever it holds; an index of the
        host's is copied."""
        index = list(_tensors(args[1]))
        if not isinstance(args[0], Held):
            self.watch.mixed[f"{func.__name__} at {_short(_place())}"] += 1
        elif any(not isinstance(t, Held) and t.dim() for t in (*index, *_tensors(args[2:]))):
            self.watch.waited("index of the host")
        elif any(t.dtype == torch.bool for t in index):
            written = args[2] if len(args) > 2 else index[0]
            if isinstance(written, Tensor) and written.dim():
                self.watch.waited("index of truth values")


def _second(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("repeats")


def _tensors(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for part in thing.values():
            yield from _tensors(part)
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from _tensors(part)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


def _is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _names_a_device(value: Any) -> bool:
    return isinstance(value, (torch.device, str, Tensor))


def _target(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The device that a copy goes to, or None where it says none."""
    if func is not Tensor.to:
        return DEVICE if func is Tensor.cuda else torch.device("cpu")
    for value in (*args, kwargs.get("device"), kwargs.get("other")):
        if isinstance(value, Tensor):
            return DEVICE if isinstance(value, Held) else torch.device("cpu")
        if isinstance(value, (torch.device, str)):
            return value
    return None


def put(model: nn.Module) -> None:
    """Put all weights of a model on the device; for good, since a program moves them once."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(weight.detach().as_subclass(Held), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.detach().as_subclass(Held)


@contextmanager
def watched() -> Iterator[Watch]:
    """What is done with the device in the block."""
    with Device() as device:
        yield device.watch
