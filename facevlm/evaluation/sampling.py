"""Which faces to look at next, and how many of a group an interval of a wanted width takes. Plain data."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from facevlm.errors import InputError
from facevlm.evaluation.metrics import Z95

HALF_WIDTH = 0.05
"""Half the width of the interval that a group's accuracy is to have, as a share."""


def faces_needed(half_width: float = HALF_WIDTH, share: float = 0.5, z: float = Z95) -> int:
    """Faces of a group for which the Wilson interval of its accuracy is at most ``half_width`` to either side.

    ``share`` is the accuracy that is expected; 0.5, the widest interval, where nothing is known. Solved from the half
    width of the interval, z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n), which is quadratic in n:

    Piegorsch, W. W. (2004), Sample sizes for improved binomial confidence intervals, Computational Statistics & Data
    Analysis 46; the interval itself is that of Wilson (1927).

    Raises :class:`~facevlm.errors.InputError` for a width outside of 0 to 0.5, or a share outside of 0 to 1.
    """
    if not 0 < half_width < 0.5:
        raise InputError(f"Got half_width={half_width!r}, expected a share between 0 and 0.5, such as 0.05.")
    if not 0 <= share <= 1:
        raise InputError(f"Got share={share!r}, expected a share from 0 to 1.")
    h2, z2, spread = half_width**2, z**2, share * (1 - share)
    middle = z2 * (2 * h2 - spread)
    root = math.sqrt(middle**2 - 4 * h2 * (h2 * z2**2 - z2**2 / 4))
    # Rounding may leave what is a whole number a hair above it.
    return max(1, math.ceil((root - middle) / (2 * h2) - 1e-9))


def least_sure(faces: Sequence[int], confidence: Sequence[float | None]) -> list[int]:
    """Faces by their confidence, the lowest first; one without a score is the least sure of all."""
    return sorted(faces, key=lambda k: -1.0 if (value := confidence[k]) is None else value)


def of_small_groups(
    faces: Sequence[int],
    confidence: Sequence[float | None],
    groups: Sequence[str | None],
    looked_at: Mapping[str, int],
    needed: Mapping[str, int],
) -> list[int]:
    """Faces in turn from the group that has got least of what it needs, in each the least sure first.

    ``groups`` has the group of every face, ``looked_at`` how many of a group are done, ``needed`` how many it takes;
    of two groups as far, the smaller one comes first. Faces of no group come last.
    """
    queues = defaultdict[str, list[int]](list)
    rest = []
    for k in least_sure(faces, confidence):
        group = groups[k]
        if group is None:
            rest.append(k)
        else:
            queues[group].append(k)
    done = {group: looked_at.get(group, 0) for group in queues}
    turns = [(done[g] / max(1, needed[g]), needed[g], g) for g in queues]
    heapq.heapify(turns)
    order = []
    at = dict.fromkeys(queues, 0)
    while turns:
        _, wanted, group = heapq.heappop(turns)
        order.append(queues[group][at[group]])
        at[group] += 1
        if at[group] < len(queues[group]):
            heapq.heappush(turns, ((done[group] + at[group]) / max(1, wanted), wanted, group))
    return order + rest


def at_random(ids: Sequence[str], groups: Sequence[str | None], needed: Mapping[str, int], seed: int = 0) -> list[int]:
    """Faces drawn at random, of every group as many as it needs; places in ``ids``.

    The draw hangs on ids and seed alone: whatever was decided meanwhile, the same faces are drawn again. Faces of no
    group are not drawn.
    """
    ranked = sorted(range(len(ids)), key=lambda k: hashlib.sha256(f"{seed}:{ids[k]}".encode()).digest())
    left = dict(needed)
    drawn = []
    for k in ranked:
        group = groups[k]
        if group is not None and left.get(group, 0) > 0:
            left[group] -= 1
            drawn.append(k)
    return drawn
