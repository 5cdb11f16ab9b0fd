"""Which faces are learnt from, which choose the best step, and which judge the result. Never one person in two of them.

Faces of one subject, and near copies that a check of the dataset found, stand in one part. By shares every part gets
as equal a share of each label as whole groups allow.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facevlm.errors import InputError
from facevlm.training.examples import LabelledFace

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
ANY = ("", "")
"""What every face has, beside its labels."""
ACROSS = "in two splits"
"""Why an example is left out that is alike to one of a part that judges."""


@dataclass(frozen=True)
class FaceSplit:
    """The examples of each part, and how many were left out since their like stands in another part."""

    train: tuple[LabelledFace, ...]
    validation: tuple[LabelledFace, ...]
    test: tuple[LabelledFace, ...]
    across: int = 0

    @property
    def parts(self) -> dict[str, tuple[LabelledFace, ...]]:
        return {TRAIN: self.train, VALIDATION: self.validation, TEST: self.test}


def by_share(examples: Sequence[LabelledFace], validation: float, test: float, seed: int) -> FaceSplit:
    """Parts of these shares of the examples, drawn by ``seed``; the rest is learnt from.

    Raises :class:`~facevlm.errors.InputError` for shares that leave nothing to learn from.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise InputError(
            f"Got validation={validation!r} and test={test!r}, expected shares of the faces that leave some to learn "
            "from, such as 0.15 and 0.15."
        )
    shares = {TRAIN: 1 - validation - test, VALIDATION: validation, TEST: test}
    whole = Counter(_marks(examples))
    lacking = {part: {mark: share * n for mark, n in whole.items()} for part, share in shares.items() if share}
    groups = together(examples)
    random.Random(seed).shuffle(groups)
    placed: dict[str, list[LabelledFace]] = {part: [] for part in PARTS}
    # Rare labels first, as in iterative stratification (Sechidis et al. 2011): what comes last fits anywhere.
    for group in sorted(groups, key=lambda g: (min(whole[m] for m in _marks(g)), -len(g))):
        marks = _marks(group)
        rarest = min(marks, key=lambda m: whole[m])
        part = max(lacking, key=lambda p: (lacking[p][rarest], lacking[p][ANY]))
        placed[part] += group
        for mark in marks:
            lacking[part][mark] -= 1
    train, chooses, judges = (_in_order(placed[part], examples) for part in PARTS)
    return FaceSplit(train, chooses, judges)


def by_tag(examples: Sequence[LabelledFace], tags: Mapping[str, str]) -> FaceSplit:
    """Parts by the tag of each, such as ``{"train": "train", "validation": "val"}``; others are in no part.

    What is alike across parts is left out of the one that is learnt from, then out of that which chooses.
    """
    placed: dict[str, list[LabelledFace]] = {part: [] for part in PARTS}
    across, taken = 0, set[int]()
    group_of = {id(e): number for number, group in enumerate(together(examples)) for e in group}
    # What judges first: no face of it may have been seen.
    for part in (TEST, VALIDATION, TRAIN):
        mine = [e for e in examples if part in tags and tags[part] in e.tags]
        kept = [e for e in mine if group_of[id(e)] not in taken]
        across += len(mine) - len(kept)
        taken |= {group_of[id(e)] for e in kept}
        placed[part] = kept
    return FaceSplit(tuple(placed[TRAIN]), tuple(placed[VALIDATION]), tuple(placed[TEST]), across)


def together(examples: Sequence[LabelledFace]) -> list[list[LabelledFace]]:
    """Examples that may not be parted: of one picture, of one subject, or of near copies; in their order."""
    parent = list(range(len(examples)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[object, int] = {}
    for at, example in enumerate(examples):
        for key in _keys(example):
            parent[root(at)] = root(first.setdefault(key, at))
    groups: dict[int, list[LabelledFace]] = defaultdict(list)
    for at, example in enumerate(examples):
        groups[root(at)].append(example)
    return list(groups.values())


def _keys(example: LabelledFace) -> list[tuple[str, object]]:
    keys: list[tuple[str, object]] = [("picture", example.face.filepath)]
    keys += [("subject", example.subject)] if example.subject is not None else []
    return keys + ([("near", example.near)] if example.near is not None else [])


def _marks(examples: Sequence[LabelledFace]) -> list[tuple[str, str]]:
    """The labels of examples, and that they are there at all, of all of which each part is to get its share."""
    return [mark for e in examples for mark in (*e.labels.items(), ANY)]


def _in_order(some: Sequence[LabelledFace], examples: Sequence[LabelledFace]) -> tuple[LabelledFace, ...]:
    wanted = {id(e) for e in some}
    return tuple(e for e in examples if id(e) in wanted)
