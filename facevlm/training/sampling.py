"""How often each face is shown, and how much each label counts, where some are rare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from facevlm.evaluation.metrics import Floats
from facevlm.training.examples import LabelledFace
from facevlm.training.recipes import LABELS


def weights(examples: Sequence[LabelledFace], balance: str | None) -> Floats:
    """How often each example is shown, as shares of one: all alike; by ``labels`` the rarer its labels the oftener; by
    ``groups`` the rarer its values of the fields to report by, and its labels within them."""
    if balance is None:
        return np.full(len(examples), 1 / max(1, len(examples)))
    keys = [_keys(e, balance) for e in examples]
    found = Counter(key for own in keys for key in own)
    rarity = np.array([np.mean([1 / found[key] for key in own]) if own else 0.0 for own in keys])
    shares: Floats = rarity / rarity.sum()
    return shares


def _keys(example: LabelledFace, balance: str) -> list[tuple[object, ...]]:
    if balance == LABELS:
        return list(example.labels.items())
    group = tuple(example.groups.values())
    return [(*mark, group) for mark in example.labels.items()]


def class_weights(examples: Sequence[LabelledFace], labels: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    """How much an answer counts, by attribute and label: the rarer the more, one on average over the answers.

    ``labels`` are those of each attribute; one that occurs nowhere counts nothing.
    """
    told = {}
    for name, known in labels.items():
        found = Counter(e.labels[name] for e in examples if name in e.labels)
        occurring = [label for label in known if found[label]]
        told[name] = [found.total() / (len(occurring) * found[label]) if found[label] else 0.0 for label in known]
    return told
