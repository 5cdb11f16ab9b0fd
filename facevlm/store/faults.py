"""What a check of a dataset reads, and how it leaves its findings: tags, one field, saved views, a custom run.

Everything lies in the field ``facevlm_check``: ``findings`` and ``reasons`` of a picture, ``group`` and ``copy_of``
(the id of the first picture that looks like it, and that is identical to it), ``distance`` (bits to the next look).
A check of the same samples takes its own tags and entries away again first; other tags, also of the same name, stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.checks.faults import DUPLICATE, KINDS, LABEL_CONFLICT, MEANING, NEAR_DUPLICATE, SPLIT_LEAK
from facevlm.errors import FieldError, meant
from facevlm.store import evaluations, predictions, results, views
from facevlm.store.rows import PictureRows
from facevlm.store.targets import Collection, all_pictures, document_of, field_names, holds
from facevlm.store.updates import Updates, require_writable

FIELD = RUN = "facevlm_check"
METHOD = "facevlm-check"
WHAT = "Findings of facevlm check; nothing was deleted"
VIEW = "check_"
SPLITS = ("train", "val", "validation", "test")
AGES = ("age", "age_years")
GROUPED = (DUPLICATE, NEAR_DUPLICATE, LABEL_CONFLICT, SPLIT_LEAK)
CHUNK = 1024
LISTS = ("findings", "reasons", "tagged")
PARTS = {"group": str, "copy_of": str, "distance": int}
T = TypeVar("T")


@dataclass(frozen=True)
class CheckedFields:
    """The fields that a check looks at: of labels, of the age in years, and of boxes; and the tags that are splits."""

    labels: tuple[str, ...]
    age: str | None
    boxes: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """What is written to one sample."""

    findings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    group: str | None = None
    copy_of: str | None = None
    distance: int | None = None


@dataclass(frozen=True)
class Material:
    """The samples of a target as parallel lists, and the values of the fields to look at."""

    ids: Sequence[str]
    paths: Sequence[str]
    splits: Sequence[frozenset[str]]
    labels: Mapping[str, Sequence[object]] = field(default_factory=dict)
    ages: Sequence[object] = ()
    boxes: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def choose_fields(
    target: Collection,
    labels: Sequence[str] | None,
    age: str | None,
    boxes: Sequence[str] | None,
    splits: Sequence[str] | None,
) -> CheckedFields:
    """The named fields, or those that are there: label fields of ground truth, an age in years, Detections, split tags.

    Raises :class:`~facevlm.errors.FieldError` for a name that is not there or of the wrong kind, and where the tags or
    the field of findings may not be written, or that field is somebody's own.
    """
    _check_own(target._dataset)
    require_writable(target._dataset, [FIELD, "tags"])
    truth, numbers = evaluations.truth_fields(PictureRows(target)), field_names(target, evaluations.NUMBERS)
    detections = [n for n, f in target.get_field_schema().items() if holds(f, fo.Detections)]
    tags = set(target.distinct("tags"))
    chosen = CheckedFields(
        tuple(labels if labels is not None else [n for n in truth if n in field_names(target, labels=True)]),
        age or next((n for n in AGES if n in numbers), None),
        tuple(boxes if boxes is not None else detections),
        tuple(splits if splits is not None else [n for n in SPLITS if n in tags]),
    )
    _require(chosen.labels, truth, "Field", "labels, strings or numbers")
    _require([chosen.age] if chosen.age else [], numbers, "Age field", "numbers")
    _require(chosen.boxes, detections, "Field", "Detections")
    _require(chosen.splits, sorted(tags), "Split", "a tag of its samples")
    return chosen


def _check_own(dataset: fo.Dataset) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field of the name is there that no check wrote.

    Labels of FiftyOne are documents of the same class: only the class itself is that of findings.
    """
    stored = dataset.get_field(FIELD)
    parts = [f"{FIELD}.{name}" for name in (*LISTS, *PARTS)]
    if stored is None or (
        document_of(stored) is fo.DynamicEmbeddedDocument and predictions.is_written_here(dataset, stored, parts, WHAT)
    ):
        return
    said = f"Field '{FIELD}' is already there and was not written by a check, expected no field of that name. "
    raise FieldError(
        f"{said}It is left as it is; rename it: dataset.rename_sample_field('{FIELD}', 'mine').",
        app=f"{said}It is left as it is; rename it.",
    )


def _require(names: Sequence[str], known: Sequence[str], what: str, need: str) -> None:
    for name in names:
        if name not in known:
            listed = f"{', '.join(known) or 'none'}.{meant(name, known)}"
            raise FieldError(f"{what} '{name}' is not there or no such; need {need}: {listed}")


def read(target: Collection, fields: CheckedFields) -> Material:
    """All that is compared, in the order of the target; no picture is opened."""
    ids, paths, tags = target.values(["id", "filepath", "tags"])
    wanted, rows = frozenset(fields.splits), PictureRows(target)
    return Material(
        ids,
        paths,
        [wanted & frozenset(some or ()) for some in tags],
        {name: evaluations.raw_values(rows, name) for name in fields.labels},
        evaluations.raw_values(rows, fields.age) if fields.age else (),
        {name: target.values(f"{name}.detections.bounding_box") for name in fields.boxes},
    )


def write(target: Collection, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Replace the findings of the target's samples by these, by sample id; returns saved views by kind of finding.

    Raises :class:`~facevlm.errors.FieldError` where the field of findings is somebody's own.
    """
    dataset = target._dataset
    # Somebody may have made a field of that name while the pictures were read.
    _check_own(dataset)
    _declare(dataset)
    updates = Updates(dataset, [FIELD])
    _clear(target, updates)
    had = dict(zip(*target.values(["id", "tags"]), strict=True))
    for chunk in _chunks(list(entries.items())):
        # Samples may have been deleted since they were read.
        documents = {one: _document(entry, had[one] or ()) for one, entry in chunk if one in had}
        updates.set({one: {FIELD: document} for one, document in documents.items()})
        updates.change(
            {
                one: {"$addToSet": {"tags": {"$each": list(document.tagged)}}}
                for one, document in documents.items()
                if document.tagged
            }
        )
    return _save_views(dataset)


def _document(entry: Entry, tags: Sequence[str]) -> fo.DynamicEmbeddedDocument:
    """The entry as it is stored; ``tagged`` are the findings that the sample's user had not tagged already."""
    return fo.DynamicEmbeddedDocument(
        findings=list(entry.findings),
        reasons=list(entry.reasons),
        tagged=[kind for kind in entry.findings if kind not in tags],
        group=entry.group,
        copy_of=entry.copy_of,
        distance=entry.distance,
    )


def _declare(dataset: fo.Dataset) -> None:
    lists = {f"{FIELD}.{name}": fo.ListField(fo.StringField()) for name in LISTS}
    predictions.add(
        dataset,
        {FIELD: predictions.document(fo.DynamicEmbeddedDocument, WHAT)} | lists | predictions.parts_of(FIELD, PARTS),
    )


def _clear(target: Collection, updates: Updates) -> None:
    """Take away what an earlier check left on these samples: its tags first, then its entries."""
    ids, tagged = target.match(F(FIELD) != None).values(["id", f"{FIELD}.tagged"])  # noqa: E711
    for one_after_other in _chunks(list(zip(ids, tagged, strict=True))):
        updates.change({one: {"$pullAll": {"tags": list(kinds)}} for one, kinds in one_after_other if kinds})
        updates.set({one: {FIELD: None} for one, _ in one_after_other})


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def view_name(kind: str) -> str:
    """The saved view of a kind of finding."""
    return f"{VIEW}{kind}"


def _save_views(dataset: fo.Dataset) -> dict[str, str]:
    """A view for every kind that the dataset holds, groups side by side; views of kinds that are gone are removed."""
    every = all_pictures(dataset)
    held = set(every.distinct(f"{FIELD}.findings"))
    saved = {}
    for kind in KINDS:
        name, meaning = view_name(kind), MEANING[kind].capitalize()
        if kind in held:
            saved[kind] = views.keep(dataset, name, _view(every, kind), meaning)
        else:
            views.drop(dataset, name, meaning)
    return saved


def _view(every: Collection, kind: str) -> Collection:
    if kind not in GROUPED:
        return every.match(F(f"{FIELD}.findings").contains(kind)).sort_by("filepath")
    # The first of identical pictures is at no fault, but has to stand beside its copies.
    chosen = F(f"{FIELD}.copy_of") != None if kind == DUPLICATE else F(f"{FIELD}.findings").contains(kind)  # noqa: E711
    return every.match(chosen).sort_by([(f"{FIELD}.group", 1), (f"{FIELD}.copy_of", 1), ("filepath", 1)])


def record(dataset: fo.Dataset, result: Mapping[str, Any]) -> None:
    """Keep the result with the dataset as the custom run ``facevlm_check``."""
    results.keep(dataset, RUN, METHOD, result)
