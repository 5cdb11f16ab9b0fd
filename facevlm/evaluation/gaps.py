"""How far apart groups are by a share, such as accuracy: what chance alone gives, and what holds for all at once.

Everything here takes ``hits`` and ``n`` (groups,): so many of so many faces of each group. The largest difference
between several groups is large by chance alone, and the interval of the two groups that were picked for it knows
nothing of the picking. So the interval here is one for all pairs of groups at once, and the test is of the largest
difference itself. Coverage and error rates of both are simulated in the tests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from facevlm.evaluation.clusters import Clustered, clustered, deals, worth_of
from facevlm.evaluation.figures import Figure
from facevlm.evaluation.groups import SMALL, Grouping
from facevlm.evaluation.intervals import LEVEL, against_the_rest, holm, resample, worthy
from facevlm.evaluation.metrics import Z95, Codes, Counts, Floats
from facevlm.evaluation.power import detectable

TABLES = 4000
"""Tables drawn by chance; a p-value of 0.05 is known to 0.003."""


@dataclass(frozen=True)
class Chance:
    """What chance alone does to groups of these sizes that are all served equally well.

    ``gap`` is the mean largest difference between two of them, ``p_gap`` the probability of one as large as that seen,
    and ``p_any`` that of groups which differ as much by the chi-squared statistic.
    """

    gap: float
    p_gap: float
    p_any: float


@functools.lru_cache(maxsize=256)
def critical(groups: int) -> float:
    """How many standard errors the interval of a difference spans to each side, to hold for all pairs of groups.

    Tukey's studentised range over the root of 2: 1.96 for two groups. Tukey, J. W. (1953), The problem of multiple
    comparisons; for unequal sizes Kramer, C. Y. (1956), Biometrics 12.
    """
    return float(stats.studentized_range.ppf(LEVEL, groups, np.inf) / math.sqrt(2))


def wilson(hits: Counts | Floats, n: Counts | Floats, z: float | Floats = Z95) -> tuple[Floats, Floats]:
    """Ends (groups,) of the Wilson score intervals of shares; nan for an empty group.

    ``n`` need not be whole: a share that is as good as one of ``n`` faces has ``share * n`` hits.
    """
    size = np.where(n > 0, n, np.nan).astype(float)
    share, spread = hits / size, z * z / size
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / size + spread / (4 * size)) / (1 + spread)
    low, high = np.where(hits == 0, 0.0, centre - half), np.where(hits == n, 1.0, centre + half)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def shrunken(hits: Counts | Floats, n: Counts | Floats) -> Floats:
    """Shares (groups,) drawn towards the common one, as far as chance explains that they differ; nan for one alone.

    Groups' true shares are taken as drawn from a beta distribution, whose mean is that of all faces and whose spread is
    the correlation within groups by analysis of variance. Kleinman, J. C. (1973), Proportions with extraneous variance:
    single and independent samples, JASA 68; Ridout, M. S., Demétrio, C. G. B., Firth, D. (1999), Estimating intraclass
    correlation for binary data, Biometrics 55.
    """
    some = n > 0
    groups, everybody = int(some.sum()), float(n.sum())
    if groups < 2 or everybody <= groups:
        return np.full(len(n), np.nan)
    mean, share = float(hits.sum()) / everybody, hits / np.where(some, n, 1)
    between = float((n * (share - mean) ** 2).sum()) / (groups - 1)
    within = float((n * share * (1 - share)).sum()) / (everybody - groups)
    size = (everybody - float((n**2).sum()) / everybody) / (groups - 1)
    total = between + (size - 1) * within
    alike = float(np.clip((between - within) / total, 0, 1)) if total > 0 else 0.0
    # Of no correlation the common share, of a whole one the group's own.
    weight = n * alike / (1 + (n - 1) * alike) if alike < 1 else some.astype(float)
    out: Floats = weight * share + (1 - weight) * mean
    return out


def differences(hits: Counts | Floats, n: Counts | Floats) -> tuple[Floats, Floats]:
    """Ends (groups, groups) of the intervals of share minus share, row minus column, which hold for all pairs at once.

    Newcombe, R. G. (1998), Interval estimation for the difference between independent proportions, method 10, with
    the critical value of :func:`critical`.
    """
    share = hits / n
    low, high = wilson(hits, n, critical(len(n)))
    below, above = (share - low) ** 2, (high - share) ** 2
    between = share[:, None] - share[None, :]
    return between - np.sqrt(below[:, None] + above[None, :]), between + np.sqrt(above[:, None] + below[None, :])


def spread(hits: Counts | Floats, n: Counts | Floats) -> tuple[float, float]:
    """An interval of the true difference between the best-served and the worst-served group, whichever these are.

    The largest of the true differences is at least each lower end and at most the largest upper end, where all hold.
    """
    low, high = differences(hits, n)
    apart = ~np.eye(len(n), dtype=bool)
    return float(max(0.0, low[apart].max())), float(min(1.0, high[apart].max()))


def by_chance(hits: Counts, n: Counts, draws: int = TABLES, seed: int = 0) -> Chance:
    """What chance alone gives, by tables with the same sizes and as many hits in all, drawn at random.

    Given the margins, no rate has to be guessed, and the p-values are exact but for the number of draws. Freeman,
    G. H. and Halton, J. H. (1951), Biometrika 38; Phipson, B. and Smyth, G. K. (2010), Permutation p-values should
    never be zero.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(n, int(hits.sum()), size=draws, method="marginals")
    gaps, apart = np.ptp(drawn / n, axis=1), _chi_squared(drawn, n)
    seen, seen_apart = float(np.ptp(hits / n)), float(_chi_squared(hits[None], n)[0])
    return Chance(float(gaps.mean()), _share_at_least(gaps, seen), _share_at_least(apart, seen_apart))


def by_chance_in(
    held: Clustered, hits: Counts, n: Counts, seed: int = 0, draws: int | None = None
) -> tuple[Chance, Floats]:
    """What chance alone gives where faces come in clusters, and the p-value of each group against all others.

    By :func:`facevlm.evaluation.clusters.deals`; the p-values are by Holm's method from three groups on.
    """
    right, sizes = deals(held, len(n), seed, draws)
    gaps, apart = np.ptp(right / sizes, axis=1), _chi_squared(right, sizes)
    seen, seen_apart = float(np.ptp(hits / n)), float(_chi_squared(hits[None], n)[0])
    by_luck = Chance(float(gaps.mean()), _share_at_least(gaps, seen), _share_at_least(apart, seen_apart))
    drawn, own = (np.abs(_from_the_rest(h, m)) for h, m in ((right, sizes), (hits[None], n[None])))
    p_values = np.array([_share_at_least(drawn[:, k], float(own[0, k])) for k in range(len(n))])
    return by_luck, p_values if len(n) < 3 else holm(p_values)


def _from_the_rest(hits: Floats | Counts, n: Floats | Counts) -> Floats:
    """The share of each group minus that of all others, (tables, groups)."""
    difference: Floats = hits / n - (hits.sum(1, keepdims=True) - hits) / (n.sum(1, keepdims=True) - n)
    return difference


def _chi_squared(hits: Counts | Floats, n: Counts | Floats) -> Floats:
    """Pearson's statistic, up to a factor that is the same for all tables with as many hits."""
    pooled = hits.sum(1, keepdims=True) / n.sum(-1, keepdims=True)
    statistic: Floats = ((hits - n * pooled) ** 2 / n).sum(1)
    return statistic


def _share_at_least(drawn: Floats, seen: float) -> float:
    return float((1 + (drawn >= seen * (1 - 1e-9) - 1e-12).sum()) / (1 + len(drawn)))


def against_the_others(hits: Counts, n: Counts) -> Floats:
    """Fisher's exact p of each group against all others together, by Holm; two groups are one test, not two."""
    p_values = against_the_rest(hits, n)
    return p_values if len(n) < 3 else holm(p_values)


@dataclass(frozen=True)
class AgainstAll:
    """Where a group stands against all faces: how much better it is served, and how often it errs per error of all.

    95 % intervals, each for itself: ``low`` to ``high`` of the difference, ``ratio_low`` to ``ratio_high`` of the ratio
    of error rates, which is nan where nobody errs.
    """

    difference: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float


def standings(hits: Counts, n: Counts, held: Clustered | None = None) -> list[AgainstAll]:
    """Each group against all faces, itself included; of faces in clusters (``held``) as many as they are worth.

    The whole is a mixture of the group and the rest, so both intervals follow from group against rest: of the
    difference by Newcombe's method 10, of the ratio by that of logarithms with half an error more in each. Walter,
    S. D. (1975), The distribution of Levin's measure of attributable risk. Ratios of error rates as in Grother, P.,
    Ngan, M., Hanaoka, K. (2019), NISTIR 8280.
    """
    everybody, own = int(n.sum()), n.astype(float) if held is None else held.worth(len(n))
    others = [everybody - size if held is None else held.rest(k).worth(1)[0] for k, size in enumerate(n.tolist())]
    return [
        _standing(right / size, (int(hits.sum()) - right) / (everybody - size), size / everybody, *worth)
        for right, size, worth in zip(hits.tolist(), n.tolist(), zip(own.tolist(), others, strict=True), strict=True)
    ]


def _standing(share: float, other: float, weight: float, size: float, rest: float) -> AgainstAll:
    """By the shares of the group and of all others, the group's ``weight`` in the whole, and what both are worth."""
    low, high = _one(share, size)
    other_low, other_high = _one(other, rest)
    difference = (1 - weight) * (share - other)
    wrong, rest_wrong = size * (1 - share), rest * (1 - other)
    all_wrong = weight * (1 - share) + (1 - weight) * (1 - other)
    logs = math.log((rest_wrong + 0.5) / (rest + 0.5)) - math.log((wrong + 0.5) / (size + 0.5))
    half = Z95 * math.sqrt(1 / (wrong + 0.5) - 1 / (size + 0.5) + 1 / (rest_wrong + 0.5) - 1 / (rest + 0.5))
    ends = [1 / (weight + (1 - weight) * math.exp(logs + half * sign)) for sign in (1, -1)]
    return AgainstAll(
        difference,
        difference - (1 - weight) * math.hypot(share - low, other_high - other),
        difference + (1 - weight) * math.hypot(high - share, other - other_low),
        (1 - share) / all_wrong if all_wrong > 0 else math.nan,
        *ends,
    )


def _one(share: float, size: float) -> tuple[float, float]:
    low, high = wilson(np.array([share * size]), np.array([size]))
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Faces:
    """Label indices of truth and answer, -1 for none, and the clusters of the faces, all (faces,)."""

    truth: Codes
    said: Codes
    clusters: Codes

    def within(self, part: Grouping, hits: NDArray[np.bool_], inside: NDArray[np.bool_] | None = None) -> Clustered:
        """Faces by group and cluster, of those ``inside``."""
        return clustered(part.codes, self.clusters, hits, inside)

    def by_figure(self, part: Grouping, figure: Figure, labels: int) -> Clustered:
        """Hits by a figure that is a share of all faces, which each pair of truth and answer adds to or not."""
        cells = labels * (labels + 1)
        each = np.eye(cells, dtype=np.int64).reshape(cells, labels, labels + 1)
        adds = np.nan_to_num(figure.of(each)).reshape(labels, labels + 1) > 0.5
        return self.within(part, adds[self.truth, self.said])

    def worth(self, part: Grouping, figure: Figure, counts: Counts) -> Floats:
        """As how many independent faces a figure of the groups' matrices is worth, (groups,)."""
        if figure.is_share_of_all:
            return self.by_figure(part, figure, counts.shape[-2]).worth(len(counts))
        return worth_of(figure.of, counts, self.truth, self.said, part.codes, self.clusters)


@dataclass(frozen=True)
class Gap:
    """How far apart the best-served and the worst-served group of a grouping are, by one figure.

    ``label`` is the true label within whose faces the figure is taken, None for all faces. Groups of fewer than
    ``SMALL`` such faces, or without the figure, are not compared (``left_out``). ``difference`` is that seen, between
    ``worst`` and ``best``; ``difference_low`` to ``difference_high`` is a 95 % interval of the largest true difference,
    whichever groups it is between. Of shares alone, else nan: ``chance`` is the mean difference by chance alone,
    ``p_value`` the probability of one as large as that seen, ``p_any`` that of groups that differ as much at all, and
    ``detectable`` the difference that would have been found in 4 of 5 samples of these sizes.

    ``p_values`` are Fisher's exact tests of each compared group against all others, by Holm where there are three or
    more, and ``standings`` where each of them stands against all compared faces.
    """

    by: tuple[str, ...]
    figure: str
    label: str | None
    worst: tuple[str, ...]
    best: tuple[str, ...]
    low_value: float
    high_value: float
    difference: float
    difference_low: float
    difference_high: float
    compared: int
    left_out: int
    n: int
    chance: float = math.nan
    p_value: float = math.nan
    p_any: float = math.nan
    detectable: float = math.nan
    p_values: Mapping[str, float] = field(default_factory=dict)
    standings: Mapping[str, AgainstAll] = field(default_factory=dict)

    @property
    def is_found(self) -> bool:
        """Whether the groups differ by more than chance explains."""
        return self.p_value <= 1 - LEVEL if math.isfinite(self.p_value) else self.difference_low > 0


def gap(
    part: Grouping, counts: Counts, figure: Figure, draws: int, seed: int = 0, faces: Faces | None = None
) -> Gap | None:
    """The gap by a figure; None where fewer than two groups can be compared.

    ``counts`` are the groups' matrices (n_groups, L, L + 1). Of a figure that is no share of all faces the interval is
    that of ``draws`` bootstrap draws, with the critical value of :func:`critical`. ``faces`` are given where they come
    in clusters.
    """
    n, values = counts.sum((-2, -1)), figure.of(counts)
    kept = np.flatnonzero((n >= SMALL) & np.isfinite(values))
    if len(kept) < 2:
        return None
    if figure.is_share_of_all:
        hits = np.rint(np.nan_to_num(values) * n).astype(np.int64)
        held = faces.by_figure(part, figure, counts.shape[-2]) if faces else None
        return of_shares(part, figure.name, hits, n, seed=seed, lower_is_better=figure.lower_is_better, held=held)
    resampled = worthy(counts, faces.worth(part, figure, counts)) if faces else counts
    spreads = np.nanstd(figure.of(resample(resampled[kept], draws, np.random.default_rng(seed))), axis=0, ddof=1)
    sign = -1 if figure.lower_is_better else 1
    between = values[kept][:, None] - values[kept][None, :]
    half = critical(len(kept)) * np.hypot(spreads[:, None], spreads[None, :])
    apart = ~np.eye(len(kept), dtype=bool)
    worst, best = kept[np.argmin(sign * values[kept])], kept[np.argmax(sign * values[kept])]
    return Gap(
        by=part.by,
        figure=figure.name,
        label=None,
        worst=part.keys[worst],
        best=part.keys[best],
        low_value=float(values[worst]),
        high_value=float(values[best]),
        difference=float(abs(values[best] - values[worst])),
        difference_low=float(max(0.0, (between - half)[apart].max())),
        difference_high=float((between + half)[apart].max()),
        compared=len(kept),
        left_out=len(values) - len(kept),
        n=int(n[kept].sum()),
    )


def of_shares(
    part: Grouping,
    figure: str,
    hits: Counts,
    n: Counts,
    label: str | None = None,
    seed: int = 0,
    *,
    lower_is_better: bool = False,
    held: Clustered | None = None,
) -> Gap | None:
    """The gap by a share: so many ``hits`` of ``n`` faces in each group; None where fewer than two can be compared.

    ``held`` are the same faces where they come in clusters.
    """
    kept = np.flatnonzero(n >= SMALL)
    if len(kept) < 2:
        return None
    size = n[kept]
    right = size - hits[kept] if lower_is_better else hits[kept]
    share, names = right / size, [" / ".join(part.keys[k]) for k in kept.tolist()]
    worst, best = int(np.argmin(share)), int(np.argmax(share))
    worth: Counts | Floats
    if held is None:
        worth, by_luck, p_values = size, by_chance(right, size, seed=seed), against_the_others(right, size)
    else:
        held = held.missed().only(kept) if lower_is_better else held.only(kept)
        worth = held.worth(len(kept))
        by_luck, p_values = by_chance_in(held, right, size, seed)
    low, high = spread(share * worth, worth)
    could = _detectable(worth, float(right.sum() / size.sum())) if by_luck.p_gap > 1 - LEVEL else math.nan
    return Gap(
        by=part.by,
        figure=figure,
        label=label,
        worst=part.keys[kept[worst]],
        best=part.keys[kept[best]],
        low_value=float(hits[kept[worst]] / size[worst]),
        high_value=float(hits[kept[best]] / size[best]),
        difference=float(share[best] - share[worst]),
        difference_low=low,
        difference_high=high,
        compared=len(kept),
        left_out=len(n) - len(kept),
        n=int(size.sum()),
        chance=by_luck.gap,
        p_value=by_luck.p_gap,
        p_any=by_luck.p_any,
        detectable=could,
        p_values=dict(zip(names, p_values.tolist(), strict=True)),
        standings=dict(zip(names, standings(right, size, held), strict=True)),
    )


def _detectable(worth: Counts | Floats, rate: float) -> float:
    """The gap that groups worth so many faces would have shown; nan where one is worth less than two."""
    sizes = np.rint(worth).astype(np.int64)
    return detectable(sizes, rate) if (sizes > 1).all() else math.nan


def by_label(
    part: Grouping, counts: Counts, labels: Sequence[str], seed: int = 0, faces: Faces | None = None
) -> list[Gap]:
    """For every label that enough faces of two groups truly have: the gap in how often it is recognised (recall).

    Within the faces of one true label groups are alike in what there is to recognise; macro averages over all labels
    are not, since groups hold different ones.
    """
    found = []
    for k, label in enumerate(labels):
        held = faces.within(part, faces.said == k, faces.truth == k) if faces else None
        found.append(of_shares(part, "recall", counts[:, k, k], counts[:, k].sum(-1), label, seed, held=held))
    return [one for one in found if one is not None]


def odds(part: Grouping, counts: Counts, labels: Sequence[str], seed: int = 0, faces: Faces | None = None) -> list[Gap]:
    """For the first label of a binary attribute: gaps in how often it is said at all (``selection``, whose difference
    is that of demographic parity), where it is true (``tpr``) and where it is not (``fpr``); the larger of these two is
    the equalised-odds difference.

    Each over groups with ``SMALL`` faces in the denominator. Empty where a group is one true label: parity between
    the true labels themselves means nothing. Hardt, M., Price, E., Srebro, N. (2016), Equality of opportunity in
    supervised learning.
    """
    true = counts.sum(-1)
    if ((true > 0).sum(-1) < 2).all():
        return []
    said = counts[:, :, 0]
    rates = {
        "selection": (said.sum(-1), true.sum(-1)),
        "tpr": (said[:, 0], true[:, 0]),
        "fpr": (said[:, 1], true[:, 1]),
    }
    inside = {"selection": None, "tpr": faces.truth == 0, "fpr": faces.truth == 1} if faces else {}
    held = {name: faces.within(part, faces.said == 0, of) for name, of in inside.items()} if faces else {}
    found = (of_shares(part, name, *of, labels[0], seed, held=held.get(name)) for name, of in rates.items())
    return [one for one in found if one is not None]
