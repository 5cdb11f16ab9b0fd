"""Faults of a data set that need no model: copies, leaks between splits, conflicting labels, impossible ages and boxes.

Works on plain sequences, one entry per picture; a picture is named by its position. Nothing here reads or changes a
file.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facevlm.attributes import OLDEST as OLDEST
from facevlm.checks.fingerprints import BITS, Fingerprints, Groups

UNREADABLE, DUPLICATE, NEAR_DUPLICATE, LABEL_CONFLICT, SPLIT_LEAK, IMPLAUSIBLE_AGE, BAD_BOX = KINDS = (
    "unreadable",
    "duplicate",
    "near_duplicate",
    "label_conflict",
    "split_leak",
    "implausible_age",
    "bad_box",
)
MEANING = {
    UNREADABLE: "the picture cannot be read",
    DUPLICATE: "a copy of a picture that comes before it",
    NEAR_DUPLICATE: "looks like another picture whose pixels differ",
    LABEL_CONFLICT: "same pixels, different labels",
    SPLIT_LEAK: "the same picture, or one like it, in several splits",
    IMPLAUSIBLE_AGE: "an age that cannot be, or contradicts the age group",
    BAD_BOX: "a box outside the picture or without area",
}
Box = Sequence[float]


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, the positions of the pictures that it concerns, in order, and the reason in words."""

    kind: str
    members: tuple[int, ...]
    reason: str

    @property
    def flagged(self) -> tuple[int, ...]:
        """The pictures at fault: of copies all but the first, else all."""
        return self.members[1:] if self.kind == DUPLICATE else self.members


def unreadable(prints: Fingerprints) -> list[Finding]:
    """Pictures that could not be read, with the reason."""
    return [Finding(UNREADABLE, (at,), reason) for at, reason in sorted(prints.errors.items())]


def members(groups: Groups) -> list[tuple[int, ...]]:
    """Positions of each group of two or more, by the first of them."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted(tuple(part.tolist()) for part in parts if len(part) > 1)


def copies(prints: Fingerprints, same: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Groups of identical pictures: whether their files are the same, too, or only their pixels."""
    findings = []
    for group in same:
        files = len({prints.files[at].tobytes() for at in group})
        reason = "the same file" if files == 1 else f"the same pixels in {files} different files"
        findings.append(Finding(DUPLICATE, group, f"{len(group)} times {reason}"))
    return findings


def near_copies(
    same: Groups, alike: Sequence[tuple[int, ...]], nearest: Sequence[int], labels: Mapping[str, Sequence[Any]]
) -> list[Finding]:
    """Groups of pictures that look alike and are not all identical, and where their labels differ."""
    findings = []
    for group in alike:
        different = len({int(same[at]) for at in group})
        if different > 1:
            bits = max(nearest[at] for at in group)
            reason = f"{different} pictures that look alike: up to {bits} of {BITS} bits from the next one"
            reason = "; ".join([reason, *_differing(group, labels)])
            findings.append(Finding(NEAR_DUPLICATE, group, reason))
    return findings


def conflicts(same: Iterable[tuple[int, ...]], labels: Mapping[str, Sequence[Any]]) -> list[Finding]:
    """Groups of identical pictures with different labels in any field; an unlabelled picture conflicts with none."""
    findings = []
    for group in same:
        parts = _differing(group, labels)
        if parts:
            findings.append(Finding(LABEL_CONFLICT, group, "; ".join(parts)))
    return findings


def _differing(group: tuple[int, ...], labels: Mapping[str, Sequence[Any]]) -> list[str]:
    """What a group's labels are, field by field, where there is more than one."""
    told = {field: {values[at] for at in group} - {None} for field, values in labels.items()}
    return [f"{field}: {' or '.join(sorted(map(str, seen)))}" for field, seen in told.items() if len(seen) > 1]


def leaks(groups: Iterable[tuple[int, ...]], splits: Sequence[frozenset[str]]) -> list[Finding]:
    """Groups of like pictures of which members lie in different splits, and pictures that are in two at once."""
    findings, seen = [], set[int]()
    for group in groups:
        held = Counter(split for at in group for split in splits[at])
        seen.update(group)
        if len(held) > 1:
            reason = ", ".join(f"{n} in {split}" for split, n in sorted(held.items()))
            findings.append(Finding(SPLIT_LEAK, group, reason))
    both = [at for at, names in enumerate(splits) if len(names) > 1 and at not in seen]
    return findings + [Finding(SPLIT_LEAK, (at,), f"itself in {' and '.join(sorted(splits[at]))}") for at in both]


def ages(values: Sequence[Any], oldest: float = OLDEST) -> list[Finding]:
    """Ages, in years, that are no number, negative, or beyond ``oldest``; None is an unknown age and no fault."""
    problems = ((at, _age_problem(value, oldest)) for at, value in enumerate(values) if value is not None)
    return [Finding(IMPLAUSIBLE_AGE, (at,), problem) for at, problem in problems if problem]


def _age_problem(value: Any, oldest: float) -> str:
    # True is an int to Python, and no age.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return f"the age {value!r} is not a number"
    if value < 0:
        return f"the age {value:g} is negative"
    return f"the age {value:g} is beyond {oldest:g}" if value > oldest else ""


def contradictions(
    years: Sequence[Any], labels: Sequence[str | None], to_group: Callable[[object], str | None], field: str
) -> list[Finding]:
    """Ages that lie in another age group than the picture's label; ``to_group`` is None where an age is none."""
    findings = []
    for at, (age, label) in enumerate(zip(years, labels, strict=True)):
        group = None if age is None else to_group(age)
        if group is not None and label is not None and group != label:
            findings.append(Finding(IMPLAUSIBLE_AGE, (at,), f"the age {age:g} lies in {group}, {field} says {label}"))
    return findings


def bad_boxes(boxes: Sequence[Sequence[Box] | None], sizes_wh: Sequence[Sequence[int]], field: str) -> list[Finding]:
    """Pictures with boxes (x, y, width, height as shares) that are not finite, without area, or outside.

    A box may reach out by a pixel, as rounding makes it; the size of an unreadable picture is (0, 0).
    """
    findings: dict[int, list[str]] = defaultdict(list)
    for at, (some, (width, height)) in enumerate(zip(boxes, sizes_wh, strict=True)):
        for number, box in enumerate(some or ()):
            problem = _box_problem(box, 1 / width if width else 0.0, 1 / height if height else 0.0)
            if problem:
                findings[at].append(f"{field}[{number}] {problem}")
    return [Finding(BAD_BOX, (at,), "; ".join(problems)) for at, problems in findings.items()]


def _box_problem(box: Box, slack_x: float, slack_y: float) -> str:
    if len(box) != 4 or not np.isfinite(box).all():
        return f"is {list(box)}, expected four finite numbers"
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return "has no area"
    if x >= 1 or y >= 1 or x + w <= 0 or y + h <= 0:
        return "lies outside of the picture"
    reaches_out = min(x + slack_x, y + slack_y) < 0 or x + w > 1 + slack_x or y + h > 1 + slack_y
    return "reaches out of the picture" if reaches_out else ""
