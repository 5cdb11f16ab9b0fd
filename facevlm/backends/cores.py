"""Processor cores: what a model takes of them while pictures are read and answers written beside it.

A small model is done with a layer before several threads have met for it. They wait for each other by spinning, and so
take the cores from those that read, write, and keep the database.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PER_THREAD = 4_000_000
"""Parameters of a model that keep a thread busy."""
MOST_READING = 16
QUOTA = Path("/sys/fs/cgroup/cpu.max")
POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"
NICE = 5

_lock = threading.Lock()
_working, _usual = 0, 0
"""Models that are running now, and the threads that PyTorch took before the first of them began."""


def wait_passively() -> None:
    """Let threads of PyTorch sleep while they wait for each other, unless the user has said how they are to wait.

    OpenMP reads it once, when PyTorch is imported; where that has happened before, it stays as it was.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(POLICY, PASSIVE)


def cores() -> int:
    """Cores that this process may use: of the machine, of its affinity, and of its container's share."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(here, _quota()))


def _quota() -> float:
    try:
        quota, period = map(int, QUOTA.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return math.inf
    return quota / period if period else math.inf


def reading(threads: int | None = None) -> int:
    """Threads that read pictures: as told, or one per core."""
    return threads or min(MOST_READING, cores())


def step_back() -> None:
    """Let this thread yield its core to those of the model; only Linux has a priority for each thread."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + NICE))


def suited(parameters: int) -> int:
    """Threads for a forward pass of a model with so many parameters: never more than PyTorch was told, or would take
    by itself."""
    import torch

    most = min(cores(), _usual if _working else torch.get_num_threads())
    return max(1, min(most, parameters // PER_THREAD))


@contextmanager
def working(parameters: int) -> Iterator[None]:
    """A block in which a model of so many parameters runs on the CPU; behind it PyTorch takes its usual threads again.

    Models may run in several threads of this process at once, each with its own number.
    """
    global _working, _usual
    import torch

    with _lock:
        # Asked first in any case: a thread that PyTorch has not met takes over the number of another when it is asked.
        told, threads = torch.get_num_threads(), suited(parameters)
        if not _working:
            _usual = told
        _working += 1
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _lock:
            _working -= 1
            torch.set_num_threads(_usual)


def taken(threads: int | None, reading_threads: int | None) -> dict[str, Any]:
    """What a run takes of the cores, for its record. ``threads`` are the model's, None where it is not on them."""
    return {
        "cores": cores(),
        "model_threads": threads,
        "reading_threads": reading(reading_threads),
        "wait_policy": os.environ.get(POLICY),
    }
