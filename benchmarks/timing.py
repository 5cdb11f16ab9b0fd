"""Systems that take turns, and what they ran on."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

Key = TypeVar("Key")
MATRIX = {"cpu": (2048, 3), "cuda": (8192, 20)}
"""Side of the matrices and products in a row: a fraction of a second each, far beyond a launch's overhead."""


def alternate(
    systems: Mapping[Key, Callable[[], float]], rounds: int, finish: Callable[[], None] = lambda: None
) -> dict[Key, list[float]]:
    """What each system got done per second, once for each round; all take turns, in odd rounds backwards.

    A system returns how much it did. All run once before the clock starts. ``finish`` waits for the device. What runs
    is told on stderr.
    """
    for key, run in systems.items():
        tell(f"warm-up: {key}")
        run()
    finish()
    rates: dict[Key, list[float]] = {key: [] for key in systems}
    for number in range(rounds):
        for key in list(systems)[:: 1 if number % 2 == 0 else -1]:
            start = time.perf_counter()
            done = systems[key]()
            finish()
            seconds = time.perf_counter() - start
            rates[key].append(done / seconds)
            tell(f"round {number + 1} of {rounds}: {key}, {seconds:.1f} s")
    return rates


def tell(line: str) -> None:
    """What a benchmark is at; stdout is for its results."""
    print(line, file=sys.stderr, flush=True)


def finisher(device: torch.device) -> Callable[[], None]:
    """Waits until the device has done all it was given."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def matrix_product(device: torch.device, dtype: torch.dtype) -> Callable[[], float]:
    """Large matrix products in a type of numbers; returns their FLOPs. The most a model could do per second."""
    side, times = MATRIX["cuda" if device.type == "cuda" else "cpu"]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)

    def run() -> float:
        for _ in range(times):
            torch.matmul(left, right, out=out)
        return 2.0 * side**3 * times

    return run


def machine() -> str:
    """Processor, threads, GPU."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {gpu}"
