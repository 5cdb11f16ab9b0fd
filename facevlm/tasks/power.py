"""facevlm.power: how many faces a gap between groups takes to be found, or which gap so many faces can find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facevlm.arguments import checked
from facevlm.errors import InputError
from facevlm.evaluation import power as simulated
from facevlm.evaluation.evaluate import MAX_GROUPS, to_plain
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.intervals import LEVEL

ALPHA = round(1 - LEVEL, 6)
RANGES = {"alpha": (0.005, 0.2), "power": (0.5, 0.99)}
"""Beyond these so few of the simulated samples decide that nothing could be said."""


@dataclass(frozen=True)
class Power:
    """A gap in accuracy (a share of 1), and the faces of each group, ``n`` (groups,), by which it is found.

    It is found with p at most ``alpha`` in a share ``power`` of samples, where one group, the smallest, is served worse
    by ``gap`` than all others, which are served at ``base_rate``. ``gap`` is None where no gap would be.
    """

    gap: float | None
    n: tuple[int, ...]
    base_rate: float
    alpha: float
    power: float

    @property
    def groups(self) -> int:
        """How many groups are compared."""
        return len(self.n)

    @property
    def faces(self) -> int:
        """The faces of all groups together."""
        return sum(self.n)

    @property
    def told(self) -> str:
        """All of it in a sentence."""
        each = f"{self.n[0]:,} faces of each group" if len(set(self.n)) == 1 else f"groups of {_listed(self.n)} faces"
        others = f"{self.groups} groups, of which all but one are right on {100 * self.base_rate:g} % of faces"
        if self.gap is None:
            return f"No gap would be found with {each}: {others}."
        worst = "the one group" if len(set(self.n)) == 1 else "the smallest group"
        worse = f"{worst} on {100 * (self.base_rate - self.gap):.3g} %"
        return (
            f"{each}, {self.faces:,} in all, find a gap of {100 * self.gap:.3g} points in {100 * self.power:g} of 100 "
            f"samples: {others}, and {worse}; found is p of {self.alpha:g} or less."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        plain: dict[str, Any] = to_plain(self)
        return {**plain, "groups": self.groups, "faces": self.faces}


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)


@checked
def power(
    gap: float | None,
    groups: int,
    base_rate: float,
    *,
    n: int | Sequence[int] | None = None,
    alpha: float = ALPHA,
    power: float = simulated.POWER,
) -> Power:
    """How many faces of each group it takes to find a gap; or, without a gap but with ``n``, which gap is found.

    The test is that whose p is printed beside every gap of :func:`facevlm.evaluate`: whether tables with the same
    margins have a range of the groups' shares as large by chance (Freeman and Halton 1951). How often it finds a gap is
    simulated, and the search for a number of faces begins at the formula of Fleiss, Levin and Paik (2003), ch. 4. Faces
    come out within about 2 in 100, gaps within about 1 in 100.

    Args:
        gap: how much worse one group is served than all others, as a share of 1: 0.05 is 5 points of accuracy; None to
            be told it.
        groups: how many groups are compared, 2 to 100.
        base_rate: the accuracy of the other groups, a share of 1. Faces needed are most at 0.5.
        n: faces of each group, one number or one for every group, where ``gap`` is None. Groups of fewer than 30 are
            not compared by :func:`facevlm.evaluate`.
        alpha: the largest p at which a gap counts as found.
        power: the share of samples in which it has to be found.

    Raises:
        FacevlmError: for shares that are none, for a gap as well as ``n`` or neither, and for a gap that more than a
            million faces of each group would not show.
    """
    _check(gap, groups, base_rate, alpha, power)
    if gap is not None and n is None:
        sizes = [_needed(gap, groups, base_rate, alpha, power)] * groups
        return Power(float(gap), tuple(sizes), float(base_rate), alpha, power)
    if gap is not None or n is None:
        raise InputError(
            f"Got gap={gap} and n={n}, expected one of both. Give the gap to be told the faces of each group, or n to "
            "be told the gap."
        )
    sizes = _sizes(n, groups)
    could = simulated.detectable(np.array(sizes), base_rate, power, alpha, draws=4000)
    return Power(could if np.isfinite(could) else None, tuple(sizes), float(base_rate), alpha, power)


def _check(gap: float | None, groups: int, base_rate: float, alpha: float, power: float) -> None:
    if not 2 <= groups <= MAX_GROUPS:
        raise InputError(f"Got groups={groups}, expected a whole number from 2 to {MAX_GROUPS}.")
    if not 0 < base_rate <= 1:
        raise InputError(f"Got base_rate={base_rate}, expected a share above 0 and up to 1, such as 0.85 for 85 %.")
    if gap is not None and not 0 < gap <= base_rate:
        raise InputError(
            f"Got gap={gap}, expected a share above 0 and up to the base rate of {base_rate}, such as 0.05 for 5 "
            "points."
        )
    for name, value in (("alpha", alpha), ("power", power)):
        low, high = RANGES[name]
        if not low <= value <= high:
            raise InputError(f"Got {name}={value}, expected a share from {low} to {high}.")


def _needed(gap: float, groups: int, base_rate: float, alpha: float, power: float) -> int:
    size = simulated.needed(gap, groups, base_rate, power, alpha, least=SMALL)
    if size is None:
        raise InputError(
            f"Got gap={gap}, which {simulated.MOST:,} faces of each group would not show, expected a larger one. Give "
            "a larger gap, a larger alpha or less power."
        )
    return size


def _sizes(n: int | Sequence[int], groups: int) -> list[int]:
    sizes = [int(size) for size in n] if isinstance(n, Sequence) else [int(n)] * groups
    if len(sizes) != groups:
        raise InputError(f"Got n for {len(sizes)} groups, expected it for {groups}. Give one number, or one for each.")
    for size in sizes:
        if not SMALL <= size <= simulated.MOST:
            raise InputError(
                f"Got n={size}, expected {SMALL} to {simulated.MOST:,} faces of each group. Smaller groups are not "
                "compared: collect more of them, or put groups together."
            )
    return sizes
