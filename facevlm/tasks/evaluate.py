"""Evaluate a model's answers against ground truth, and leave the result where the App finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facevlm import attributes as registry_module
from facevlm.attributes import Registry
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import FieldError, InputError, check_sizes
from facevlm.evaluation.evaluate import AttributeEvaluation
from facevlm.evaluation.evaluate import evaluate as evaluate_records
from facevlm.evaluation.intervals import DRAWS
from facevlm.evaluation.readings import Truth
from facevlm.store import evaluations, model_evaluation, predictions, results, runs, targets, workspace
from facevlm.store.rows import PictureRows, rows_of
from facevlm.types import Attribute

MOST_FIELDS = 6


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """Figures per attribute, and what was left in the dataset: evaluation keys, saved views of errors, the name of
    the workspace that shows them beside the grid, and fields.

    ``stages`` are those of the evaluated view as JSON text, ``faces`` is the Detections field of ground truth, None for
    whole pictures. By attribute, ``fields`` holds the paths of true and said labels, and ``becomes`` the common label
    of every predicted one.
    """

    eval_key: str
    evaluations: tuple[AttributeEvaluation, ...]
    ground_truth: Mapping[str, str]
    views: Mapping[str, str] = field(default_factory=dict)
    workspace: str = ""
    prefix: str = ""
    draws: int = DRAWS
    groups: Sequence[str] = ()
    bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    stages: str = "[]"
    faces: str | None = None
    fields: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    becomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        shares = [f"{e.attribute} {e.overall.accuracy:.1%} of {e.overall.n:,}" for e in self.evaluations]
        return f"<{type(self).__name__} {self.eval_key}: accuracy {', '.join(shares)}>"

    def __getitem__(self, attribute: str) -> AttributeEvaluation:
        for evaluation in self.evaluations:
            if attribute in (evaluation.predicted_attribute, evaluation.attribute):
                return evaluation
        raise KeyError(attribute)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "ground_truth": dict(self.ground_truth),
            "views": dict(self.views),
            "groups": list(self.groups),
            "bins": {name: list(edges) for name, edges in self.bins.items()},
            "fields": {name: dict(paths) for name, paths in self.fields.items()},
            "becomes": {name: dict(labels) for name, labels in self.becomes.items()},
            "evaluations": [e.to_dict() for e in self.evaluations],
        }


def predicted_attributes(target: targets.Collection, prefix: str, registry: Registry) -> list[str]:
    """Names of the attributes that have predictions under a prefix, on pictures or on faces."""
    return [n for n in registry.attributes if predictions.is_predicted(target, f"{prefix}_{n}")]


def evaluate(
    target: targets.Collection,
    attributes: Sequence[str | Attribute] | None = None,
    *,
    prefix: str = "demo",
    ground_truth: Mapping[str, str] | None = None,
    onto: Mapping[str, str] | None = None,
    groups: Sequence[str] | None = None,
    bins: Mapping[str, Sequence[float]] | None = None,
    faces: str | None = None,
    eval_key: str | None = None,
    draws: int = DRAWS,
    registry: Registry | None = None,
) -> EvaluationResult:
    """Compare predictions with ground truth, overall, per class, by every group and all groups together.

    Predictions that are Detections are judged face by face: each belongs to the ground truth's face whose id it
    carries, else to the one it overlaps most.

    Args:
        target: a FiftyOne dataset or view.
        attributes: by default all that have predictions under the prefix and a ground-truth field.
        prefix: the field prefix of the predictions.
        ground_truth: attribute name -> field of labels, strings, or ages in years, such as ``gender`` or
            ``faces.detections.gender``; by default found by name.
        onto: attribute name -> the coarser attribute on whose labels to compare, such as race7 -> race6; by default the
            finest that ground truth and predictions have in common.
        groups: fields to group by, ``tag:NAME`` for a tag; by default the ground truth of the evaluated attributes.
        bins: numeric group field -> the edges between its bins; by default quarters where there are many numbers.
        faces: for predictions on faces, the Detections field with ground truth; by default the only one.
        eval_key: FiftyOne evaluations are stored as ``<eval_key>_<attribute>``; by default ``<prefix>_eval``.
        draws: bootstrap draws behind the intervals of macro figures and gaps.
        registry: attributes of your own, from :func:`facevlm.attributes.load`.

    Raises:
        FacevlmError: for missing fields and label sets that do not map, saying what to do.
    """
    known = registry or registry_module.shipped()
    targets.check(target)
    check_sizes(draws=draws)
    key = predictions.field_name(eval_key, "x")[:-2] if eval_key else f"{prefix}_eval"
    wanted = _wanted(target, attributes, prefix, ground_truth or {}, known)
    rows = rows_of(target, [predictions.field_name(prefix, a.name) for a in wanted], faces)
    chosen = _with_truth(rows, wanted, attributes is not None, ground_truth or {}, known)
    rows.load(evaluations.paths(rows, prefix, chosen, [*(groups or ()), *(bins or ())]))
    _check_names("label sets", onto or {}, [a for a, _ in chosen])
    coarser = {name: known.get(wished) for name, wished in (onto or {}).items()}
    truths = {a.name: evaluations.read_truth(rows, f, a, known, coarser.get(a.name)) for a, f in chosen}
    by = _groups(rows, groups, truths, bins or {})
    judged = []
    for attribute, _ in chosen:
        truth = truths[attribute.name]
        reading = evaluations.read(rows, prefix, attribute, truth)
        records = reading.records(by, known.years.get(truth.alignment.common.name, ()))
        note = truth.alignment.describe(attribute.name)
        result = evaluate_records(
            truth.alignment.common, records, predicted_attribute=attribute.name, alignment=note, draws=draws
        )
        judged.append((attribute, reading, result))
    fields, views = model_evaluation.save(rows, key, judged)
    evaluated = EvaluationResult(
        key,
        tuple(evaluation for _, _, evaluation in judged),
        {a.name: f for a, f in chosen},
        views,
        workspace.save(target._dataset),
        prefix=prefix,
        draws=draws,
        groups=list(by),
        bins=bins or {},
        stages=targets.describe(target),
        faces=getattr(rows, "faces", None),
        fields=fields,
        becomes={name: truth.alignment.predicted for name, truth in truths.items()},
    )
    results.save(target._dataset, evaluated.to_dict())
    return evaluated


def _wanted(
    target: targets.Collection,
    attributes: Sequence[str | Attribute] | None,
    prefix: str,
    ground_truth: Mapping[str, str],
    registry: Registry,
) -> list[Attribute]:
    """The attributes to evaluate: those that were named, or all that have predictions."""
    predicted = predicted_attributes(target, prefix, registry)
    wanted = (
        [registry.get(name) for name in predicted]
        if attributes is None
        else resolve_attributes(attributes, registry=registry)
    )
    _check_names("ground truth", ground_truth, wanted)
    if not wanted:
        names = ", ".join(runs.prefixes(target._dataset)) or "none; apply a model first"
        raise FieldError(f"There are no predictions under the prefix '{prefix}'. Prefixes with predictions: {names}.")
    for attribute in wanted:
        predictions.require(target, predictions.field_name(prefix, attribute.name))
    return wanted


def _check_names(what: str, given: Mapping[str, str], wanted: Sequence[Attribute]) -> None:
    strange = sorted(set(given) - {a.name for a in wanted})
    if strange:
        raise InputError(f"Got {what} for {', '.join(strange)}, expected only {', '.join(a.name for a in wanted)}.")


def _with_truth(
    rows: PictureRows, wanted: Sequence[Attribute], named: bool, ground_truth: Mapping[str, str], registry: Registry
) -> list[tuple[Attribute, str]]:
    """Attributes with their ground-truth fields; one that was named must have one."""
    pairs = [(a, ground_truth.get(a.name) or evaluations.guess_truth(rows, a, registry)) for a in wanted]
    judged = [(a, f) for a, f in pairs if f is not None]
    missing = [a.name for a, f in pairs if f is None]
    if not judged or (named and missing):
        fields = ", ".join(evaluations.truth_fields(rows)) or "none"
        raise FieldError(
            f"No ground-truth field is known for {', '.join(missing)}. Fields that could be ground truth: {fields}. "
            f"Name one as {missing[0]}=FIELD."
        )
    return judged


def _groups(
    rows: PictureRows,
    fields: Sequence[str] | None,
    truths: Mapping[str, Truth],
    bins: Mapping[str, Sequence[float]],
) -> dict[str, Sequence[str | None]]:
    """Group values per row: the mapped labels where a field is ground truth, else the field's own or its bins."""
    mapped = {truth.field: truth.labels() for truth in truths.values() if truth.field not in bins}
    usual = list(mapped)[: max(0, MOST_FIELDS - len(bins))]
    names = list(dict.fromkeys([*(fields if fields is not None else usual), *bins]))
    if len(names) > MOST_FIELDS:
        raise InputError(
            f"Got {len(names)} fields to group by ({', '.join(names)}), expected at most {MOST_FIELDS}: every "
            "combination of them is a table of its own."
        )
    return {name: mapped.get(name) or evaluations.group_values(rows, name, bins.get(name)) for name in names}
