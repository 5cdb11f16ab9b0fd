"""Labelled faces as examples to learn from. What contradicts itself, is there twice or cannot be read is left out and
counted."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from facevlm import folders
from facevlm.errors import ImageError
from facevlm.faces import images
from facevlm.types import Attribute, Face

CONFLICTING, REPEATED, UNLABELLED, UNREADABLE = "conflicting labels", "repeated", "without a label", "unreadable"
LEFT_OUT = (UNLABELLED, UNREADABLE, CONFLICTING, REPEATED)
CHUNK = 2**20


@dataclass(frozen=True)
class LabelledFace:
    """A face and its true labels by attribute, of which it may lack some: it is asked only what it has labels for.

    ``groups`` are values of fields to report by. ``subject`` says which faces are of one person, ``copy_of`` which
    pictures are the same, ``near`` which look alike, None where nothing is known. ``tags`` are those of its picture.
    """

    face: Face
    labels: Mapping[str, str]
    groups: Mapping[str, str | None] = field(default_factory=dict)
    subject: Hashable | None = None
    copy_of: str | None = None
    near: str | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Examples:
    """What can be learnt from, and how many faces were left out, by the reason."""

    kept: tuple[LabelledFace, ...]
    left_out: Mapping[str, int]

    def counts(self, attribute: Attribute) -> dict[str, int]:
        """Faces per label, in the labels' order."""
        return counts(self.kept, attribute)


def counts(examples: Iterable[LabelledFace], attribute: Attribute) -> dict[str, int]:
    """Faces per label of an attribute, in the labels' order."""
    found = Counter(e.labels.get(attribute.name) for e in examples)
    return {label: found[label] for label in attribute.labels}


def chosen(examples: Sequence[LabelledFace]) -> Examples:
    """The examples without those that teach nothing, or teach what is not so.

    Of faces that are the same, on the same box of the same picture, one is kept, with the labels of all of them; where
    two of them say something else about an attribute, none of them is.
    """
    left_out = Counter[str]()
    readable = _readable([e.face.filepath for e in examples])
    usable = []
    for example, opens in zip(examples, readable, strict=True):
        reason = UNLABELLED if not example.labels else None if opens else UNREADABLE
        left_out[reason or ""] += 1
        if reason is None:
            usable.append(example)
    kept = []
    for same in _alike(usable):
        whole = _together(same)
        left_out[CONFLICTING if whole is None else REPEATED] += len(same) - (whole is not None)
        kept += [] if whole is None else [whole]
    return Examples(tuple(kept), {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]})


def _readable(paths: Sequence[str]) -> list[bool]:
    """Whether each file has the head of a picture; what lies behind it is seen when it is learnt from."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        known = dict(zip(dict.fromkeys(paths), pool.map(_has_head, dict.fromkeys(paths)), strict=True))
    return [known[path] for path in paths]


def _has_head(path: str) -> bool:
    try:
        return bool(images.size(path))
    except ImageError:
        return False


def _alike(examples: Sequence[LabelledFace]) -> list[list[LabelledFace]]:
    """Groups of examples that show the same face: by the files' bytes, and by what a check of the dataset found."""
    same = _by_bytes([e.face.filepath for e in examples])
    groups: dict[object, list[LabelledFace]] = defaultdict(list)
    for example in examples:
        picture = example.copy_of or same.get(example.face.filepath) or example.face.filepath
        groups[picture, example.face.box_xywh_rel].append(example)
    return list(groups.values())


def _by_bytes(paths: Iterable[str]) -> dict[str, str]:
    """A digest of the bytes of each file that has as many of them as another one; the others are like none."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            by_size[os.stat(path).st_size].append(path)
    return {path: _digest(path) for several in by_size.values() if len(several) > 1 for path in several}


def _digest(path: str) -> str:
    seen = hashlib.sha256()
    with suppress(OSError), folders.opened(path) as handle:
        while part := handle.read(CHUNK):
            seen.update(part)
        return seen.hexdigest()
    return path


def _together(same: Sequence[LabelledFace]) -> LabelledFace | None:
    """One example with the labels of all; None where they contradict each other."""
    labels: dict[str, str] = {}
    for example in same:
        for name, label in example.labels.items():
            if labels.setdefault(name, label) != label:
                return None
    return replace(same[0], labels=labels, tags=frozenset().union(*(e.tags for e in same)))
