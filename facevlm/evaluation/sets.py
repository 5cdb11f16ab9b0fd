"""Which labels are still possible? Sets of labels that hold the true one for a wanted share of faces.

Split conformal prediction: on one half of the faces it is chosen from which probability on a label is in the set, and
the other half is read. The wanted share is held on new faces of the same kind, however good or bad the probabilities
are; bad ones give large sets. Coverage is simulated in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facevlm.errors import InputError
from facevlm.evaluation.clusters import clustered
from facevlm.evaluation.groups import SMALL, Grouping
from facevlm.evaluation.metrics import Codes, Floats, score, wilson

LEAST, HIGHEST = 0.5, 0.99
ROUNDING = 1e-9


@dataclass(frozen=True)
class Held:
    """How often the sets of ``n`` faces hold the true label: the share ``held``, ``low`` to ``high`` by Wilson, 95 %.

    ``size`` is how many labels a set has on average, and ``single`` the share of sets of one label.
    """

    n: int
    held: float
    low: float
    high: float
    size: float
    single: float


@dataclass(frozen=True)
class GroupSets:
    """Sets of one group: with the threshold of all faces (``common``), and with one of its own (``own``), which was
    chosen on ``chosen_on`` faces of the group and holds the wanted share within it."""

    by: str
    value: str
    chosen_on: int
    threshold: float
    common: Held
    own: Held


@dataclass(frozen=True)
class LabelSets:
    """Sets that hold the true label of at least the share ``wanted`` of new faces of the same kind.

    A set is the answer and every label with at least the probability ``threshold``, which was chosen on ``chosen_on``
    faces; ``read`` is what it gives on the others, None where fewer than twice ``SMALL`` faces have scores. ``groups``
    have ``SMALL`` faces or more on either side.
    """

    wanted: float
    chosen_on: int
    threshold: float
    read: Held | None
    groups: tuple[GroupSets, ...] = ()


def check(wanted: float) -> None:
    """Raise :class:`~facevlm.errors.InputError` for what is no share that sets can be made for."""
    if not LEAST <= wanted <= HIGHEST:
        raise InputError(
            f"Got sets={wanted}, expected a share from {LEAST} to {HIGHEST}: 0.9 for sets that hold the true label of "
            "90 % of faces."
        )


def label_sets(
    log_probs: Floats,
    truth: Codes,
    answer: Codes,
    wanted: float,
    groupings: Sequence[tuple[Grouping, Codes]] = (),
    seed: int = 0,
    clusters: Codes | None = None,
) -> LabelSets:
    """Sets of the scored and answered faces, from log-probabilities (n, n_labels) and label indices (n,).

    ``groupings`` of the same faces come with the group of each face; those by one field count. Vovk, V., Gammerman,
    A., Shafer, G. (2005), Algorithmic learning in a random world; by group Romano, Y. et al. (2020), With malice toward
    none: assessing uncertainty via equalized coverage. Faces of one of the ``clusters`` (n,) are in the same half.
    """
    n, shares = len(truth), np.exp(log_probs)
    if n < 2 * SMALL:
        return LabelSets(wanted, 0, math.nan, None)
    faces = _Faces(shares, truth, answer, clusters)
    own = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    row = np.random.default_rng(seed).permutation(int(own.max()) + 1).argsort()[own]
    chosen = np.zeros(n, dtype=bool)
    chosen[row.argsort(kind="stable")[: n // 2]] = True
    # The cluster in the middle is read whole.
    chosen &= row < row[~chosen].min()
    if min(chosen.sum(), (~chosen).sum()) < SMALL:
        return LabelSets(wanted, 0, math.nan, None)
    threshold = faces.threshold(chosen, wanted)
    groups = [
        _of_group(faces, part.by[0], part.keys[k][0], codes == k, chosen, threshold, wanted)
        for part, codes in groupings
        if len(part.by) == 1
        for k in range(len(part.keys))
        if min((chosen & (codes == k)).sum(), (~chosen & (codes == k)).sum()) >= SMALL
    ]
    return LabelSets(wanted, int(chosen.sum()), threshold, faces.read(~chosen, threshold), tuple(groups))


@dataclass(frozen=True)
class _Faces:
    """Probabilities (n, n_labels), and label indices of truth and answer (n,), and who goes together (n,)."""

    shares: Floats
    truth: Codes
    answer: Codes
    clusters: Codes | None = None

    def threshold(self, chosen: NDArray[np.bool_], wanted: float) -> float:
        """The probability from which on a label is in the set; 0 where so few faces leave every label possible.

        Of the chosen faces' true labels as many lie below as a new face may be in their row: the least, the second...
        """
        true = self.shares[np.arange(len(self.truth)), self.truth]
        # The answer is in its set whatever its probability.
        own = np.where(self.truth == self.answer, 1.0, true)[chosen]
        below = math.floor((len(own) + 1) * (1 - wanted) + ROUNDING)
        return float(np.partition(own, below - 1)[below - 1]) if below else 0.0

    def read(self, kept: NDArray[np.bool_], threshold: float) -> Held:
        """What the sets of the kept faces hold."""
        inside = self.shares[kept] >= threshold
        rows = np.arange(len(inside))
        inside[rows, self.answer[kept]] = True
        right, sizes = inside[rows, self.truth[kept]], inside.sum(1)
        hits = int(right.sum())
        low, high = wilson(hits, len(rows))
        if self.clusters is not None:
            worth = float(clustered(np.zeros(len(rows), dtype=np.int64), self.clusters[kept], right).worth(1)[0])
            low, high = score(hits / len(rows) * worth, worth)
        return Held(len(rows), hits / len(rows), low, high, float(sizes.mean()), float((sizes == 1).mean()))


def _of_group(
    faces: _Faces,
    by: str,
    value: str,
    inside: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    threshold: float,
    wanted: float,
) -> GroupSets:
    own = faces.threshold(inside & chosen, wanted)
    common, apart = (faces.read(inside & ~chosen, cut) for cut in (threshold, own))
    return GroupSets(by, value, int((inside & chosen).sum()), own, common, apart)
