"""Evaluate a model's answers against ground truth, and leave the result where the App finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import Unpack

from facevlm import attributes as registry_module
from facevlm.attributes import Registry
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import FieldError, InputError, check_sizes
from facevlm.evaluation import sets
from facevlm.evaluation.evaluate import AttributeEvaluation
from facevlm.evaluation.evaluate import evaluate as evaluate_records
from facevlm.evaluation.intervals import DRAWS
from facevlm.evaluation.readings import Truth
from facevlm.reports import notebook
from facevlm.store import (
    evaluations,
    model_evaluation,
    predictions,
    provenance,
    results,
    reviews,
    targets,
    workspace,
)
from facevlm.store import runs as run_records
from facevlm.store.rows import PictureRows, rows_of
from facevlm.tasks._options import DesignOptions, takes_options
from facevlm.tasks._verb import verb
from facevlm.tasks.review import warning_of
from facevlm.types import Attribute

MOST_FIELDS = 6


@dataclass(frozen=True, repr=False)
class EvaluationResult(Mapping[str, AttributeEvaluation]):
    """Figures per attribute, and what was left in the dataset: evaluation keys, saved views of errors, the name of
    the workspace that shows them beside the grid, and fields.

    ``stages`` are those of the evaluated view as JSON text, ``faces`` is the Detections field of ground truth, None for
    whole pictures. By attribute, ``fields`` holds the paths of true and said labels, ``becomes`` the common label of
    every predicted one, and ``answered_by`` whose answers were judged: ``run``, ``model``, ``n``, and how they came
    about. ``warnings`` say what the figures are not. ``adjust`` are the fields by which groups are adjusted, and
    ``cluster`` is that by which faces go together.

    It is a mapping from the names of the predicted attributes to their evaluations; the names of the labels' sets that
    they were compared in are understood, too.
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
    answered_by: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    adjust: Sequence[str] = ()
    cluster: str | None = None

    def __repr__(self) -> str:
        shares = [f"{e.attribute} {e.overall.accuracy:.1%} of {e.overall.n:,}" for e in self.evaluations]
        return f"<{type(self).__name__} {self.eval_key}: accuracy {', '.join(shares)}>"

    def __getitem__(self, attribute: str) -> AttributeEvaluation:
        for evaluation in self.evaluations:
            if attribute in (evaluation.predicted_attribute, evaluation.attribute):
                return evaluation
        raise KeyError(f"{attribute} was not evaluated, only {', '.join(self)}")

    def __contains__(self, attribute: object) -> bool:
        return any(attribute in (e.predicted_attribute, e.attribute) for e in self.evaluations)

    def __iter__(self) -> Iterator[str]:
        return iter([evaluation.predicted_attribute for evaluation in self.evaluations])

    def __len__(self) -> int:
        return len(self.evaluations)

    @property
    def shown(self) -> list[str]:
        """The field whose labels tell ground truth and answer of the first attribute in one."""
        told = [paths.get("told") for paths in self.fields.values()]
        return [name for name in told if name is not None][:1]

    def _repr_html_(self) -> str:
        return notebook.evaluation_html(f"Evaluation {self.eval_key}", self.evaluations, self.warnings)

    def to_dataframe(self) -> Any:
        """A pandas data frame with a row for each attribute and group: ``attribute``, ``by``, ``group``, ``n``, how
        many were ``answered``, and all figures with the ends of their intervals, as shares of 1."""
        import pandas

        return pandas.DataFrame(notebook.evaluation_rows(self.evaluations))

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
            "answered_by": {name: dict(by) for name, by in self.answered_by.items()},
            "warnings": list(self.warnings),
            "adjust": list(self.adjust),
            "evaluations": [e.to_dict() for e in self.evaluations],
        }


def predicted_attributes(target: targets.Collection, prefix: str, registry: Registry) -> list[str]:
    """Names of the attributes that have predictions under a prefix, on pictures or on faces."""
    return [n for n in registry.attributes if predictions.is_predicted(target, f"{prefix}_{n}")]


@verb
@takes_options(DesignOptions)
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
    runs: Sequence[str] = (),
    **design: Unpack[DesignOptions],
) -> EvaluationResult:
    """Compare predictions with ground truth, overall, per class, by every group and all groups together.

    Predictions that are Detections are judged face by face: each belongs to the ground truth's face whose id it
    carries, else to the one it overlaps most.

    Args:
        target: a FiftyOne dataset or view.
        attributes: by default all that have predictions under the prefix and a ground-truth field.
        prefix: the field prefix of the predictions.
        ground_truth: attribute name -> field of labels, strings, or ages in years, such as ``gender`` or
            ``faces.detections.gender``; by default found by name, or as the only field with labels of the attribute. Of
            a field that :func:`facevlm.review` made, ``warnings`` say how many labels were approved by a threshold, or
            chosen for the model's doubt.
        onto: attribute name -> the coarser attribute on whose labels to compare, such as race7 -> race6; by default the
            finest that ground truth and predictions have in common.
        groups: fields to group by, ``tag:NAME`` for a tag; by default the ground truth of the evaluated attributes.
        bins: numeric group field -> the edges between its bins; by default quarters where there are many numbers.
        faces: for predictions on faces, the Detections field with ground truth; by default the only one.
        eval_key: FiftyOne evaluations are stored as ``<eval_key>_<attribute>``; by default ``<prefix>_eval``.
        draws: bootstrap draws behind the intervals of macro figures and gaps.
        registry: attributes of your own, from :func:`facevlm.attributes.load`.
        runs: where a field holds answers of several models or prompts, as after ``overwrite`` of a part: whose answers
            are evaluated, by the model's name, with or without its ``openai:`` or ``hf:``, or the run's stamp; one for
            each attribute. The other faces count as not asked. By default such a field is refused.
        {options}

    Raises:
        FacevlmError: for missing fields, label sets that do not map, and answers of several runs, saying what to do.
    """
    known = registry or registry_module.shipped()
    target = targets.check(target)
    check_sizes(draws=draws)
    wanted_sets = design.get("sets")
    if wanted_sets is not None:
        sets.check(wanted_sets)
    if eval_key is not None:
        predictions.check_name("eval_key=", eval_key, "demo_eval")
    key = f"{prefix}_eval" if eval_key is None else eval_key
    wanted = _wanted(target, attributes, prefix, ground_truth or {}, known)
    rows = rows_of(target, [predictions.field_name(prefix, a.name) for a in wanted], faces)
    chosen = _with_truth(rows, wanted, attributes is not None, ground_truth or {}, known)
    adjust, cluster = _names(design.get("adjust")), design.get("cluster")
    rows.load(
        evaluations.paths(rows, prefix, chosen, [*(groups or ()), *(bins or ()), *adjust, *filter(None, [cluster])])
    )
    _check_names("label sets", onto or {}, [a for a, _ in chosen])
    coarser = {name: known.get(wished) for name, wished in (onto or {}).items()}
    check_key(rows, key, {a.name: predictions.field_name(prefix, a.name) for a, _ in chosen})
    truths = {a.name: evaluations.read_truth(rows, f, a, known, coarser.get(a.name)) for a, f in chosen}
    strata = _strata(rows, adjust, truths, bins or {}, groups or ())
    by = _groups(rows, groups, truths, {name: b for name, b in (bins or {}).items() if name not in adjust})
    clusters = (cluster, _clusters(rows, cluster, truths)) if cluster else None
    judged, answered_by, warnings = [], {}, []
    for attribute, field_of_truth in chosen:
        truth = truths[attribute.name]
        reading, run = evaluations.read(rows, prefix, attribute, truth, runs)
        answered_by[attribute.name] = provenance.told(target._dataset, run)
        warnings += _of_reviews(rows, field_of_truth, run)
        records = reading.records(by, known.years.get(truth.alignment.common.name, ()), strata, clusters)
        note = truth.alignment.describe(attribute.name)
        result = evaluate_records(
            truth.alignment.common,
            records,
            predicted_attribute=attribute.name,
            alignment=note,
            draws=draws,
            sets=wanted_sets,
        )
        if wanted_sets is not None and result.confidence is None:
            warnings.append(f"There are no label sets of {attribute.name}: none of its answers has scores.")
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
        answered_by=answered_by,
        warnings=warnings,
        adjust=list(strata),
        cluster=cluster,
    )
    results.save(target._dataset, evaluated.to_dict())
    return evaluated


def _of_reviews(rows: PictureRows, truth: str, run: provenance.Answered | None) -> list[str]:
    """The warning, if any, about ground truth that a review of predictions made."""
    counts = reviews.reviews_in(rows, truth)
    warning = None if counts is None else warning_of(truth, counts, run.run if run else None)
    return [] if warning is None else [warning]


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
    if not wanted:
        names = ", ".join(run_records.prefixes(target._dataset)) or "none; apply a model first"
        raise FieldError(f"There are no predictions under the prefix '{prefix}'. Prefixes with predictions: {names}.")
    _check_names("ground truth", ground_truth, wanted)
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


def check_key(rows: PictureRows, key: str, fields: Mapping[str, str]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for a key that makes no name, or under which something of another kind
    is stored; ``fields`` maps the attributes that are to be evaluated to their predictions."""
    predictions.field_name(key, "x")
    model_evaluation.check(rows, key, fields)


def check_groups(names: Sequence[str]) -> None:
    """Raise :class:`~facevlm.errors.InputError` for more fields to group by than their crossing can be shown for."""
    if len(names) > MOST_FIELDS:
        raise InputError(
            f"Got {len(names)} fields to group by ({', '.join(names)}), expected at most {MOST_FIELDS}: every "
            "combination of them is a table of its own."
        )


def check_adjust(adjust: Sequence[str], groups: Sequence[str]) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a field both to adjust by and to group by."""
    for name in adjust:
        if name in groups:
            raise InputError(
                f"Got '{name}' both to group by and to adjust by, expected different fields: within one of its values "
                f"there is one group alone. Leave it out of groups or of adjust."
            )


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
    check_groups(names)
    return {name: mapped.get(name) or evaluations.group_values(rows, name, bins.get(name)) for name in names}


def _clusters(rows: PictureRows, field: str, truths: Mapping[str, Truth]) -> list[Any]:
    """Values per row of the field by which rows go together; an evaluated attribute stands for its ground truth."""
    name = truths[field].field if field in truths and not evaluations.is_there(rows, field) else field
    return evaluations.cluster_values(rows, name, [truth.field for truth in truths.values()])


def _names(given: Sequence[str] | None) -> list[str]:
    """Names that are listed, or one alone, each once."""
    return list(dict.fromkeys([given] if isinstance(given, str) else given or ()))


def _strata(
    rows: PictureRows,
    adjust: Sequence[str],
    truths: Mapping[str, Truth],
    bins: Mapping[str, Sequence[float]],
    groups: Sequence[str],
) -> dict[str, Sequence[str | None]]:
    """Values per row of the fields to adjust by. An attribute that is evaluated stands for its ground truth.

    Raises :class:`~facevlm.errors.FacevlmError` for a field that is unknown, or one that is grouped by, too.
    """
    mapped = {truth.field: truth.labels() for truth in truths.values() if truth.field not in bins}
    strata: dict[str, Sequence[str | None]] = {}
    for given in adjust:
        name = truths[given].field if given in truths and not evaluations.is_there(rows, given) else given
        check_adjust([name], groups)
        strata[name] = mapped.get(name) or evaluations.group_values(rows, name, bins.get(name), "Field to adjust by")
    return strata
