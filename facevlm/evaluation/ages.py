"""How far predicted age groups are off in years, and who under 18 is taken for an adult."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facevlm.evaluation.metrics import Codes


@dataclass(frozen=True)
class AgeErrors:
    """How far apparent ages are off in years: the distance of the true age from the predicted group, 0 inside of it.

    ``minors_as_adults`` is the share of answered faces under 18 in whose predicted group nobody is under 18, and
    ``adults_as_minors`` of those from 18 on in whose group nobody is. ``n`` are the answered faces.
    """

    n: int
    mean_years: float
    n_minors: int
    minors_as_adults: float
    n_adults: int
    adults_as_minors: float


ADULT = 18


def age_errors(years: Sequence[float], predicted: Codes, edges: Sequence[float]) -> AgeErrors:
    """Errors in years of predicted age groups, which begin at ``edges`` and end below the next."""
    age = np.asarray(years, dtype=float)
    kept = (predicted >= 0) & np.isfinite(age)
    age, answer = age[kept], predicted[kept]
    begins = np.asarray(edges, dtype=float)
    ends = np.append(begins[1:], math.inf)
    low, high = begins[answer], ends[answer]
    # Ages are whole years: a face of 20 is one year off the group that ends with 19.
    off = np.maximum(0, np.maximum(low - age, np.where(age >= high, age - high + 1, 0)))
    minors = age < ADULT
    return AgeErrors(
        n=len(age),
        mean_years=_share(off.sum(), len(age)),
        n_minors=int(minors.sum()),
        minors_as_adults=_share((low[minors] >= ADULT).sum(), minors.sum()),
        n_adults=int((~minors).sum()),
        adults_as_minors=_share((high[~minors] <= ADULT).sum(), (~minors).sum()),
    )


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
