"""Groups compared where they are alike in other things, such as age: direct standardisation and Mantel-Haenszel.

A group may look badly served only because it holds more of the faces that are hard for everybody. Here all groups are
given the same mix of strata, which are the values of one field or of several together, and each group is compared with
the others stratum by stratum. Everything takes ``hits`` and ``n`` (groups, strata): so many of so many faces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from facevlm.evaluation.clusters import clustered, independent
from facevlm.evaluation.gaps import spread, wilson
from facevlm.evaluation.groups import SMALL, Grouping, cross, grouping
from facevlm.evaluation.intervals import holm
from facevlm.evaluation.metrics import Z95, Codes, Counts, Floats
from facevlm.evaluation.metrics import wilson as counted

BORROWED = 3
"""Faces by which a stratum of a group leans on the whole group, where the spread of its share is reckoned."""
APART = 1e-12
"""Covariances below this share of the largest are none: a group that is all of its strata cannot differ."""


@dataclass(frozen=True)
class Stratum:
    """A stratum that some compared group has no face in (``missing``), and the faces of the others that are in it."""

    values: tuple[str, ...]
    missing: tuple[str, ...]
    n: int


@dataclass(frozen=True)
class AdjustedRow:
    """Accuracy of one group as it is (``crude``) and with the mix of strata of all compared faces (``adjusted``).

    Both over the same ``n`` faces, with 95 % intervals. ``difference`` and ``odds_ratio`` (of being right) hold it
    against all other groups within strata, with 95 % intervals; ``p_value`` is that of no difference in any stratum, by
    Holm's method where there are three groups or more. What is undefined is nan.
    """

    values: tuple[str, ...]
    n: int
    crude: float
    crude_low: float
    crude_high: float
    adjusted: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    odds_ratio: float
    odds_low: float
    odds_high: float
    p_value: float


@dataclass(frozen=True)
class Adjusted:
    """The groups of a grouping, crude and adjusted by the fields ``over``.

    Compared are groups of ``SMALL`` faces or more. ``strata`` are the combinations in which all of them have faces, and
    ``without_support`` the others, whose faces count in neither figure. The largest difference between two groups is
    ``crude_gap`` and ``gap``, with 95 % intervals of the largest true difference, and ``p_value`` is that of no
    difference in any stratum between any two groups. ``unknown`` faces of compared groups have no stratum, and
    ``small`` are in groups too small to compare.
    """

    over: tuple[str, ...]
    rows: tuple[AdjustedRow, ...]
    strata: tuple[tuple[str, ...], ...]
    without_support: tuple[Stratum, ...]
    n: int
    unknown: int
    small: int
    crude_gap: float = math.nan
    crude_gap_low: float = math.nan
    crude_gap_high: float = math.nan
    gap: float = math.nan
    gap_low: float = math.nan
    gap_high: float = math.nan
    p_value: float = math.nan


def strata_of(fields: Mapping[str, Sequence[str | None]]) -> Grouping | None:
    """The combinations of the fields to adjust by; None where there are none."""
    parts = [grouping(name, values) for name, values in fields.items()]
    return cross(parts) if parts else None


def adjusted(
    part: Grouping, strata: Grouping, right: NDArray[np.bool_], clusters: Codes | None = None
) -> Adjusted | None:
    """Groups compared within strata, by which faces are ``right``; None where fewer than two can be compared.

    Where faces come in ``clusters``, each group counts as many faces as it is worth: Rao, J. N. K. and Scott, A. J.
    (1992), A simple method for the analysis of clustered binary data, Biometrics 48.
    """
    sizes = np.bincount(part.codes[part.codes >= 0], minlength=len(part.keys))
    kept = np.flatnonzero(sizes >= SMALL)
    if len(kept) < 2:
        return None
    n, hits = (_tables(part, strata, faces)[kept] for faces in (np.ones(len(right), dtype=bool), right))
    is_shared = np.asarray((n > 0).all(0))
    keys = [part.keys[k] for k in kept.tolist()]
    held = Adjusted(
        over=strata.by,
        rows=(),
        strata=tuple(strata.keys[s] for s in np.flatnonzero(is_shared).tolist()),
        without_support=tuple(
            _unsupported(strata, keys, n, s) for s in np.flatnonzero(~is_shared & (n.sum(0) > 0)).tolist()
        ),
        n=int(n[:, is_shared].sum()),
        unknown=int(sizes[kept].sum() - n.sum()),
        small=int(sizes.sum() - sizes[kept].sum()),
    )
    if not is_shared.any():
        return held
    effects = np.ones((2, len(kept))) if clusters is None else _effects(part, strata, right, clusters, kept, is_shared)
    return _compared(held, keys, hits[:, is_shared], n[:, is_shared], effects)


def _effects(
    part: Grouping, strata: Grouping, right: NDArray[np.bool_], clusters: Codes, kept: Codes, shared: NDArray[np.bool_]
) -> Floats:
    """Design effects (2, groups) of the crude share and of the standardised one over the faces of shared strata."""
    n, hits = (_tables(part, strata, of) for of in (np.ones(len(right), dtype=bool), right))
    inside = (part.codes >= 0) & (strata.codes >= 0) & np.append(shared, False)[strata.codes]
    weights = shared * n[kept].sum(0) / n[kept][:, shared].sum()
    out = np.ones((2, len(kept)))
    for k, group in enumerate(kept.tolist()):
        at = inside & (part.codes == group)
        size = int(at.sum())
        held = clustered(np.zeros(len(right), dtype=np.int64), clusters, right, at)
        out[0, k] = size / held.worth(1)[0]
        share = hits[group] / np.maximum(n[group], 1)
        each = (weights / np.maximum(n[group], 1))[strata.codes[at]] * (right[at] - share[strata.codes[at]])
        of = np.unique(clusters[at], return_inverse=True)[1]
        sums, sizes = np.bincount(of, each), np.bincount(of)
        rest = np.maximum(1 - sizes / size, 1 / size)
        few, alone = min(int(right[at].sum()), size - int(right[at].sum())), size * float((each**2).sum())
        worth = independent(
            *(np.array([v], dtype=float) for v in (size, (sizes**2).sum(), few, alone, _squared(sums / rest)))
        )
        out[1, k] = size / worth[0]
    return out


def _squared(values: Floats) -> float:
    return float((values**2).sum())


def _tables(part: Grouping, strata: Grouping, kept: NDArray[np.bool_]) -> Counts:
    """How many of the kept faces each group has in each stratum, (groups, strata)."""
    inside = kept & (part.codes >= 0) & (strata.codes >= 0)
    at = part.codes[inside] * len(strata.keys) + strata.codes[inside]
    return np.bincount(at, minlength=len(part.keys) * len(strata.keys)).reshape(len(part.keys), -1)


def _unsupported(strata: Grouping, keys: Sequence[tuple[str, ...]], n: Counts, at: int) -> Stratum:
    missing = tuple(" / ".join(key) for key, size in zip(keys, n[:, at].tolist(), strict=True) if not size)
    return Stratum(strata.keys[at], missing, int(n[:, at].sum()))


def _compared(held: Adjusted, keys: Sequence[tuple[str, ...]], hits: Counts, n: Counts, effects: Floats) -> Adjusted:
    """``effects`` (2, groups) say how many faces are worth one, in the crude share and within strata."""
    weights = n.sum(0) / n.sum()
    size, right = n.sum(1), hits.sum(1)
    share, effective = standardised(hits, n, weights)
    crude, effective = size / effects[0], effective / effects[1]
    alone = np.array([counted(*row) for row in zip(right.tolist(), size.tolist(), strict=True)]).T
    crude_ends = np.where(effects[0] == 1, alone, wilson(right / size * crude, crude))
    ends = [*crude_ends, *wilson(share * effective, effective)]
    hits, n = hits / effects[1][:, None], n / effects[1][:, None]
    p_values = np.array([against_the_others_within(hits, n, k) for k in range(len(n))])
    p_values = p_values if len(n) < 3 else holm(p_values)
    rows = [
        AdjustedRow(
            key,
            int(size[k]),
            float(right[k] / size[k]),
            float(ends[0][k]),
            float(ends[1][k]),
            float(share[k]),
            float(ends[2][k]),
            float(ends[3][k]),
            *risk_difference(hits, n, k),
            *odds_ratio(hits, n, k),
            float(p_values[k]),
        )
        for k, key in enumerate(keys)
    ]
    crude_low, crude_high = spread(right / size * crude, crude)
    low, high = spread(share * effective, effective)
    given: dict[str, Any] = {name: getattr(held, name) for name in held.__dataclass_fields__}
    return Adjusted(
        **given
        | {
            "rows": tuple(rows),
            "crude_gap": float(np.ptp(right / size)),
            "crude_gap_low": crude_low,
            "crude_gap_high": crude_high,
            "gap": float(np.ptp(share)),
            "gap_low": low,
            "gap_high": high,
            "p_value": within_strata(hits, n),
        }
    )


def standardised(hits: Counts, n: Counts, weights: Floats) -> tuple[Floats, Floats]:
    """Shares (groups,) with the strata weighted by ``weights`` (strata,), and of how many faces each is as good as one.

    That number is the share's binomial variance over its own: Wilson's interval for so many faces is that of the
    standardised share. Strata lean on their group by ``BORROWED`` faces there, since one face that is right does not
    say that all are. Direct standardisation as in Breslow, N. E. and Day, N. E. (1987), Statistical methods in cancer
    research II, chapter 2; effective sizes as in Kish, L. (1965), Survey sampling.
    """
    share: Floats = (weights * hits / n).sum(1)
    pooled = ((hits.sum(1) + 1) / (n.sum(1) + 2))[:, None]
    leaning = (hits + BORROWED * pooled) / (n + BORROWED)
    middle = (weights * leaning).sum(1)
    variance = (weights**2 * leaning * (1 - leaning) / n).sum(1)
    return share, middle * (1 - middle) / variance


def _against_the_others(hits: Counts | Floats, n: Counts | Floats, group: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Hits and faces of the group, and of all others, in each stratum."""
    own, size = hits[group].astype(float), n[group].astype(float)
    return own, size, hits.sum(0) - own, n.sum(0) - size


def risk_difference(hits: Counts | Floats, n: Counts | Floats, group: int) -> tuple[float, float, float]:
    """Mantel and Haenszel's common difference of a group's share from that of all others, and its 95 % interval.

    Greenland, S. and Robins, J. M. (1985), Estimation of a common effect parameter from sparse follow-up data,
    Biometrics 41. The variance of Sato, T. (1989), On the variance estimator for the Mantel-Haenszel risk difference,
    Biometrics 45, depends on the true difference: the interval holds those from which the one seen is not farther than
    chance takes it. Klingenberg, B. (2014), A new and improved confidence interval for the Mantel-Haenszel risk
    difference, Statistics in Medicine 33.
    """
    own, size, other, rest = _against_the_others(hits, n, group)
    total = size + rest
    weight = (size * rest / total).sum()
    difference = float(((own * rest - other * size) / total).sum() / weight)
    lean = ((size**2 * other - rest**2 * own + size * rest * (rest - size) / 2) / total**2).sum()
    both = ((own * (rest - other) + other * (size - own)) / (2 * total)).sum()
    middle = difference + Z95**2 * lean / (2 * weight**2)
    half = math.sqrt(max(0.0, middle**2 - difference**2 + Z95**2 * both / weight**2))
    return difference, max(-1.0, middle - half), min(1.0, middle + half)


def odds_ratio(hits: Counts | Floats, n: Counts | Floats, group: int) -> tuple[float, float, float]:
    """Mantel and Haenszel's common ratio of a group's odds of being right to all others', and its 95 % interval.

    nan where all or none are right on one side. Variance of the logarithm by Robins, J., Breslow, N. and Greenland, S.
    (1986), Estimators of the Mantel-Haenszel variance consistent in both sparse data and large-strata limiting models,
    Biometrics 42.
    """
    own, size, other, rest = _against_the_others(hits, n, group)
    total = size + rest
    agree, differ = (own + rest - other) / total, (size - own + other) / total
    over, under = own * (rest - other) / total, (size - own) * other / total
    if not over.sum() or not under.sum():
        return math.nan, math.nan, math.nan
    parts = (
        (agree * over).sum() / (2 * over.sum() ** 2),
        (agree * under + differ * over).sum() / (2 * over.sum() * under.sum()),
        (differ * under).sum() / (2 * under.sum() ** 2),
    )
    ratio, half = float(over.sum() / under.sum()), Z95 * math.sqrt(sum(parts))
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def against_the_others_within(hits: Counts | Floats, n: Counts | Floats, group: int) -> float:
    """The p-value that a group and all others are served alike in every stratum, by Mantel and Haenszel's test.

    Mantel, N. and Haenszel, W. (1959), Statistical aspects of the analysis of data from retrospective studies of
    disease, without correction for continuity.
    """
    own, size, other, rest = _against_the_others(hits, n, group)
    return within_strata(np.stack([own, other]), np.stack([size, rest]))


def within_strata(hits: Counts | Floats, n: Counts | Floats) -> float:
    """The p-value that all groups are served alike in every stratum; nan where nobody can differ.

    Landis, J. R., Heyman, E. R. and Koch, G. G. (1978), Average partial association in three-way contingency tables,
    International Statistical Review 46; of two groups Mantel and Haenszel's test.
    """
    total, right = n.sum(0), hits.sum(0)
    apart = (hits - n * right / total).sum(1)[:-1]
    factor = right * (total - right) / (total**2 * np.maximum(total - 1, 1))
    covariance = np.diag((factor * total * n).sum(1)) - (factor * n) @ n.T
    among = covariance[:-1, :-1]
    rank = int(np.linalg.matrix_rank(among, tol=APART * max(1.0, float(np.abs(among).max(initial=0)))))
    if not rank:
        return math.nan
    statistic = float(apart @ np.linalg.pinv(among, hermitian=True) @ apart)
    return float(stats.chi2.sf(statistic, rank))
