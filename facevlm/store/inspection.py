"""The faces behind the figures of a stored evaluation, as views: made of stages, so that none is read to be shown.

A view starts from the faces that were evaluated and is sorted by the confidence of the answer, highest first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation.groups import bin_names, binned
from facevlm.evaluation.metrics import Floats
from facevlm.evaluation.thresholds import Promise, Threshold, best_f1, promises
from facevlm.store import columns, evaluations, provenance, runs, views
from facevlm.store import results as results_of
from facevlm.store.model_evaluation import JudgedFields, judged_faces, of_the_run
from facevlm.store.predictions import require
from facevlm.store.rows import FaceRows, PictureRows, flat
from facevlm.store.schema import COVERAGE, DETECTIONS, FACE, LABEL, LOGITS, OUTCOME, RUN
from facevlm.store.targets import Collection

LOW_COVERAGE = 0.5
MOST_LABEL_ERRORS = 1000


@dataclass(frozen=True)
class Inspected:
    """One attribute of a stored evaluation and where its faces are.

    ``truth`` is the ground-truth field that was named, ``fields`` the paths of its labels on the common label set and
    of what was said. ``view`` is what was evaluated; ``target`` its samples, or patches where attributes are on faces;
    and ``faces`` those with ground truth and an outcome.
    """

    dataset: fo.Dataset
    eval_key: str
    figures: Mapping[str, Any]
    results: Mapping[str, Any]
    truth: str
    fields: JudgedFields
    view: Collection
    target: Collection
    faces: Collection

    @property
    def attribute(self) -> str:
        name: str = self.figures["predicted_attribute"]
        return name

    @property
    def prefix(self) -> str:
        return str(self.results["prefix"])

    @property
    def outdated(self) -> bool:
        """Whether a model was asked about this attribute under the prefix after this evaluation."""
        return is_outdated(self.dataset, self.results, self.attribute)


def is_outdated(dataset: fo.Dataset, results: Mapping[str, Any], attribute: str) -> bool:
    """Whether a model was asked about an attribute under the prefix after stored results, and answers changed by it.

    No view of faces is made for it. Raises :class:`~facevlm.errors.FieldError` where the fields are not there any more.
    """
    record = runs.read(dataset, runs.run_key(results["prefix"]))
    mark = (record.get("fingerprints") or {}).get(attribute)
    way = (record.get("answered_by") or {}).get(mark)
    # A record that was written before ways were kept tells of its last run alone.
    applied = (way or record).get("time")
    evaluated = results_of.evaluated_at(dataset, results["eval_key"])
    # Records keep whole seconds; where the answers tell, one more look costs little.
    since = evaluated if way is None else evaluated.replace(microsecond=0) - timedelta(seconds=1)
    newer = isinstance(applied, str) and datetime.fromisoformat(applied) > since
    return newer and (way is None or _is_answered_anew(dataset, results, attribute))


def _is_answered_anew(dataset: fo.Dataset, results: Mapping[str, Any], attribute: str) -> bool:
    """Whether answers to this attribute changed: a run about several asks of each only what lacks an answer."""
    fields = _fields_of(dataset, results, attribute)
    name, judged = f"{results['prefix']}_{attribute}", results["answered_by"].get(attribute) or {}
    view = _evaluated(dataset, results)
    if not judged or _answers_of(view, name, results["faces"])[judged["run"]] != judged["n"]:
        return True
    # As many answers of the same run: they were given again, or none was asked for.
    confused = _confused(figures_of(results, attribute))
    return fields.predicted == name and _counted(judged_faces(view, fields), fields) != confused


def _answers_of(view: Collection, name: str, faces: str | None) -> Counter[str | None]:
    """How many pictures, or faces of the field, have an answer of each run, as an evaluation counts them."""
    if faces is None:
        return Counter({answered.run: answered.n for answered in provenance.runs_in(view, name)})
    [stamps] = FaceRows(view, faces).answers(name, RUN)
    return Counter(stamps)


def _fields_of(dataset: fo.Dataset, results: Mapping[str, Any], attribute: str) -> JudgedFields:
    """Where truth and answers of stored results are; raises where that is not there any more."""
    key, fields = f"{results['eval_key']}_{attribute}", JudgedFields(**results["fields"][attribute])
    # Of faces, FiftyOne deletes an evaluation before it makes it anew; what is shown here does not hang on it.
    if fields.faces is None and not dataset.has_evaluation(key):
        raise FieldError(f"The faces of the evaluation '{key}' are not known any more: it was deleted. Evaluate again.")
    for path in (fields.truth, fields.said, fields.predicted):
        name = path.partition(".")[0]
        if dataset.get_field(name) is None:
            raise FieldError(f"Field '{name}' of the evaluation '{key}' is not there any more. Evaluate again.")
    return fields


def _evaluated(dataset: fo.Dataset, results: Mapping[str, Any]) -> Collection:
    view: Collection = fo.DatasetView._build(dataset, json.loads(results["stages"]))
    return view


def _counted(faces: Collection, fields: JudgedFields) -> Counter[tuple[str, str | None]]:
    return Counter(zip(*faces.values([fields.truth, fields.said]), strict=True))


def _confused(figures: Mapping[str, Any]) -> Counter[tuple[str, str | None]]:
    """The counts of a confusion matrix by truth and answer."""
    labels, table = figures["labels"], figures["confusion"]
    cells = (
        (t, said, n) for t, row in zip(labels, table, strict=True) for said, n in zip([*labels, None], row, strict=True)
    )
    return Counter({(t, said): n for t, said, n in cells if n})


def figures_of(results: Mapping[str, Any], attribute: str) -> Mapping[str, Any]:
    """The figures of one attribute of stored results, by the name under which it was predicted.

    Raises :class:`~facevlm.errors.FieldError` that lists what was evaluated.
    """
    for figures in results["evaluations"]:
        if figures["predicted_attribute"] == attribute:
            found: Mapping[str, Any] = figures
            return found
    names = ", ".join(f["predicted_attribute"] for f in results["evaluations"])
    raise FieldError(f"Evaluation '{results['eval_key']}' has no figures of '{attribute}'. It has those of {names}.")


def inspect(dataset: fo.Dataset, results: Mapping[str, Any], attribute: str) -> Inspected:
    """Where the faces of stored figures are.

    Raises :class:`~facevlm.errors.FieldError` where the evaluation or one of its fields is not there any more.
    """
    figures, fields = figures_of(results, attribute), _fields_of(dataset, results, attribute)
    evaluated = _evaluated(dataset, results)
    return Inspected(
        dataset=dataset,
        eval_key=results["eval_key"],
        figures=figures,
        results=results,
        truth=results["ground_truth"][attribute],
        fields=fields,
        view=evaluated,
        target=of_the_run(evaluated, fields) if fields.faces is None else evaluated.to_patches(fields.faces),
        faces=judged_faces(evaluated, fields),
    )


def label_fields(inspected: Inspected) -> list[str]:
    """The fields in which truth and prediction of the attribute are seen, the truth first."""
    fields = inspected.fields
    paths = (fields.faces, fields.predicted, f"{inspected.prefix}_{inspected.attribute}") if fields.faces else ()
    names = [path.partition(".")[0] for path in paths or (fields.truth, fields.said)]
    return [name for name in dict.fromkeys(names) if inspected.dataset.get_field(name) is not None]


def _sorted(inspected: Inspected, view: Collection) -> Collection:
    return view.sort_by(inspected.fields.sure, reverse=True)


def cell(inspected: Inspected, truth: str, predicted: str | None) -> Collection:
    """Faces of one cell of the confusion matrix; None for no answer."""
    matches = (F(inspected.fields.truth) == truth) & (F(inspected.fields.said) == predicted)
    return _sorted(inspected, inspected.faces.match(matches))


def group(inspected: Inspected, by: Sequence[str], values: Sequence[str]) -> Collection:
    """Faces of one group of one or more grouping fields.

    Raises :class:`~facevlm.errors.FieldError` where a grouping field is not there any more, or holds the answers of
    several runs by now.
    """
    if inspected.fields.faces is not None:
        return _sorted(inspected, _faces_of_group(inspected, by, values))
    view = inspected.faces
    for field, value in zip(by, values, strict=True):
        view = _of_group(inspected, view, field, value)
    return _sorted(inspected, view)


def _faces_of_group(inspected: Inspected, by: Sequence[str], values: Sequence[str]) -> Collection:
    """By reading the groups of all faces: a patch of a picture knows only its own field."""
    rows = FaceRows(inspected.view, inspected.results["faces"])
    names = [named(inspected, rows, field) for field in by]
    held = zip(rows.face_ids, zip(*names, strict=True), strict=True)
    chosen = [face for face, group in held if group == tuple(values)]
    return inspected.faces.match(F(f"{inspected.fields.faces}.{FACE}").is_in(chosen))


def named(inspected: Inspected, rows: FaceRows, field: str) -> list[str | None]:
    """The group of every face by one field, as the evaluation named it."""
    for attribute, truth in inspected.results["ground_truth"].items():
        if truth == field:
            held = inspected.results["fields"][attribute]
            paths = [f"{held['faces']}.{DETECTIONS}.{part}" for part in (FACE, held["truth"].rpartition(".")[2])]
            known = dict(zip(*map(flat, rows.target.values(paths)), strict=True))
            return [known.get(i) for i in rows.face_ids]
    return evaluations.group_values(rows, field, inspected.results["bins"].get(field))


def _of_group(inspected: Inspected, view: Collection, field: str, value: str) -> Collection:
    if field.startswith(evaluations.TAG):
        name = field.removeprefix(evaluations.TAG)
        return view.match_tags(name, bool=value == name)
    for attribute, truth in reversed(list(inspected.results["ground_truth"].items())):
        figures = figures_of(inspected.results, attribute)
        if truth == field and value in figures["labels"]:
            return view.match(F(inspected.results["fields"][attribute]["truth"]) == value)
    found = inspected.dataset.get_field(field)
    if found is None:
        raise FieldError(f"Group field '{field}' is not there any more. Evaluate again with other groups.")
    if isinstance(found, fo.BooleanField):
        return view.match(F(field) == (value == "True"))
    if isinstance(found, evaluations.NUMBERS):
        return view.match(_in_bin(inspected, field, value) if ": " in value else F(field) == float(value))
    rows = PictureRows(inspected.target)
    evaluations.require_one_run(rows, field)
    return view.match(F(rows.value_path(field)) == value)


def _in_bin(inspected: Inspected, field: str, name: str) -> Any:
    """The condition of a named bin: between given edges, else the quarter of the evaluated faces."""
    edges = inspected.results["bins"].get(field)
    if edges is not None:
        at = bin_names(edges).index(name)
        low = F(field) >= edges[at - 1] if at else F(field) != None  # noqa: E711
        return low & (F(field) < edges[at]) if at < len(edges) else low
    numbers = evaluations.raw_values(PictureRows(inspected.target), field)
    inside = [v for v, held in zip(numbers, binned(field, numbers), strict=True) if held == name]
    return (F(field) >= min(inside)) & (F(field) <= max(inside))


def reliability_bin(inspected: Inspected, number: int) -> Collection:
    """Faces of one bin of the reliability curve, by its place among the bins that hold faces.

    Raises :class:`~facevlm.errors.FieldError` for an attribute without scores, or without so many bins.
    """
    confidence = inspected.figures["confidence"]
    if confidence is None:
        raise FieldError(f"The answers of '{inspected.fields.predicted}' carry no scores.")
    if not 0 <= number < len(confidence["bins"]):
        raise FieldError(
            f"The curve of '{inspected.fields.predicted}' has {len(confidence['bins'])} bins, got number {number}."
        )
    low, high = (confidence["bins"][number][end] for end in ("low", "high"))
    sure, scored = F(inspected.fields.sure), F(f"{inspected.fields.predicted}.{LOGITS}") != None  # noqa: E711
    inside = (sure > low if low > 0 else sure >= 0) & scored & (F(inspected.fields.said) != None)  # noqa: E711
    return _sorted(inspected, inspected.faces.match(inside & (sure <= high) if high < 1 else inside))


def surer_than(inspected: Inspected, threshold: float) -> Collection:
    """Answered faces with at least this confidence, the least sure last."""
    return _sorted(inspected, _kept(inspected, threshold))


def _kept(inspected: Inspected, threshold: float) -> Collection:
    fields = inspected.fields
    return inspected.faces.match((F(fields.said) != None) & (F(fields.sure) >= threshold))  # noqa: E711


def kept(inspected: Inspected, threshold: float) -> tuple[int, int]:
    """How many answered faces have at least this confidence, and how many of them are right."""
    counts = np.array(inspected.figures["confusion"], dtype=np.int64)
    if threshold <= 0 and inspected.figures["confidence"] is not None:
        # All answers are kept, and counted already; one without a confidence can be kept by no threshold.
        return int(counts[:, :-1].sum()), int(np.trace(counts))
    view = _kept(inspected, threshold)
    return len(view), len(view.match(F(inspected.fields.said) == F(inspected.fields.truth)))


def thresholds(inspected: Inspected) -> tuple[tuple[Promise, ...], Threshold | None]:
    """What can be promised of new faces, and the threshold of the best macro F1 on these, by reading all of them."""
    fields, labels = inspected.fields, list(inspected.figures["labels"])
    sure, *columns = inspected.faces.values([fields.sure, fields.truth, fields.said])
    index = {label: k for k, label in enumerate(labels)}
    truth, said = (np.array([index.get(v, -1) for v in column], dtype=np.int64) for column in columns)
    confidence = np.array([-1.0 if value is None else value for value in sure], dtype=float)
    given = (confidence >= 0) & (said >= 0)
    found = promises(confidence[given], (truth == said)[given], len(truth))
    return found, best_f1(confidence, truth, np.where(given, said, -1), len(labels))


def less_sure_than(inspected: Inspected, threshold: float) -> Collection:
    """Answered faces that a threshold on the confidence would leave to be looked at by eye, the least sure first."""
    fields = inspected.fields
    less = inspected.faces.match((F(fields.said) != None) & (F(fields.sure) < threshold))  # noqa: E711
    return less.sort_by(fields.sure)


def _shares(inspected: Inspected, view: Collection) -> Floats:
    """Probabilities of the common labels, (faces, labels), nan for a face without scores."""
    common = list(inspected.figures["labels"])
    stored = view.values(F(f"{inspected.fields.predicted}.{LOGITS}"))
    if inspected.fields.faces is not None:
        return np.exp(columns.vectors(stored, len(common)))
    becomes = inspected.results["becomes"][inspected.attribute]
    given = np.exp(columns.vectors(stored, len(becomes)))
    at = np.array([common.index(label) for label in becomes.values()], dtype=np.int64)
    return np.stack([given[:, at == k].sum(1) for k in range(len(common))], 1)


def not_answered(inspected: Inspected) -> Collection:
    """Faces that were asked about and have no answer, whether they have ground truth or not: outcome by outcome."""
    outcome = f"{inspected.fields.predicted}.{OUTCOME}"
    return inspected.target.match((F(outcome) != None) & (F(outcome) != "ok")).sort_by(outcome)  # noqa: E711


def low_coverage(inspected: Inspected, below: float = LOW_COVERAGE) -> Collection:
    """Faces where less of the model's probability lay on the label set, the least first."""
    path = f"{inspected.fields.predicted}.{COVERAGE}"
    return inspected.target.match((F(path) != None) & (F(path) < below)).sort_by(path)  # noqa: E711


def confident_errors(inspected: Inspected) -> Collection:
    """Faces with a wrong answer, the most confident first; those without an answer are not among them."""
    predicted, truth = F(inspected.fields.said), F(inspected.fields.truth)
    return _sorted(inspected, inspected.faces.match((predicted != None) & (predicted != truth)))  # noqa: E711


def rivals(inspected: Inspected) -> list[str]:
    """Other prefixes with predictions of the same attribute, on the same kind of target."""
    part = OUTCOME if inspected.fields.faces is None else f"{DETECTIONS}.{OUTCOME}"
    names = [p for p in runs.prefixes(inspected.dataset) if p != inspected.prefix]
    return [p for p in names if inspected.dataset.get_field(f"{p}_{inspected.attribute}.{part}") is not None]


def disagreements(inspected: Inspected, rival: str) -> Collection:
    """Faces that both runs were asked about and answered otherwise; no answer is an answer of its own."""
    own, other = f"{inspected.prefix}_{inspected.attribute}", f"{rival}_{inspected.attribute}"
    require(inspected.dataset, other)
    provenance.require_one_run(inspected.view, other)
    if inspected.fields.faces is not None:
        return _sorted(inspected, _faces_of(inspected, _disputed_faces(inspected, own, other)))
    mine, its = F(f"{own}.label"), F(f"{other}.label")
    asked = (F(f"{own}.{OUTCOME}") != None) & (F(f"{other}.{OUTCOME}") != None)  # noqa: E711
    # A label that is not there at all and one that is null are both no answer.
    both = (mine == None) & (its == None)  # noqa: E711
    return _sorted(inspected, inspected.target.match(asked & (mine != its) & ~both))


def _disputed_faces(inspected: Inspected, own: str, other: str) -> list[str]:
    rows = FaceRows(inspected.view, inspected.results["faces"])
    (mine, asked), (its, asked_too) = (rows.answers(name, LABEL, OUTCOME) for name in (own, other))
    found = zip(rows.face_ids, mine, its, asked, asked_too, strict=True)
    return [face for face, a, b, here, too in found if here is not None and too is not None and a != b]


def _faces_of(inspected: Inspected, face_ids: Sequence[str]) -> Collection:
    return inspected.target.match(F(f"{inspected.fields.faces}.{FACE}").is_in(list(face_ids)))


def label_errors(inspected: Inspected, most: int = MOST_LABEL_ERRORS) -> tuple[str, Collection]:
    """Faces whose ground truth the model confidently contradicts, the least likely truth first, as a saved view.

    Confident learning: an answer against the ground truth counts where its probability reaches the mean probability of
    that label over the faces that truly have it. The view holds at most ``most`` faces; one without scores is in none.

    Northcutt, C., Jiang, L., Chuang, I. (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70.
    """
    predicted_path, truth_path, sure = inspected.fields.said, inspected.fields.truth, inspected.fields.sure
    index = {label: k for k, label in enumerate(inspected.figures["labels"])}
    right = inspected.faces.match((F(predicted_path) == F(truth_path)) & (F(sure) != None))  # noqa: E711
    # Of a right answer the truth's probability is its confidence: the larger part of the faces needs no decoding.
    total, n = np.zeros(len(index)), np.zeros(len(index))
    labels, confidences = right.values([predicted_path, sure])
    at = np.array([index[label] for label in labels], dtype=np.int64)
    np.add.at(total, at, np.asarray(confidences, dtype=float))
    np.add.at(n, at, 1)
    wrong = confident_errors(inspected)
    ids, truths, predicted = wrong.values(["id", truth_path, predicted_path])
    shares = _shares(inspected, wrong)
    true, told = (np.array([index[v] for v in values], dtype=np.int64) for values in (truths, predicted))
    own, other = shares[np.arange(len(ids)), true], shares[np.arange(len(ids)), told]
    scored = np.isfinite(own)
    np.add.at(total, true[scored], own[scored])
    np.add.at(n, true[scored], 1)
    usual = np.divide(total, n, out=np.full(len(n), np.inf), where=n > 0)
    contradicted = np.flatnonzero(scored & (other >= usual[told]))
    chosen = contradicted[np.argsort(own[contradicted], kind="stable")][:most]
    view = inspected.target.select([ids[k] for k in chosen.tolist()], ordered=True)
    name = f"{inspected.eval_key}_{inspected.attribute}_label_errors"
    what = f"Likely errors of {inspected.truth}: {inspected.prefix} is confidently of another opinion"
    return views.keep(inspected.dataset, name, view, what), view
