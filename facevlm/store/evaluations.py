"""Ground truth, groups and predictions out of a dataset, row by row, onto common label sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import fiftyone as fo

from facevlm.attributes import Alignment, Registry, align
from facevlm.errors import FieldError
from facevlm.evaluation.evaluate import MAX_GROUPS
from facevlm.evaluation.groups import binned
from facevlm.evaluation.readings import Reading, Truth, common_log_probs, on_common_labels, shares_of
from facevlm.store.predictions import field_name
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import CONFIDENCE, ID, LABEL, LOGITS, OUTCOME
from facevlm.types import Attribute

NUMBERS = (fo.IntField, fo.FloatField)
TRUTH_KINDS = (fo.StringField, *NUMBERS)
GROUP_KINDS = (*TRUTH_KINDS, fo.BooleanField)
MAPPED = "facevlm_mapped_from"
TAG = "tag:"
FEW = 12
"""Numbers with more different values than this are put into bins."""


def truth_fields(rows: PictureRows) -> list[str]:
    """Fields that may hold ground truth: labels, strings, numbers that facevlm did not write."""
    counts = {f"{key}_{what}" for key in rows.target._dataset.list_evaluations() for what in ("tp", "fp", "fn")}
    fields = []
    for name in rows.candidates(TRUTH_KINDS):
        predicted = rows.target.get_field(f"{name}.{OUTCOME}") is not None
        mapped = MAPPED in (rows.target.get_field(name).info or {})
        if not (name in counts or predicted or mapped):
            fields.append(name)
    return fields


def group_fields(rows: PictureRows) -> list[str]:
    """Fields to group by: those that may hold ground truth, and what other fields know about the faces."""
    return [*truth_fields(rows), *rows.elsewhere(GROUP_KINDS)]


def guess_truth(rows: PictureRows, attribute: Attribute, registry: Registry) -> str | None:
    """The field that by its name is the attribute's ground truth: attribute, family, or family with a common suffix."""
    known: dict[str, str] = {}
    for path in truth_fields(rows):
        known.setdefault(path.rpartition(".")[2], path)
    same = [a.name for a in registry.family(attribute.family)]
    family = attribute.family
    names = (attribute.name, f"{family}_group", family, *same, f"ground_truth_{family}", f"gt_{family}", f"{family}_gt")
    return next((known[name] for name in names if name in known), None)


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
            f"There is: {', '.join(known) or 'none'}."
        )
    values = rows.target.distinct(rows.value_path(field))
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


def group_values(rows: PictureRows, field: str, edges: Sequence[float] | None = None) -> list[str | None]:
    """One value per row to group by: a label, a string, a number, or with ``tag:NAME`` whether the sample has the tag.

    What another field of Detections knows about faces is that of the face which overlaps the row's most, or of the
    picture's only face. Numbers are put into bins between ``edges``; without, into quarters where there are more than
    ``FEW`` of them.

    Raises :class:`~facevlm.errors.FieldError` for a field that is missing or has too many values to be groups.
    """
    if field.startswith(TAG) and edges is None:
        name = field.removeprefix(TAG)
        return [name if name in tags else f"not {name}" for tags in rows.tags()]
    if field.startswith(TAG):
        raise FieldError(f"Got bins for '{field}', which holds no numbers.")
    known = [*rows.candidates(GROUP_KINDS), *rows.elsewhere(GROUP_KINDS)]
    if field not in known:
        raise FieldError(
            f"Group field '{field}' is not there or no label. There is: {', '.join(known) or 'none'}; {TAG}NAME groups "
            "by a tag."
        )
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
            f"Group field '{field}' has {distinct:,} different values, expected at most {MAX_GROUPS}. "
            "Choose a field with few values, or put the values into bins."
        )
    return values


def paths(rows: PictureRows, prefix: str, chosen: Sequence[tuple[Attribute, str]], groups: Sequence[str]) -> list[str]:
    """Of whole pictures, all that an evaluation reads, so that it can be read in one pass."""
    if isinstance(rows, FaceRows):
        return []
    fields = [field_name(prefix, attribute.name) for attribute, _ in chosen]
    answers = [f"{name}.{part}" for name in fields for part in (ID, LABEL, OUTCOME, CONFIDENCE, LOGITS)]
    known = set(rows.candidates(GROUP_KINDS))
    return ["id", *answers, *(rows.value_path(f) for f in (*(f for _, f in chosen), *groups) if f in known)]


def read(rows: PictureRows, prefix: str, attribute: Attribute, truth: Truth) -> Reading:
    """Ground truth and predictions of all rows."""
    name = field_name(prefix, attribute.name)
    answered, outcomes, confidence = rows.answers(name, LABEL, OUTCOME, CONFIDENCE)
    predicted = on_common_labels(name, answered, truth.alignment)
    log_probs = common_log_probs(rows.scores(name, len(attribute.labels)), attribute, truth.alignment)
    if log_probs is not None and any(label != to for label, to in truth.alignment.predicted.items()):
        # Where labels became one, the stored confidence is that of a part of it.
        confidence = shares_of(predicted, log_probs, truth.alignment.common.labels)
    return Reading(name, truth, truth.labels(), predicted, outcomes, confidence, log_probs, rows.extra(name))


def read_answers(
    rows: PictureRows, prefix: str, attribute: Attribute, alignment: Alignment
) -> tuple[list[str | None], list[str | None]]:
    """Answers on the common label set, and outcomes, of all rows in order."""
    name = field_name(prefix, attribute.name)
    answered, outcomes = rows.answers(name, LABEL, OUTCOME)
    return on_common_labels(name, answered, alignment), outcomes
