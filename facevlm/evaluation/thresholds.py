"""From which confidence on are 95 % of the answers right, also on faces that nobody has seen yet?

A threshold that is chosen because these faces reach an accuracy reaches less on others. What is promised here is
tested: a fixed row of candidates, the strictest first, each by an exact binomial bound, until one fails. How often a
promise fails on new faces is simulated in the tests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from facevlm.evaluation.clusters import clustered
from facevlm.evaluation.metrics import Codes, Floats

TARGETS = (0.9, 0.95, 0.99)
"""Accuracies for which a threshold is looked for."""
ALPHA = 0.05
SHARES = 10
"""Candidates keep a tenth of the answers, two tenths, and so on to all."""
MANY = 500
"""From so many answers on, a part of the error is kept back for a second start, at half of them."""
SPENT = (0.04, 0.01)
POWER = 0.8
FEW = 10
"""Fewer kept answers say nothing of how many faces would do."""
MOST = 1_000_000


@dataclass(frozen=True)
class Threshold:
    """What keeping the answers with at least ``threshold`` confidence gives on the faces that it was chosen on.

    ``n`` of ``total`` faces are kept and ``right`` of them right. ``low`` to ``high`` is the exact interval of that
    share by Clopper and Pearson, with 5 % to each side.
    """

    threshold: float
    n: int
    right: int
    total: int
    low: float
    high: float


@dataclass(frozen=True)
class Promise:
    """A threshold from which on at least the share ``wanted`` is right, on new faces of the same kind as well.

    Promised at 95 % confidence: of 100 data sets, one in 20 at most gets a threshold that falls short. ``threshold`` is
    None where these faces allow none; then at least ``least`` kept answers, all of them right, are needed, and about
    ``needed`` faces like these would do, at a rough guess; None where no kept part is that right.
    """

    wanted: float
    threshold: Threshold | None
    least: int
    needed: int | None = None


def steps(nines: int = 6) -> Floats:
    """Thresholds that can be written shortly, 0 to 1: by hundredths, and finer the nearer to 1, as confidences are."""
    parts = [
        np.round((1 - 10.0**-k) + np.arange(0 if k == 0 else 1, 91) * 10.0 ** -(k + 2), k + 2) for k in range(nines)
    ]
    return np.unique(np.concatenate(parts))


def exact(right: int, n: int) -> tuple[float, float]:
    """Ends of the interval of a share with 5 % to each side; (nan, nan) for n = 0.

    Clopper, C. J. and Pearson, E. S. (1934), The use of confidence or fiducial limits, Biometrika 26.
    """
    if n == 0:
        return math.nan, math.nan
    low = float(stats.beta.ppf(ALPHA, right, n - right + 1)) if right else 0.0
    return low, float(stats.beta.ppf(1 - ALPHA, right + 1, n - right)) if right < n else 1.0


@dataclass(frozen=True)
class _Ordered:
    """Clusters of the answers, and which are right, the surest first."""

    clusters: Codes
    right: NDArray[np.bool_]

    def worth(self, n: int) -> float:
        """As how many independent answers the first ``n`` count."""
        first = np.zeros(n, dtype=np.int64)
        return float(clustered(first, self.clusters[:n], self.right[:n]).worth(1)[0])


@dataclass(frozen=True)
class _Kept:
    """How many answers each of :func:`steps` keeps, strictest last, and how many of these are right."""

    at: Floats
    n: Codes
    right: Codes
    total: int
    clusters: _Ordered | None = None

    def worth(self, k: int) -> tuple[int, int]:
        """Right ones of the answers that are kept, and these, as many as they are worth; whole numbers below."""
        right, n = int(self.right[k]), int(self.n[k])
        if self.clusters is None or not n:
            return right, n
        worth = math.floor(self.clusters.worth(n))
        return math.floor(right / n * worth + 1e-9), worth

    def threshold(self, k: int) -> Threshold:
        n, right = int(self.n[k]), int(self.right[k])
        return Threshold(float(self.at[k]), n, right, self.total, *exact(*self.worth(k)))

    def candidates(self, least: int) -> list[int]:
        """Places of the steps that keep about a tenth of the answers, two tenths and so on, of at least ``least``.

        They are found by counting answers alone, whether right or wrong: so the tests below stay exact.
        """
        answers = int(self.n[0])
        wanted = [math.ceil(answers * k / SHARES) for k in range(1, SHARES + 1)]
        places = np.searchsorted(-self.n, [-n for n in wanted], side="left")
        enough = [k for k in places.tolist() if k < len(self.n) and self.n[k] >= max(1, least)]
        # Of steps that keep the same answers the highest: nothing was seen of what lies below.
        highest = np.searchsorted(-self.n, -self.n[enough], side="right") - 1
        return list(dict.fromkeys(highest.tolist()))


def _kept(confidence: Floats, right: NDArray[np.bool_], total: int, clusters: Codes | None = None) -> _Kept:
    at, order = steps(), np.argsort(-confidence, kind="stable")
    n = np.searchsorted(-confidence[order], -at, side="right")
    held = None if clusters is None else _Ordered(clusters[order], right[order])
    return _Kept(at, n, np.concatenate([[0], np.cumsum(right[order])])[n], total, held)


def promises(
    confidence: Floats,
    right: NDArray[np.bool_],
    total: int,
    accuracies: Sequence[float] = TARGETS,
    clusters: Codes | None = None,
) -> tuple[Promise, ...]:
    """For each accuracy the threshold that keeps the most answers of those that can be promised.

    ``confidence`` of the answers, and whether each is ``right``; faces without an answer count in ``total`` alone.
    ``clusters`` of the answers say which go together: they count as many as they are worth. Fixed-sequence testing:
    Maurer, W., Hothorn, L. A., Lehmacher, W. (1995); with a second start: Wiens, B. L. (2003), A fixed sequence
    Bonferroni procedure, Pharmaceutical Statistics 2.
    """
    kept = _kept(confidence, right, total, clusters)
    return tuple(_promise(kept, wanted) for wanted in accuracies)


def _promise(kept: _Kept, wanted: float) -> Promise:
    spent = SPENT if kept.n[0] >= MANY else (ALPHA,)
    least = fewest(wanted, spent[0])
    row = kept.candidates(least)
    second = next((k for k in row if 2 * kept.n[k] >= kept.n[0]), None)
    best, alpha = None, spent[0]
    for k in row:
        if k == second and len(spent) > 1:
            # What the first start has left is added to what was kept back.
            alpha += spent[1]
        hits, n = kept.worth(k)
        holds = stats.binom.sf(hits - 1, n, wanted) <= alpha
        best, alpha = (k, alpha) if holds else (best, 0.0)
    if best is None:
        return Promise(wanted, None, least, _needed(kept, wanted))
    return Promise(wanted, kept.threshold(best), least)


def fewest(wanted: float, alpha: float = ALPHA) -> int:
    """The fewest answers, all of them right, that show an accuracy."""
    return math.ceil(math.log(alpha) / math.log(wanted))


def _needed(kept: _Kept, wanted: float) -> int | None:
    """Faces of which about a promise could be made, if as large a share of each candidate's answers is right as here.

    Half a right and half a wrong answer are added to each, since a few that are all right are not known to stay so.
    """
    rates = [(kept.n[k] / kept.total, (kept.right[k] + 0.5) / (kept.n[k] + 1)) for k in kept.candidates(FEW)]
    answers = [(share, _shown_by(rate, wanted)) for share, rate in rates if rate > wanted]
    effect = kept.n[0] / max(1, kept.worth(0)[1])
    # Fewer than are here, with which no promise could be made, are no advice.
    faces = [max(effect * n / share, 2 * kept.total) for share, n in answers if n is not None]
    return _round_up(min(faces)) if faces and min(faces) <= MOST else None


def _shown_by(rate: float, wanted: float) -> int | None:
    """Answers, of which a share of ``rate`` is right, that show the accuracy in 4 of 5 samples; None for too many."""
    n, needed = _shown(wanted)
    found = np.flatnonzero(stats.binom.sf(needed - 1, n, rate) >= POWER)
    return int(n[found[0]]) if len(found) else None


@functools.lru_cache(maxsize=16)
def _shown(wanted: float) -> tuple[Floats, Floats]:
    """Numbers of answers, and how many of them are to be right to show the accuracy."""
    first = fewest(wanted)
    n = np.unique(np.ceil(first * 1.05 ** np.arange(math.ceil(math.log(MOST / first, 1.05)) + 1)))
    return n, stats.binom.isf(ALPHA, n, wanted) + 1


def _round_up(n: float) -> int:
    """To two digits."""
    unit = int(10 ** max(0, math.floor(math.log10(n)) - 1))
    return math.ceil(n / unit) * unit


def best_f1(confidence: Floats, truth: Codes, predicted: Codes, labels: int) -> Threshold | None:
    """The threshold with the best macro F1 on these very faces, where what is not kept counts as not answered.

    The first three arguments are parallel, of all faces; one without an answer has the ``predicted`` label -1 and is
    kept by no threshold. None where nothing is answered.
    """
    sure = np.where(predicted >= 0, confidence, -1.0)
    kept = _kept(sure, truth == predicted, len(truth))
    if not kept.n.any():
        return None
    order = np.argsort(-sure, kind="stable")
    return kept.threshold(int(np.argmax(_macro_f1(truth[order], predicted[order], labels)[kept.n])))


def _macro_f1(truth: Codes, predicted: Codes, labels: int) -> Floats:
    """Macro F1 over the labels that occur, when the first 0, 1, 2 ... answers are kept: (n + 1,)."""
    each = np.arange(labels)
    given = predicted[:, None] == each
    true = np.bincount(truth, minlength=labels)
    right = np.vstack([np.zeros(labels), np.cumsum(given & (truth[:, None] == each), 0)])
    said = np.vstack([np.zeros(labels), np.cumsum(given, 0)])
    f1 = 2 * right[:, true > 0] / (said + true)[:, true > 0]
    return np.asarray(f1.mean(1))
