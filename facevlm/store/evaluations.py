"""Ground truth, groups and predictions out of a dataset, row by row, onto common label sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np

from facevlm.attributes import YEARS, Alignment, Registry, align
from facevlm.errors import FieldError
from facevlm.evaluation.evaluate import MAX_GROUPS, Records
from facevlm.evaluation.groups import binned
from facevlm.evaluation.metrics import Floats
from facevlm.store.predictions import field_name
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.targets import Collection
from facevlm.types import Attribute

NUMBERS = (fo.IntField, fo.FloatField)
TRUTH_KINDS = (fo.StringField, *NUMBERS)
GROUP_KINDS = (*TRUTH_KINDS, fo.BooleanField)
MAPPED = "facevlm_mapped_from"
TAG = "tag:"
FEW = 12
"""Numbers with more different values than this are put into bins."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of one attribute: its field, its raw values row by row, and how it meets the predictions."""

    field: str
    values: Sequence[object]
    alignment: Alignment

    def labels(self) -> list[str | None]:
        """Values on the common label set."""
        known = {value: self.alignment.to_truth(value) for value in set(self.values)}
        return [known[value] for value in self.values]


@dataclass(frozen=True)
class Reading:
    """One attribute's ground truth and predictions, row by row, on the common label set.

    ``log_probs`` are (rows, labels), nan in a row without scores, None where no row has any; ``confidence`` is that of
    ``said``. ``extra`` predictions belong to no row.
    """

    field: str
    truth: Truth
    labels: Sequence[str | None]
    said: Sequence[str | None]
    outcomes: Sequence[str | None]
    confidence: Sequence[float | None]
    log_probs: Floats | None
    extra: int = 0

    @property
    def judged(self) -> list[int]:
        """The rows with ground truth and an outcome."""
        pairs = enumerate(zip(self.labels, self.outcomes, strict=True))
        return [k for k, (label, outcome) in pairs if label is not None and outcome is not None]

    def records(self, groups: Mapping[str, Sequence[str | None]], edges: Sequence[float] = ()) -> Records:
        """The judged rows as they are evaluated; ``edges`` are those of age groups."""
        kept = self.judged
        in_years = self.truth.alignment.truth_attribute == YEARS
        return Records(
            truth=[str(self.labels[k]) for k in kept],
            predicted=[self.said[k] for k in kept],
            outcomes=[str(self.outcomes[k]) for k in kept],
            groups={by: [values[k] for k in kept] for by, values in groups.items()},
            not_asked=sum(label is not None for label in self.labels) - len(kept),
            no_truth=sum(label is None for label in self.labels),
            extra=self.extra,
            log_probs=None if self.log_probs is None else self.log_probs[kept],
            years=[_year(self.truth.values[k]) for k in kept] if in_years else None,
            edges=edges,
        )


def truth_fields(rows: PictureRows) -> list[str]:
    """Fields that may hold ground truth: labels, strings, numbers that facevlm did not write."""
    counts = {f"{key}_{what}" for key in rows.target._dataset.list_evaluations() for what in ("tp", "fp", "fn")}
    return [n for n in rows.candidates(TRUTH_KINDS) if n not in counts and not _written_here(rows.target, n)]


def group_fields(rows: PictureRows) -> list[str]:
    """Fields to group by: those that may hold ground truth, and what other fields know about the faces."""
    return [*truth_fields(rows), *rows.elsewhere(GROUP_KINDS)]


def _written_here(target: Collection, name: str) -> bool:
    """Whether the field holds predictions or mapped copies that facevlm wrote."""
    return target.get_field(f"{name}.outcome") is not None or MAPPED in (target.get_field(name).info or {})


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
        found = rows.target.get_field(field)
        got = "not there" if found is None else f"a {type(found).__name__}"
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
    said = [f"{name}.{part}" for name in fields for part in ("id", "label", "outcome", "confidence", "logits")]
    known = set(rows.candidates(GROUP_KINDS))
    return ["id", *said, *(rows.value_path(f) for f in (*(f for _, f in chosen), *groups) if f in known)]


def read(rows: PictureRows, prefix: str, attribute: Attribute, truth: Truth) -> Reading:
    """Ground truth and predictions of all rows."""
    name = field_name(prefix, attribute.name)
    said, outcomes, confidence = rows.answers(name, "label", "outcome", "confidence")
    mapped = truth.alignment.predicted
    _check_said(name, said, truth.alignment)
    common = [None if label is None else mapped[label] for label in said]
    log_probs = _common_log_probs(rows.scores(name, len(attribute.labels)), attribute, truth.alignment)
    if log_probs is not None and any(label != to for label, to in mapped.items()):
        confidence = _shares_of(common, log_probs, truth.alignment.common.labels)
    return Reading(name, truth, truth.labels(), common, outcomes, confidence, log_probs, rows.extra(name))


def read_answers(
    rows: PictureRows, prefix: str, attribute: Attribute, alignment: Alignment
) -> tuple[list[str | None], list[str | None]]:
    """Answers on the common label set, and outcomes, of all rows in order."""
    name = field_name(prefix, attribute.name)
    said, outcomes = rows.answers(name, "label", "outcome")
    _check_said(name, said, alignment)
    return [None if label is None else alignment.predicted[label] for label in said], outcomes


def _year(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _common_log_probs(given: Floats, attribute: Attribute, alignment: Alignment) -> Floats | None:
    """Log-probabilities (rows, labels) of the common labels; None where no row has any.

    Labels that become one add their probabilities up.
    """
    known = np.flatnonzero(~np.isnan(given).any(1))
    if not len(known):
        return None
    labels = alignment.common.labels
    at = np.array([labels.index(alignment.predicted[label]) for label in attribute.labels])
    table = np.full((len(given), len(labels)), np.nan)
    table[known] = np.stack([np.logaddexp.reduce(given[known][:, at == k], axis=1) for k in range(len(labels))], 1)
    return table


def _shares_of(said: Sequence[str | None], log_probs: Floats, labels: Sequence[str]) -> list[float | None]:
    """The probability of what was said, None for no answer and for one without scores."""
    place = {label: k for k, label in enumerate(labels)}
    shares = np.exp(log_probs[np.arange(len(said)), [0 if s is None else place[s] for s in said]])
    there = np.isfinite(shares).tolist()
    return [v if s is not None and ok else None for s, v, ok in zip(said, shares.tolist(), there, strict=True)]


def _check_said(field: str, said: Sequence[str | None], alignment: Alignment) -> None:
    strange = sorted(set(said) - {None} - set(alignment.predicted), key=str)
    if strange:
        raise FieldError(
            f"Field '{field}' holds {', '.join(map(str, strange))}, expected only {', '.join(alignment.predicted)}. "
            "Were the predictions made with another definition of this attribute?"
        )
