"""Ground truth, groups and predictions out of a dataset, row by row, onto common label sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import fiftyone as fo

from facevlm.attributes import Alignment, Registry, align, canonical, fold
from facevlm.errors import FieldError, TaxonomyError, meant
from facevlm.evaluation.evaluate import MAX_GROUPS
from facevlm.evaluation.groups import binned
from facevlm.evaluation.readings import Reading, Truth, common_log_probs, on_common_labels, shares_of
from facevlm.store import provenance
from facevlm.store.predictions import field_name
from facevlm.store.provenance import Answered
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import CONFIDENCE, ID, LABEL, LOGITS, OUTCOME, RUN
from facevlm.store.targets import holds_answers
from facevlm.types import Attribute

NUMBERS = (fo.IntField, fo.FloatField)
TRUTH_KINDS = (fo.StringField, *NUMBERS)
GROUP_KINDS = (*TRUTH_KINDS, fo.BooleanField)
MAPPED = "facevlm_mapped_from"
TAG = "tag:"
PLAIN = ("yes", "no", "true", "false", "y", "n", "none", "unknown")
"""What is a label of many things, and tells of none which it is of."""
FEW = 12
"""Numbers with more different values than this are put into bins."""


def truth_fields(rows: PictureRows) -> list[str]:
    """Fields that may hold ground truth: labels, strings, numbers that facevlm did not write."""
    counts = {f"{key}_{what}" for key in rows.target._dataset.list_evaluations() for what in ("tp", "fp", "fn")}
    fields = []
    for name in rows.candidates(TRUTH_KINDS):
        predicted = holds_answers(rows.target, name, OUTCOME)
        mapped = MAPPED in (rows.target.get_field(name).info or {})
        if not (name in counts or predicted or mapped):
            fields.append(name)
    return fields


def group_fields(rows: PictureRows) -> list[str]:
    """Fields to group by: those that may hold ground truth, and what other fields know about the faces."""
    return [*truth_fields(rows), *rows.elsewhere(GROUP_KINDS)]


def guess_truth(rows: PictureRows, attribute: Attribute, registry: Registry) -> str | None:
    """The field that by its name is the attribute's ground truth: attribute, family, or family with a common suffix.

    Where no name says so, the only field whose labels are of the attribute's family; None where there are several.
    """
    known: dict[str, str] = {}
    for path in truth_fields(rows):
        known.setdefault(path.rpartition(".")[2], path)
    same = [a.name for a in registry.family(attribute.family)]
    family = attribute.family
    names = (attribute.name, f"{family}_group", family, *same, f"ground_truth_{family}", f"gt_{family}", f"{family}_gt")
    by_name = next((known[name] for name in names if name in known), None)
    if by_name is not None:
        return by_name
    by_labels = [path for path in known.values() if _is_about(rows, path, attribute, registry)]
    return by_labels[0] if len(by_labels) == 1 else None


def _is_about(rows: PictureRows, field: str, attribute: Attribute, registry: Registry) -> bool:
    """Whether what a field holds can be nothing but labels of the attribute's family: no numbers, no yes and no, and
    no labels that another family has, too."""
    values = rows.distinct(rows.value_path(field))
    if not values or any(not isinstance(v, str) or fold(v) in PLAIN or v.strip().isdigit() for v in values):
        return False
    try:
        align(attribute, values, registry)
    except TaxonomyError:
        return False
    others = (a for a in registry.attributes.values() if a.family != attribute.family)
    return not any(all(canonical(other, v) is not None for v in values) for other in others)


def alignment_of(
    rows: PictureRows, field: str, attribute: Attribute, registry: Registry, onto: Attribute | None = None
) -> Alignment:
    """How a ground-truth field meets the predictions of an attribute, from its distinct values; on ``onto``, if given.

    Raises :class:`~facevlm.errors.FieldError` or :class:`~facevlm.errors.TaxonomyError`.
    """
    known = truth_fields(rows)
    if field not in known:
        stored = rows.target.get_field(field)
        got = "not there" if stored is None else f"a {type(stored).__name__}"
        raise FieldError(
            f"Ground-truth field '{field}' is {got}; need Classification, string or number. "
            f"There is: {', '.join(known) or 'none'}.{meant(field, known)}"
        )
    values = rows.distinct(rows.value_path(field))
    if not values:
        raise FieldError(f"Ground-truth field '{field}' is empty in this target; need labels of {attribute.name}.")
    return align(attribute, values, registry, onto)


def read_truth(
    rows: PictureRows, field: str, attribute: Attribute, registry: Registry, onto: Attribute | None = None
) -> Truth:
    """Ground truth from a field of labels, strings or (ages) numbers.

    Raises :class:`~facevlm.errors.FieldError` or :class:`~facevlm.errors.TaxonomyError`.
    """
    alignment = alignment_of(rows, field, attribute, registry, onto)
    return Truth(field, raw_values(rows, field), alignment)


def raw_values(rows: PictureRows, field: str) -> list[Any]:
    """The labels, strings or numbers of a field, in order."""
    return rows.values(rows.value_path(field))


def is_there(rows: PictureRows, field: str) -> bool:
    """Whether there is such a field to group by."""
    return field in [*rows.candidates(GROUP_KINDS), *rows.elsewhere(GROUP_KINDS)]


def group_values(
    rows: PictureRows, field: str, edges: Sequence[float] | None = None, what: str = "Group field"
) -> list[str | None]:
    """One value per row to group by: a label, a string, a number, or with ``tag:NAME`` whether the sample has the tag.

    What another field of Detections knows about faces is that of the face which overlaps the row's most, or of the
    picture's only face. Numbers are put into bins between ``edges``; without, into quarters where there are more than
    ``FEW`` of them. ``what`` is what messages call the field.

    Raises :class:`~facevlm.errors.FieldError` for a field that is missing, has too many values to be groups, or holds
    the answers of several runs.
    """
    if field.startswith(TAG) and edges is None:
        name = field.removeprefix(TAG)
        return [name if name in tags else f"not {name}" for tags in rows.tags()]
    if field.startswith(TAG):
        raise FieldError(f"Got bins for '{field}', which holds no numbers.")
    known = [*rows.candidates(GROUP_KINDS), *rows.elsewhere(GROUP_KINDS)]
    if field not in known:
        raise FieldError(
            f"{what} '{field}' is not there or no label. There is: {', '.join(known) or 'none'}; {TAG}NAME groups "
            f"by a tag.{meant(field, known)}"
        )
    require_one_run(rows, field)
    raw = [None if isinstance(v, float) and math.isnan(v) else v for v in raw_values(rows, field)]
    numbers = isinstance(rows.target.get_field(field), NUMBERS)
    if numbers and (edges is not None or len(set(raw) - {None}) > FEW):
        return binned(field, raw, edges)
    if edges is not None:
        raise FieldError(f"Got bins for '{field}', which holds no numbers.")
    values = [None if v is None else str(v) for v in raw]
    distinct = len(set(values) - {None})
    if distinct > MAX_GROUPS:
        raise FieldError(
            f"{what} '{field}' has {distinct:,} different values, expected at most {MAX_GROUPS}. "
            "Choose a field with few values, or put the values into bins."
        )
    return values


def require_one_run(rows: PictureRows, field: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field to group by holds the answers of several runs."""
    parts = [f"{field}.{part}" for part in (RUN, OUTCOME)]
    if all(rows.target.get_field(part) is not None for part in parts):
        rows.load(parts)
        stamps, outcomes = map(rows.values, parts)
        provenance.require_one_beside(rows.target._dataset, field, stamps, outcomes)


def cluster_values(rows: PictureRows, field: str, truths: Sequence[str] = ()) -> list[Any]:
    """One value per row of a field by which rows go together, such as the person; None where it has none.

    ``truths`` are the fields of ground truth. Raises :class:`~facevlm.errors.FieldError` for a field that is missing,
    is ground truth, has one value for all rows, or holds the answers of several runs.
    """
    known = [*rows.candidates(GROUP_KINDS), *rows.elsewhere(GROUP_KINDS)]
    if field not in known:
        raise FieldError(
            f"Field of clusters '{field}' is not there or holds no values. Expected a field that says which faces "
            f"belong together, such as the person. There is: {', '.join(known) or 'none'}.{meant(field, known)}"
        )
    if field in truths:
        raise FieldError(
            f"Got the ground truth '{field}' as clusters, expected the field that says which faces belong together, "
            "such as the person: faces with one true label are no cluster. Name another field, or leave it out."
        )
    require_one_run(rows, field)
    values = [None if isinstance(v, float) and math.isnan(v) else v for v in raw_values(rows, field)]
    different = set(values) - {None}
    if len(different) + values.count(None) < 2:
        got = f"one value, '{next(iter(different))}', for all faces" if different else "no value for any face"
        raise FieldError(
            f"Field of clusters '{field}' has {got}, expected one that tells persons apart: of one person alone "
            "nothing follows for others. Name another field, or leave it out."
        )
    return values


def paths(rows: PictureRows, prefix: str, chosen: Sequence[tuple[Attribute, str]], groups: Sequence[str]) -> list[str]:
    """Of whole pictures, all that an evaluation reads, so that it can be read in one pass."""
    if isinstance(rows, FaceRows):
        return []
    fields = [field_name(prefix, attribute.name) for attribute, _ in chosen]
    answers = [f"{name}.{part}" for name in fields for part in (ID, LABEL, OUTCOME, CONFIDENCE, LOGITS, RUN)]
    known = set(rows.candidates(GROUP_KINDS))
    ids = [f"{field}.{ID}" for _, field in chosen if rows.value_path(field) != field]
    return ["id", *answers, *ids, *(rows.value_path(f) for f in (*(f for _, f in chosen), *groups) if f in known)]


def read(
    rows: PictureRows, prefix: str, attribute: Attribute, truth: Truth, runs: Sequence[str] = ()
) -> tuple[Reading, Answered | None]:
    """Ground truth and predictions of all rows, and the run that made these.

    Predictions are those of one run: where the field holds those of several, of the one that ``runs`` names, and what
    others answered counts as not asked. Raises :class:`~facevlm.errors.FieldError` where that is not known.
    """
    name = field_name(prefix, attribute.name)
    answered, outcomes, confidence, stamps = rows.answers(name, LABEL, OUTCOME, CONFIDENCE, RUN)
    by = provenance.of_one_run(rows.target._dataset, name, stamps, outcomes, runs)
    scores = rows.scores(name, len(attribute.labels))
    others = _of_others(by, stamps)
    if others:
        # Copies: what was read is kept by the rows and asked for again.
        answered, outcomes, confidence = map(list, (answered, outcomes, confidence))
    for k in others:
        answered[k] = outcomes[k] = confidence[k] = None
        scores[k] = math.nan
    predicted = on_common_labels(name, answered, truth.alignment)
    log_probs = common_log_probs(scores, attribute, truth.alignment)
    if log_probs is not None and any(label != to for label, to in truth.alignment.predicted.items()):
        # Where labels became one, the stored confidence is that of a part of it.
        confidence = shares_of(predicted, log_probs, truth.alignment.common.labels)
    run = by.run if by is not None and others else None
    reading = Reading(name, truth, truth.labels(), predicted, outcomes, confidence, log_probs, rows.extra(name), run)
    return reading, by


def _of_others(by: Answered | None, stamps: Sequence[str | None]) -> list[int]:
    """Rows that another run than the one whose answers are read answered."""
    return [k for k, stamp in enumerate(stamps) if by is not None and stamp not in (by.run, None)]


def read_answers(
    rows: PictureRows, prefix: str, attribute: Attribute, alignment: Alignment
) -> tuple[list[str | None], list[str | None]]:
    """Answers on the common label set, and outcomes, of all rows in order.

    Raises :class:`~facevlm.errors.FieldError` where they are not those of one run.
    """
    name = field_name(prefix, attribute.name)
    answered, outcomes, stamps = rows.answers(name, LABEL, OUTCOME, RUN)
    provenance.of_one_run(rows.target._dataset, name, stamps, outcomes)
    return on_common_labels(name, answered, alignment), outcomes
