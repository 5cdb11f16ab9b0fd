"""Check a dataset for faults: copies, leaks between splits, conflicting labels, impossible ages and boxes."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from facevlm import attributes as registry_module
from facevlm.attributes import Registry, align, canonical
from facevlm.checks import faults, fingerprints
from facevlm.checks.faults import KINDS, Finding
from facevlm.engines.tally import Progress, Tally
from facevlm.errors import InputError, check_sizes
from facevlm.evaluation.evaluate import to_plain
from facevlm.store import faults as store
from facevlm.store import targets
from facevlm.tasks._options import takes_names
from facevlm.tasks._run import Run, carry_out
from facevlm.tasks._verb import verb
from facevlm.types import Attribute

MOST_BITS = 64


@dataclass(frozen=True)
class Case:
    """One fault of one picture or of a group: its kind, the reason, and the ids of samples in order.

    ``flagged`` are the ids that got the tag: of copies all but the first, else all.
    """

    kind: str
    reason: str
    samples: tuple[str, ...]
    flagged: tuple[str, ...]


@dataclass(frozen=True)
class CheckResult:
    """What a check found. ``views`` maps kinds of findings to saved views, ``filepaths`` ids of concerned samples."""

    dataset: str
    pictures: int
    readable: int
    seconds: float
    settings: Mapping[str, Any]
    cases: tuple[Case, ...]
    views: Mapping[str, str] = field(default_factory=dict)
    filepaths: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> list[Case]:
        """The cases of one kind."""
        return [case for case in self.cases if case.kind == kind]

    def count(self, kind: str) -> int:
        """How many pictures carry the tag of a kind."""
        return len({one for case in self.of(kind) for one in case.flagged})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data, with the counts of every kind."""
        counts = {kind: {"pictures": self.count(kind), "cases": len(self.of(kind))} for kind in KINDS}
        plain: dict[str, Any] = {**to_plain(self), "counts": counts}
        return plain


@verb
@takes_names
def check(
    target: targets.Collection,
    *,
    fields: Sequence[str] | None = None,
    age: str | None = None,
    boxes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    near: int | None = fingerprints.NEAR,
    oldest: float = faults.OLDEST,
    threads: int | None = None,
    progress: bool = True,
    registry: Registry | None = None,
) -> CheckResult:
    """Look for faults, and leave them as tags, as the field ``facevlm_check`` and as saved views. Nothing is deleted.

    Args:
        target: a FiftyOne dataset or view.
        fields: ground-truth fields in which identical pictures should agree; by default all label fields.
        age: the field of ages in years; by default ``age`` where that holds numbers.
        boxes: fields of Detections; by default all.
        splits: tags that are splits; by default those of ``train``, ``val``, ``validation`` and ``test`` that occur.
        near: bits of 256 in which the look of near duplicates may differ, up to 64; None looks for none.
        oldest: the highest age, in years, that is believed.
        threads: reading threads, by default one per core.
        progress: show a bar where there is a terminal.
        registry: attributes of your own, of which those with ages in years tell what an age group is.

    Raises:
        FacevlmError: before any picture is read, saying what was got, what was expected, and what to do.
    """
    run = CheckRun(
        target,
        fields=fields,
        age=age,
        boxes=boxes,
        splits=splits,
        near=near,
        oldest=oldest,
        threads=threads,
        registry=registry,
    )
    return carry_out(run, progress=progress, unit=" picture")


class CheckRun(Run[CheckResult]):
    """A check that has not begun; stopped, it leaves everything as it was. See :func:`check` for the arguments.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is read yet. ``looked`` are the fields and tags that are
    looked at.
    """

    prefix = "check"
    is_resumed = False

    def __init__(
        self,
        target: targets.Collection,
        *,
        fields: Sequence[str] | None = None,
        age: str | None = None,
        boxes: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        near: int | None = fingerprints.NEAR,
        oldest: float = faults.OLDEST,
        threads: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._target = targets.check(target)
        check_sizes(threads=threads)
        if near is not None and (type(near) is not int or not 0 <= near <= MOST_BITS):
            raise InputError(
                f"Got near={near!r}, expected bits from 0 to {MOST_BITS}, or None to look for no near copies."
            )
        self.looked = store.choose_fields(self._target, fields, age, boxes, splits)
        self._near, self._oldest, self._threads = near, oldest, threads
        self._registry = registry or registry_module.shipped()
        self.total = targets.size(self._target)
        self._result: CheckResult | None = None

    def work(self) -> Generator[Progress, None, None]:
        began = time.perf_counter()
        material = store.read(self._target, self.looked)
        prints = fingerprints.empty(len(material.paths))
        for done in fingerprints.fill(prints, material.paths, threads=self._threads):
            yield Progress(done, self.total, Tally())
        look = _Likeness(prints, self._near, self._threads)
        findings = [*_found(material, prints, look, self._oldest), *_contradictions(material, self._registry)]
        views = store.write(self._target, _entries(material, look, findings))
        seen = {"near": self._near, "oldest": self._oldest, "view": targets.describe(self._target)}
        self._result = CheckResult(
            dataset=self._target._dataset.name,
            pictures=len(prints),
            readable=int(prints.readable.sum()),
            seconds=round(time.perf_counter() - began, 3),
            settings={**asdict(self.looked), **seen},
            cases=tuple(_cases(material.ids, findings)),
            views=views,
            filepaths={material.ids[at]: material.paths[at] for f in findings for at in f.members},
        )
        store.record(self._target._dataset, self._result.to_dict())

    def result(self) -> CheckResult:
        """What was found, of a check that came to its end."""
        if self._result is None:
            raise InputError("The check did not come to its end, and has found nothing yet. Run it again.")
        return self._result


class _Likeness:
    """Which pictures are identical, which look alike, and groups of both together."""

    def __init__(self, prints: fingerprints.Fingerprints, near: int | None, threads: int | None) -> None:
        self.same = fingerprints.same(prints)
        alone = (np.arange(len(prints), dtype=np.int64), np.full(len(prints), -1, dtype=np.int64))
        alike, self.nearest = alone if near is None else fingerprints.alike(prints, near, threads=threads)
        self.copies = faults.members(self.same)
        self.alike = faults.members(alike)
        self.groups = faults.members(fingerprints.merged(self.same, alike))


def _found(
    material: store.Material, prints: fingerprints.Fingerprints, look: _Likeness, oldest: float
) -> Iterator[Finding]:
    yield from faults.unreadable(prints)
    yield from faults.copies(prints, look.copies)
    yield from faults.near_copies(look.same, look.alike, look.nearest.tolist(), material.labels)
    yield from faults.conflicts(look.copies, material.labels)
    yield from faults.leaks(look.groups, material.splits)
    yield from faults.ages(material.ages, oldest)
    for name, boxes in material.boxes.items():
        yield from faults.bad_boxes(boxes, prints.sizes_wh.tolist(), name)


def _contradictions(material: store.Material, registry: Registry) -> Iterator[Finding]:
    """Ages against every label field that holds age groups."""
    for name, values in material.labels.items() if material.ages else ():
        attribute = _age_groups(values, registry)
        if attribute is not None:
            to_group = align(attribute, [0.0], registry).to_truth
            labels = [canonical(attribute, value) for value in values]
            yield from faults.contradictions(material.ages, labels, to_group, name)


def _age_groups(values: Sequence[object], registry: Registry) -> Attribute | None:
    """The age groups that all values of a field spell, or None."""
    seen = set(values) - {None}
    for name in registry.years if seen else ():
        spells = functools.partial(canonical, registry.get(name))
        if all(spells(value) is not None for value in seen):
            return registry.get(name)
    return None


def _entries(material: store.Material, look: _Likeness, findings: Sequence[Finding]) -> dict[str, store.Entry]:
    """What is written to each sample that is at fault or stands beside one that is."""
    kinds: dict[int, list[str]] = defaultdict(list)
    reasons: dict[int, list[str]] = defaultdict(list)
    for finding in findings:
        for at in finding.flagged:
            kinds[at].append(finding.kind)
            reasons[at].append(f"{finding.kind}: {finding.reason}")
    first = {at: material.ids[group[0]] for group in look.groups for at in group}
    copy = {at: material.ids[group[0]] for group in look.copies for at in group}
    return {
        material.ids[at]: store.Entry(
            findings=tuple(dict.fromkeys(kinds[at])),
            reasons=tuple(reasons[at]),
            group=first.get(at),
            copy_of=copy.get(at),
            distance=int(look.nearest[at]) if look.nearest[at] >= 0 else None,
        )
        for at in sorted({*kinds, *first})
    }


def _cases(ids: Sequence[str], findings: Sequence[Finding]) -> Iterator[Case]:
    for finding in sorted(findings, key=lambda f: KINDS.index(f.kind)):
        samples, flagged = (tuple(ids[at] for at in some) for some in (finding.members, finding.flagged))
        yield Case(finding.kind, finding.reason, samples, flagged)
