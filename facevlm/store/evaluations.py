"""Ground truth out of a dataset, and results back to where the App shows them.

Every attribute becomes a FiftyOne evaluation (Model Evaluation panel) with macro F1 as a custom metric, and a saved
view of its errors, the most confident first. Where ground truth is spelled or grouped otherwise than the predictions,
the mapped labels are written to a field ``<field>_as_<attribute>``, since the panel compares fields as they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors
import numpy as np
from fiftyone import ViewField as F
from fiftyone.utils.eval import base as eval_base

from facevlm.attributes import YEARS, Alignment, Registry, align
from facevlm.errors import FieldError
from facevlm.evaluation import MAX_GROUPS, AttributeEvaluation, Records
from facevlm.groups import binned
from facevlm.metrics import Floats
from facevlm.store.predictions import field_name
from facevlm.store.targets import Collection, field_names
from facevlm.types import Attribute

NUMBERS = (fo.IntField, fo.FloatField)
TRUTH_KINDS = (fo.StringField, *NUMBERS)
MACRO_F1 = "@facevlm/face-attributes/macro_f1"
MAPPED = "facevlm_mapped_from"
TAG = "tag:"
RESULTS = "facevlm-evaluation"
KEPT = "facevlm_"
"""Evaluation ``KEY`` keeps its figures as the run ``facevlm_KEY``."""
FEW = 12
"""Numbers with more different values than this are put into bins."""
SKIPPED = {"id", "filepath", "media_type", "sample_id"}


@dataclass(frozen=True)
class Truth:
    """Ground truth of one attribute: its field, its raw values in target order, and how it meets the predictions."""

    field: str
    values: Sequence[object]
    alignment: Alignment

    def labels(self) -> list[str | None]:
        """Values on the common label set."""
        return [self.alignment.to_truth(v) for v in self.values]


def truth_fields(target: Collection) -> list[str]:
    """Fields that may hold ground truth: labels, strings, numbers that facevlm did not write."""
    names = field_names(target, TRUTH_KINDS, labels=True)
    return [n for n in names if n not in SKIPPED and not _written_here(target, n)]


def _written_here(target: Collection, name: str) -> bool:
    """Whether the field holds predictions or mapped copies that facevlm wrote."""
    return target.get_field(f"{name}.outcome") is not None or MAPPED in (target.get_field(name).info or {})


def guess_truth(target: Collection, attribute: Attribute, registry: Registry) -> str | None:
    """The field that by its name is the attribute's ground truth: attribute, family, or family with a common suffix."""
    known = set(truth_fields(target))
    same = [a.name for a in registry.family(attribute.family)]
    family = attribute.family
    names = (attribute.name, f"{family}_group", family, *same, f"ground_truth_{family}", f"gt_{family}", f"{family}_gt")
    return next((name for name in names if name in known), None)


def alignment_of(
    target: Collection, field: str, attribute: Attribute, registry: Registry, onto: Attribute | None = None
) -> Alignment:
    """How a ground-truth field meets the predictions of an attribute, from its distinct values; on ``onto``, if given.

    Raises :class:`~facevlm.errors.FieldError` or :class:`~facevlm.errors.TaxonomyError`.
    """
    known = truth_fields(target)
    if field not in known:
        found = target.get_field(field)
        got = "not there" if found is None else f"a {type(found).__name__}"
        raise FieldError(
            f"Ground-truth field '{field}' is {got}; need Classification, string or number. "
            f"There is: {', '.join(known) or 'none'}."
        )
    values = target.distinct(_path(target, field))
    if not values:
        raise FieldError(f"Ground-truth field '{field}' is empty in this target; need labels of {attribute.name}.")
    return align(attribute, values, registry, onto)


def read_truth(
    target: Collection, field: str, attribute: Attribute, registry: Registry, onto: Attribute | None = None
) -> Truth:
    """Ground truth from a field of labels, strings or (ages) numbers.

    Raises :class:`~facevlm.errors.FieldError` or :class:`~facevlm.errors.TaxonomyError`.
    """
    alignment = alignment_of(target, field, attribute, registry, onto)
    return Truth(field, raw_values(target, field), alignment)


def _path(target: Collection, field: str) -> str:
    """Where a top-level field keeps its value: the label of a Classification, or the field itself."""
    return f"{field}.label" if getattr(target.get_field(field), "document_type", None) is not None else field


def raw_values(target: Collection, field: str) -> list[object]:
    """The labels, strings or numbers of a top-level field, in order."""
    values: list[object] = target.values(_path(target, field))
    return values


def group_values(target: Collection, field: str, edges: Sequence[float] | None = None) -> list[str | None]:
    """One value per sample to group by: a label, a string, a number, or with ``tag:NAME`` whether it has the tag.

    Numbers are put into bins between ``edges``; without, into quarters where there are more than ``FEW`` of them.
    Raises :class:`~facevlm.errors.FieldError` for a field that is missing or has too many values to be groups.
    """
    if field.startswith(TAG) and edges is None:
        name = field.removeprefix(TAG)
        return [name if name in tags else f"not {name}" for tags in target.values("tags")]
    if field.startswith(TAG):
        raise FieldError(f"Got bins for '{field}', which holds no numbers.")
    kinds = (*TRUTH_KINDS, fo.BooleanField)
    known = [n for n in field_names(target, kinds, labels=True) if n not in SKIPPED]
    found = target.get_field(field)
    if field not in known and (field in SKIPPED or not isinstance(found, kinds)):
        raise FieldError(
            f"Group field '{field}' is not there or no label. There is: {', '.join(known) or 'none'}; {TAG}NAME groups "
            "by a tag."
        )
    raw = [None if isinstance(v, float) and math.isnan(v) else v for v in raw_values(target, field)]
    if isinstance(found, NUMBERS) and (edges is not None or len(set(raw) - {None}) > FEW):
        return binned(field, raw, edges)  # type: ignore[arg-type]
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


def read_records(
    target: Collection,
    prefix: str,
    attribute: Attribute,
    truth: Truth,
    groups: Mapping[str, Sequence[str | None]],
    edges: Sequence[float] = (),
) -> Records:
    """Faces with ground truth and an outcome, brought onto the common label set; ``edges`` are those of age groups."""
    name = field_name(prefix, attribute.name)
    said, outcomes, logits = target.values([f"{name}.label", f"{name}.outcome", f"{name}.logits"])
    labels = truth.labels()
    _check_said(name, said, truth.alignment)
    kept = [k for k, (t, o) in enumerate(zip(labels, outcomes, strict=True)) if t is not None and o is not None]
    mapped = truth.alignment.predicted
    return Records(
        truth=[label for label in (labels[k] for k in kept) if label is not None],
        predicted=[None if said[k] is None else mapped[said[k]] for k in kept],
        outcomes=[outcomes[k] for k in kept],
        groups={by: [values[k] for k in kept] for by, values in groups.items()},
        not_asked=sum(1 for t, o in zip(labels, outcomes, strict=True) if t is not None and o is None),
        no_truth=sum(1 for t in labels if t is None),
        log_probs=_common_log_probs([logits[k] for k in kept], attribute, truth.alignment),
        years=[_year(truth.values[k]) for k in kept] if truth.alignment.truth_attribute == YEARS else None,
        edges=edges,
    )


def read_answers(
    target: Collection, prefix: str, attribute: Attribute, alignment: Alignment
) -> tuple[list[str | None], list[str | None]]:
    """Answers on the common label set, and outcomes, of all faces in order."""
    name = field_name(prefix, attribute.name)
    said, outcomes = target.values([f"{name}.label", f"{name}.outcome"])
    _check_said(name, said, alignment)
    return [None if label is None else alignment.predicted[label] for label in said], outcomes


def _year(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _common_log_probs(logits: Sequence[Any], attribute: Attribute, alignment: Alignment) -> Floats | None:
    """Log-probabilities of the common labels, (faces, labels), nan for a face without; None where no face has any.

    Labels that become one add their probabilities up.
    """
    known = [k for k, row in enumerate(logits) if row is not None and len(row) == len(attribute.labels)]
    if not known:
        return None
    given = np.asarray([logits[k] for k in known], dtype=float)
    at = np.array([alignment.common.labels.index(alignment.predicted[label]) for label in attribute.labels])
    table = np.full((len(logits), len(alignment.common.labels)), np.nan)
    columns = [np.logaddexp.reduce(given[:, at == k], axis=1) for k in range(table.shape[1])]
    table[known] = np.stack(columns, 1)
    return table


def _check_said(field: str, said: Sequence[str | None], alignment: Alignment) -> None:
    strange = sorted(set(said) - {None} - set(alignment.predicted), key=str)
    if strange:
        raise FieldError(
            f"Field '{field}' holds {', '.join(map(str, strange))}, expected only {', '.join(alignment.predicted)}. "
            "Were the predictions made with another definition of this attribute?"
        )


def save_native(
    target: Collection, prefix: str, attribute: Attribute, truth: Truth, eval_key: str, result: AttributeEvaluation
) -> str:
    """Store the attribute's result as a FiftyOne evaluation; returns the name of the saved view of its errors."""
    dataset = target._dataset
    predicted, common = field_name(prefix, attribute.name), truth.alignment.common
    gt_field = _as_common(target, truth.field, truth.values, truth.labels(), common.name)
    pred_field = predicted
    if any(k != v for k, v in truth.alignment.predicted.items()):
        pred_field = _mapped_predictions(target, predicted, truth.alignment)
    key = f"{eval_key}_{attribute.name}"
    if dataset.has_evaluation(key):
        dataset.delete_evaluation(key)
    view = target.match((F(f"{gt_field}.label") != None) & (F(f"{predicted}.outcome") != None))  # noqa: E711
    labels = [row.label for row in result.classes]
    native = view.evaluate_classifications(pred_field, gt_field=gt_field, eval_key=key, classes=labels, progress=False)
    keep_custom_metrics()
    native.custom_metrics = {
        MACRO_F1: {"key": "macro_f1", "value": result.overall.f1, "label": "Macro F1", "lower_is_better": False}
    }
    native.save()
    name = f"{key}_errors"
    errors = view.match(F(key) == False).sort_by(f"{predicted}.confidence", reverse=True)  # noqa: E712
    dataset.save_view(name, errors, description=f"Errors of {predicted}, the most confident first", overwrite=True)
    return name


def _as_common(
    target: Collection, field: str, values: Sequence[object], labels: Sequence[str | None], common: str
) -> str:
    """The field itself if it holds Classifications spelled as the common label set, else a mapped copy."""
    if field in field_names(target, labels=True) and list(values) == list(labels):
        return field
    name = f"{field}_as_{common}"
    rows = [None if label is None else fo.Classification(label=label) for label in labels]
    _write_copy(target, name, rows, f"{field}, brought onto the labels of {common}")
    return name


def _mapped_predictions(target: Collection, field: str, alignment: Alignment) -> str:
    name = f"{field}_as_{alignment.common.name}"
    said, confidence = target.values([f"{field}.label", f"{field}.confidence"])
    rows = [
        None if label is None else fo.Classification(label=alignment.predicted[label], confidence=sure)
        for label, sure in zip(said, confidence, strict=True)
    ]
    _write_copy(target, name, rows, f"{field}, brought onto the labels of {alignment.common.name}")
    return name


def _write_copy(target: Collection, name: str, rows: Sequence[fo.Classification | None], what: str) -> None:
    dataset = target._dataset
    if dataset.get_field(name) is None:
        dataset.add_sample_field(
            name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification, description=what, info={MAPPED: what}
        )
    dataset.set_values(
        name, dict(zip(target.values("id"), rows, strict=True)), key_field="id", validate=False, progress=False
    )


def save_results(dataset: fo.Dataset, key: str, results: Mapping[str, Any], *, method: str = RESULTS) -> None:
    """Keep all figures with the dataset as a FiftyOne custom run, for later reports."""
    if dataset.has_run(key):
        dataset.delete_run(key)
    dataset.register_run(key, fors.RunConfig(method=method))
    dataset.save_run_results(key, dataset.init_run_results(key, **results), cache=False)


def eval_keys(dataset: fo.Dataset) -> list[str]:
    """Keys of the evaluations whose figures are kept with a dataset, oldest first."""
    found = []
    for key in dataset.list_runs():
        info = dataset.get_run_info(key)
        if info.config.method == RESULTS:
            found.append((info.timestamp, key.removeprefix(KEPT)))
    return [key for _, key in sorted(found)]


def load_results(dataset: fo.Dataset, eval_key: str) -> dict[str, Any]:
    """All figures of an evaluation as plain data, as ``EvaluationResult.to_dict`` gives them.

    Raises :class:`~facevlm.errors.FieldError` where no such figures are kept.
    """
    known = eval_keys(dataset)
    kept = None
    if eval_key in known:
        # Read anew: another process may have evaluated again under the same key.
        kept = dataset.load_run_results(f"{KEPT}{eval_key}", cache=False, load_view=False)
    if kept is None:
        raise FieldError(
            f"Dataset '{dataset.name}' keeps no figures of the evaluation '{eval_key}'. There is: "
            f"{', '.join(known) or 'none'}. Run 'Evaluate face attributes against ground truth', or facevlm.evaluate."
        )
    return {name: getattr(kept, name) for name in ("eval_key", "ground_truth", "views", "evaluations")}


def keep_custom_metrics() -> None:
    """Let custom metrics of multi-class results survive a reload, which FiftyOne 1.22 drops.

    ``BaseClassificationResults._from_dict`` does not hand ``custom_metrics`` on. The wrapper puts them back and does
    nothing where FiftyOne does it itself.
    """
    original = eval_base.BaseClassificationResults.__dict__["_from_dict"].__func__
    if getattr(original, "_facevlm", False):
        return

    @functools.wraps(original)
    def restored(cls: Any, d: Any, *args: Any, **kwargs: Any) -> Any:
        results = original(cls, d, *args, **kwargs)
        if results.custom_metrics is None:
            results.custom_metrics = d.get("custom_metrics")
        return results

    restored._facevlm = True  # type: ignore[attr-defined]
    eval_base.BaseClassificationResults._from_dict = classmethod(restored)
