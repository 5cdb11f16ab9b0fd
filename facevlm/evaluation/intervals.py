"""Intervals and tests: how far a figure may be off for the number of faces behind it.

Resampling faces with replacement and counting them is the same as drawing confusion matrices from a multinomial with
the observed shares. So the bootstrap here costs as much as there are cells, however many faces there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import gammaln

from facevlm.evaluation.metrics import Counts, Floats, Values

DRAWS = 1000
LEVEL = 0.95
TIES = 1e-7
"""Tables whose probabilities differ by less than this share are as likely as each other: rounding is far below."""
LEAST_MISSED = 0.1
"""The share of the face more per label that is missed where next to none is: chosen by simulation, decision 037."""
NEXT_TO_NOTHING = 1e-9
"""Faces without an answer that keep a label in a draw in which it does not occur."""
CHUNK_CELLS = 4_000_000
"""Numbers that are drawn at once: 32 MB."""


def worthy(counts: Counts, worth: Floats) -> Floats:
    """Matrices (groups, L, L + 1) of as many faces as each is worth, (groups,)."""
    scaled: Floats = counts * (worth / np.maximum(counts.sum((-2, -1)), 1))[:, None, None]
    return scaled


def resample(counts: Counts | Floats, draws: int, rng: np.random.Generator) -> Any:
    """Draws (draws, n_groups, L, L + 1) from :func:`smoothed` matrices (n_groups, L, L + 1); groups keep their sizes.

    A label that is true of some face stays in every draw, by next to nothing: macro averages run over the same labels
    in all of them.
    """
    groups, *shape = counts.shape
    if not groups:
        return np.zeros((draws, *counts.shape))
    flat, n = smoothed(counts).reshape(groups, -1), counts.sum((-2, -1))
    # Faces in clusters may be worth less than one.
    n = np.where(n > 0, np.maximum(1, np.rint(n)), 0).astype(np.int64)
    uniform = np.full(flat.shape[1], 1 / flat.shape[1])
    shares = np.where(n[:, None] > 0, flat / np.maximum(flat.sum(1), 1)[:, None], uniform)
    drawn = rng.multinomial(n, shares, size=(draws, groups)).reshape(draws, groups, *shape).astype(float)
    drawn[..., -1] += NEXT_TO_NOTHING * (counts.sum(-1) > 0)
    return drawn


def smoothed(counts: Counts | Floats) -> Floats:
    """Matrices (..., L, L + 1) with one face more in each label that is true of some face, missed as far as faces are.

    A label with all of its few faces right is not known to be recognised always, and resampling those faces alone would
    say so. The share of the face that is missed is that of all faces, at least ``LEAST_MISSED``. Misses fall to the
    other labels that are true of some face, without one to no answer.
    """
    true, diagonal = counts.sum(-1) > 0, np.arange(counts.shape[-2])
    others = true[..., :, None] & true[..., None, :] & ~np.eye(counts.shape[-2], dtype=bool)
    n_others = others.sum(-1)
    misses = np.concatenate([others / np.maximum(n_others, 1)[..., None], (true & (n_others == 0))[..., None]], -1)
    n, hits = counts.sum((-2, -1)), counts[..., diagonal, diagonal].sum(-1)
    missed = np.maximum((n - hits + 0.5) / (n + 1), LEAST_MISSED)[..., None]
    more = missed[..., None] * misses
    more[..., diagonal, diagonal] += (1 - missed) * true
    out: Floats = counts + more
    return out


def bootstrap(
    counts: Counts | Floats, statistic: Callable[[Counts], Values], draws: int = DRAWS, seed: int = 0
) -> tuple[Floats, Floats]:
    """Percentile interval of a statistic for every matrix of (n_groups, L, L + 1): lows and highs, each (n_groups,).

    A statistic that gives several values at once, (..., values), has an interval for each, (n_groups, values).

    Efron, B. (1979), Bootstrap methods: another look at the jackknife.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK_CELLS // max(1, draws * counts[0].size)) if len(counts) else 1
    parts = [
        percentiles(np.asarray(statistic(resample(counts[start : start + at_once], draws, rng)), dtype=float))
        for start in range(0, len(counts), at_once)
    ]
    lows, highs = zip(*parts, strict=True) if parts else ((np.zeros(0),), (np.zeros(0),))
    return np.concatenate(lows), np.concatenate(highs)


def percentiles(table: Floats) -> tuple[Floats, Floats]:
    """The middle 95 % of every column; nan where a column has no figure."""
    tail = 100 * (1 - LEVEL) / 2
    some = np.isfinite(table).any(0)
    low, high = np.full(table.shape[1:], np.nan), np.full(table.shape[1:], np.nan)
    if some.any():
        low[some], high[some] = np.nanpercentile(table[:, some], [tail, 100 - tail], axis=0)
    return low, high


def against_the_rest(hits: Counts, n: Counts) -> Floats:
    """Two-sided Fisher exact p-value of every group's share of hits against that of all other groups together."""
    all_hits, all_n = int(hits.sum()), int(n.sum())
    values = np.full(len(n), np.nan)
    log_factorial = gammaln(np.arange(all_n + 1) + 1.0)
    for k, (right, size) in enumerate(zip(hits.tolist(), n.tolist(), strict=True)):
        if 0 < size < all_n:
            values[k] = _fisher(right, size, all_hits, all_n, log_factorial)
    return values


def _fisher(right: int, size: int, all_hits: int, all_n: int, log_factorial: Floats) -> float:
    """The probability of all tables with these margins that are at most as likely as this one.

    The hypergeometric probabilities of all possible tables at once, from one list of log-factorials.
    """
    misses = all_n - all_hits
    low, high = max(0, size - misses), min(size, all_hits)
    in_group, in_rest = np.arange(low, high + 1), all_hits - np.arange(low, high + 1)
    cells = (in_group, size - in_group, in_rest, all_n - size - in_rest)
    log_p = -np.sum([log_factorial[cell] for cell in cells], axis=0)
    weights = np.exp(log_p - log_p.max())
    likely = weights[right - low] * (1 + TIES)
    return float(weights[weights <= likely].sum() / weights.sum())


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction for several tests; nan stays nan and does not count.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure.
    """
    out = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return out
