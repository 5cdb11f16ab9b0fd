"""The faces behind the figures of a stored evaluation, as views: made of stages, so that none is read to be shown.

A view starts from the faces that were evaluated and is sorted by the confidence of the answer, highest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from facevlm import attributes as registry_module
from facevlm.attributes import label_map
from facevlm.errors import FieldError
from facevlm.groups import binned
from facevlm.metrics import Floats
from facevlm.store import evaluations, runs
from facevlm.store.targets import Collection, require_classification

LOW_COVERAGE = 0.5
MOST_LABEL_ERRORS = 1000
ROUNDING = 1e-9
CORRECTED_FROM = "facevlm_corrected_from"


@dataclass(frozen=True)
class Inspected:
    """One attribute of a stored evaluation and where its faces are.

    ``truth`` is the ground-truth field that was named, ``gt_field`` the one that holds its labels on the common label
    set; ``predicted`` is the field of predictions, ``said`` the one with their common labels. ``target`` is what
    was evaluated, ``faces`` those of it with ground truth and an outcome.
    """

    dataset: fo.Dataset
    eval_key: str
    figures: Mapping[str, Any]
    results: Mapping[str, Any]
    truth: str
    gt_field: str
    predicted: str
    said: str
    prefix: str
    target: Collection
    faces: Collection

    @property
    def attribute(self) -> str:
        name: str = self.figures["predicted_attribute"]
        return name

    @property
    def outdated(self) -> bool:
        """Whether a model was applied under the prefix after this evaluation."""
        evaluated = self.dataset.get_evaluation_info(f"{self.eval_key}_{self.attribute}").timestamp
        key = runs.run_key(self.prefix)
        return bool(self.dataset.has_run(key) and runs.read(self.dataset, key).get("time", "") > evaluated.isoformat())


def figures_of(results: Mapping[str, Any], attribute: str) -> Mapping[str, Any]:
    """The figures of one attribute of stored results, by the name under which it was predicted.

    Raises :class:`~facevlm.errors.FieldError` that lists what was evaluated, or where figures are too old to show.
    """
    for figures in results["evaluations"]:
        if figures["predicted_attribute"] == attribute:
            if "confidence" not in figures or "f1_low" not in figures["overall"]:
                raise FieldError(f"Evaluation '{results['eval_key']}' was stored by an older facevlm. Evaluate again.")
            found: Mapping[str, Any] = figures
            return found
    names = ", ".join(f["predicted_attribute"] for f in results["evaluations"])
    raise FieldError(f"Evaluation '{results['eval_key']}' has no figures of '{attribute}'. It has those of {names}.")


def inspect(dataset: fo.Dataset, results: Mapping[str, Any], attribute: str) -> Inspected:
    """Where the faces of stored figures are.

    Raises :class:`~facevlm.errors.FieldError` where the evaluation or one of its fields is not there any more.
    """
    figures, key = figures_of(results, attribute), f"{results['eval_key']}_{attribute}"
    if not dataset.has_evaluation(key):
        raise FieldError(f"The faces of the evaluation '{key}' are not known any more: it was deleted. Evaluate again.")
    config = dataset.get_evaluation_info(key).config
    gt_field, said = str(config.gt_field), str(config.pred_field)
    predicted = said
    if figures["attribute"] != attribute:
        predicted = said.removesuffix(f"_as_{figures['attribute']}")
    for name in dict.fromkeys((gt_field, said, predicted)):
        if dataset.get_field(name) is None:
            raise FieldError(f"Field '{name}' of the evaluation '{key}' is not there any more. Evaluate again.")
    faces = dataset.load_evaluation_view(key)
    # The last stage is the one that keeps the faces with ground truth and an outcome.
    stages = [stage._serialize() for stage in faces._stages[:-1]]
    return Inspected(
        dataset=dataset,
        eval_key=results["eval_key"],
        figures=figures,
        results=results,
        truth=results["ground_truth"][attribute],
        gt_field=gt_field,
        predicted=predicted,
        said=said,
        prefix=predicted.removesuffix(f"_{attribute}"),
        target=fo.DatasetView._build(dataset, stages),
        faces=faces,
    )


def _sorted(there: Inspected, view: Collection) -> Collection:
    return view.sort_by(f"{there.predicted}.confidence", reverse=True)


def cell(there: Inspected, truth: str, said: str | None) -> Collection:
    """Faces of one cell of the confusion matrix; None for no answer."""
    matches = (F(f"{there.gt_field}.label") == truth) & (F(f"{there.said}.label") == said)
    return _sorted(there, there.faces.match(matches))


def group(there: Inspected, by: Sequence[str], values: Sequence[str]) -> Collection:
    """Faces of one group of one or more grouping fields.

    Raises :class:`~facevlm.errors.FieldError` where a grouping field is not there any more.
    """
    view = there.faces
    for field, value in zip(by, values, strict=True):
        view = _of_group(there, view, field, value)
    return _sorted(there, view)


def _of_group(there: Inspected, view: Collection, field: str, value: str) -> Collection:
    if field.startswith(evaluations.TAG):
        name = field.removeprefix(evaluations.TAG)
        return view.match_tags(name, bool=value == name)
    for attribute, truth in reversed(list(there.results["ground_truth"].items())):
        figures = figures_of(there.results, attribute)
        key = f"{there.eval_key}_{attribute}"
        if truth == field and value in figures["labels"] and there.dataset.has_evaluation(key):
            mapped = there.dataset.get_evaluation_info(key).config.gt_field
            return view.match(F(f"{mapped}.label") == value)
    found = there.dataset.get_field(field)
    if found is None:
        raise FieldError(f"Group field '{field}' is not there any more. Evaluate again with other groups.")
    if isinstance(found, fo.BooleanField):
        return view.match(F(field) == (value == "True"))
    if isinstance(found, evaluations.NUMBERS):
        return view.match(_in_bin(there, field, value) if ": " in value else F(field) == float(value))
    return view.match(F(evaluations._path(there.target, field)) == value)


def _in_bin(there: Inspected, field: str, name: str) -> Any:
    """A named bin of numbers: of quarters exactly, else by the edges in its name, which are those that were given."""
    numbers = evaluations.raw_values(there.target, field)
    inside = [v for v, held in zip(numbers, binned(field, numbers), strict=True) if held == name]  # type: ignore[arg-type]
    if inside:
        return (F(field) >= min(inside)) & (F(field) <= max(inside))  # type: ignore[type-var]
    words = name.split(": ")[1].split()
    edges = {word: float(edge) for word, edge in zip(words[::2], words[1::2], strict=False) if word != "all"}
    low = F(field) >= edges["from"] if "from" in edges else F(field) != None  # noqa: E711
    return low & (F(field) < edges["below"]) if "below" in edges else low


def reliability_bin(there: Inspected, number: int) -> Collection:
    """Faces of one bin of the reliability curve, by its place among the bins that hold faces.

    Raises :class:`~facevlm.errors.FieldError` for an attribute without scores, or without so many bins.
    """
    confidence = there.figures["confidence"]
    if confidence is None:
        raise FieldError(f"The answers of '{there.predicted}' carry no scores.")
    if not 0 <= number < len(confidence["bins"]):
        raise FieldError(f"The curve of '{there.predicted}' has {len(confidence['bins'])} bins, got number {number}.")
    low, high = (confidence["bins"][number][end] for end in ("low", "high"))
    scored = there.faces.match((F(f"{there.said}.label") != None) & (F(f"{there.predicted}.logits") != None))  # noqa: E711
    sure = F(f"{there.predicted}.confidence")
    if there.said == there.predicted:
        inside = sure > low if low > 0 else sure >= 0
        return _sorted(there, scored.match(inside & (sure <= high) if high < 1 else inside))
    # Labels that became one label add their probabilities up, which the database cannot read: they are read here.
    # Their sum is at least the confidence, so that surer faces need no reading.
    scored = scored.match(sure <= high + ROUNDING)
    ids, said = scored.values(["id", f"{there.said}.label"])
    shares = _shares(there, scored)
    columns = {label: k for k, label in enumerate(there.figures["labels"])}
    own = shares[np.arange(len(ids)), [columns[label] for label in said]] if ids else np.zeros(0)
    held = ((own > low) | (low <= 0)) & ((own <= high) | (high >= 1))
    return _sorted(there, there.faces.select([i for i, inside in zip(ids, held.tolist(), strict=True) if inside]))


def _shares(there: Inspected, view: Collection) -> Floats:
    """Probabilities of the common labels, (faces, labels), nan for a face without scores."""
    common = list(there.figures["labels"])
    becomes = {label: label for label in common}
    if there.said != there.predicted:
        known = registry_module.shipped()
        fine, coarse = known.get(there.attribute), known.get(there.figures["attribute"])
        becomes = label_map(fine, coarse, known) or {}
    at = np.array([common.index(label) for label in becomes.values()], dtype=np.int64)
    logits = view.values(f"{there.predicted}.logits")
    shares = np.full((len(logits), len(common)), np.nan)
    rows = [k for k, row in enumerate(logits) if row is not None and len(row) == len(at)]
    if rows:
        given = np.exp(np.asarray([logits[k] for k in rows], dtype=float))
        shares[rows] = np.stack([given[:, at == k].sum(1) for k in range(len(common))], 1)
    return shares


def not_answered(there: Inspected) -> Collection:
    """Faces that were asked about and have no answer, whether they have ground truth or not: outcome by outcome."""
    outcome = f"{there.predicted}.outcome"
    return there.target.match((F(outcome) != None) & (F(outcome) != "ok")).sort_by(outcome)  # noqa: E711


def low_coverage(there: Inspected, below: float = LOW_COVERAGE) -> Collection:
    """Faces where less of the model's probability lay on the label set, the least first."""
    coverage = F(f"{there.predicted}.coverage")
    return there.target.match((coverage != None) & (coverage < below)).sort_by(f"{there.predicted}.coverage")  # noqa: E711


def confident_errors(there: Inspected) -> Collection:
    """Faces with a wrong answer, the most confident first; those without an answer are not among them."""
    said, truth = F(f"{there.said}.label"), F(f"{there.gt_field}.label")
    return _sorted(there, there.faces.match((said != None) & (said != truth)))  # noqa: E711


def rivals(there: Inspected) -> list[str]:
    """Other prefixes with predictions of the same attribute."""
    names = [p for p in runs.prefixes(there.dataset) if p != there.prefix]
    return [p for p in names if there.dataset.get_field(f"{p}_{there.attribute}.outcome") is not None]


def disagreements(there: Inspected, rival: str) -> Collection:
    """Faces that both runs were asked about and answered otherwise; no answer is an answer of its own."""
    other = f"{rival}_{there.attribute}"
    require_classification(there.dataset, other)
    mine, its = F(f"{there.predicted}.label"), F(f"{other}.label")
    asked = (F(f"{there.predicted}.outcome") != None) & (F(f"{other}.outcome") != None)  # noqa: E711
    # A label that is not there at all and one that is null are both no answer.
    both = (mine == None) & (its == None)  # noqa: E711
    return _sorted(there, there.target.match(asked & (mine != its) & ~both))


def label_errors(there: Inspected, most: int = MOST_LABEL_ERRORS) -> tuple[str, Collection]:
    """Faces whose ground truth the model confidently contradicts, the least likely truth first, as a saved view.

    Confident learning: an answer against the ground truth counts where its probability reaches the mean probability of
    that label over the faces that truly have it. The view holds at most ``most`` faces; one without scores is in none.

    Northcutt, C., Jiang, L., Chuang, I. (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70.
    """
    said_path, truth_path = f"{there.said}.label", f"{there.gt_field}.label"
    sure, index = f"{there.predicted}.confidence", {label: k for k, label in enumerate(there.figures["labels"])}
    right = there.faces.match((F(said_path) == F(truth_path)) & (F(sure) != None))  # noqa: E711
    # Of a right answer the truth's probability is its confidence: the larger part of the faces needs no decoding.
    total, n = np.zeros(len(index)), np.zeros(len(index))
    labels, confidences = right.values([said_path, sure])
    at = np.array([index[label] for label in labels], dtype=np.int64)
    np.add.at(total, at, np.asarray(confidences, dtype=float))
    np.add.at(n, at, 1)
    wrong = confident_errors(there)
    ids, truths, said = wrong.values(["id", truth_path, said_path])
    shares = _shares(there, wrong)
    true, told = (np.array([index[v] for v in values], dtype=np.int64) for values in (truths, said))
    own, other = shares[np.arange(len(ids)), true], shares[np.arange(len(ids)), told]
    scored = np.isfinite(own)
    np.add.at(total, true[scored], own[scored])
    np.add.at(n, true[scored], 1)
    usual = np.divide(total, n, out=np.full(len(n), np.inf), where=n > 0)
    contradicted = np.flatnonzero(scored & (other >= usual[told]))
    chosen = contradicted[np.argsort(own[contradicted], kind="stable")][:most]
    view = there.dataset.select([ids[k] for k in chosen.tolist()], ordered=True)
    name = f"{there.eval_key}_{there.attribute}_label_errors"
    what = f"Likely errors of {there.truth}: {there.predicted} is confidently of another opinion"
    there.dataset.save_view(name, view, description=what, overwrite=True)
    return name, view


def corrected_field(there: Inspected) -> str:
    """The field that holds corrected ground truth."""
    return f"{there.truth}_corrected"


def correct(there: Inspected, ids: Sequence[str], label: str) -> str:
    """Write a label for some faces to the field of corrected ground truth, which begins as a copy; returns its name.

    The ground truth itself stays as it is. Raises :class:`~facevlm.errors.FieldError` for a label that is not of the
    evaluated label set, or where the field is there for another purpose.
    """
    name, labels = corrected_field(there), there.figures["labels"]
    if label not in labels:
        raise FieldError(f"Got the label '{label}', expected one of {', '.join(labels)}.")
    found = there.dataset.get_field(name)
    if found is None:
        there.dataset.clone_sample_field(there.gt_field, name)
        field = there.dataset.get_field(name)
        field.info = {CORRECTED_FROM: there.gt_field}
        field.description = f"{there.truth} with corrections made by eye"
        field.save()
    elif (found.info or {}).get(CORRECTED_FROM) != there.gt_field:
        raise FieldError(f"Field '{name}' is there and does not hold corrections of '{there.gt_field}'. Rename it.")
    rows = {sample_id: fo.Classification(label=label) for sample_id in ids}
    there.dataset.set_values(name, rows, key_field="id", validate=False, progress=False)
    return name


@dataclass(frozen=True)
class Answer:
    """What one run said about one face; ``shares`` are probabilities of ``labels``, empty without scores."""

    prefix: str
    attribute: str
    label: str | None
    outcome: str
    reason: str | None
    text: str | None
    confidence: float | None
    coverage: float | None
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def answers(dataset: fo.Dataset, sample_id: str) -> list[Answer]:
    """All answers about one face, run by run, the oldest first."""
    sample = dataset[sample_id]
    found = []
    for prefix in runs.prefixes(dataset):
        questions = runs.read(dataset, runs.run_key(prefix)).get("questions") or {}
        for attribute, question in questions.items():
            name = f"{prefix}_{attribute}"
            said = sample[name] if dataset.get_field(f"{name}.outcome") is not None else None
            if said is None or said["outcome"] is None:
                continue
            labels, logits = tuple(question["labels"]), said.logits
            scored = logits is not None and len(logits) == len(labels)
            found.append(
                Answer(
                    prefix,
                    attribute,
                    said.label,
                    said["outcome"],
                    said["reason"],
                    said["text"],
                    said.confidence,
                    said["coverage"],
                    labels if scored else (),
                    tuple(float(v) for v in np.exp(logits)) if scored else (),
                )
            )
    return found
