"""Runs side by side: two or more models or prompts, under prefixes of their own, on the same faces."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, overload

import numpy as np

from facevlm import attributes as registry_module
from facevlm.attributes import Alignment, Registry, align
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import FieldError, InputError, TaxonomyError
from facevlm.evaluation.clusters import clusters_of, of_clusters
from facevlm.evaluation.comparison import Comparison, Flags
from facevlm.evaluation.comparison import compare as compare_codes
from facevlm.evaluation.intervals import DRAWS
from facevlm.evaluation.metrics import Codes
from facevlm.evaluation.readings import Truth
from facevlm.reports import notebook
from facevlm.store import evaluations, predictions, targets, views
from facevlm.store.rows import PictureRows, rows_of
from facevlm.tasks._options import takes_names
from facevlm.tasks._verb import verb
from facevlm.tasks.evaluate import predicted_attributes
from facevlm.types import Attribute


class Comparisons(list[Comparison]):
    """The comparisons of several attributes, in order; one is found by its attribute, too: ``results["gender"]``."""

    @overload
    def __getitem__(self, key: SupportsIndex | str) -> Comparison: ...
    @overload
    def __getitem__(self, key: slice) -> list[Comparison]: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> Comparison | list[Comparison]:
        if not isinstance(key, str):
            return super().__getitem__(key)
        for comparison in self:
            if comparison.attribute == key:
                return comparison
        raise KeyError(f"{key} was not compared, only {', '.join(c.attribute for c in self)}")

    def __contains__(self, key: object) -> bool:
        return key in [c.attribute for c in self] if isinstance(key, str) else super().__contains__(key)

    def _repr_html_(self) -> str:
        return notebook.comparison_html(self)

    def to_dataframe(self) -> Any:
        """A pandas data frame with a row for each attribute and pair of runs, shares as parts of 1."""
        import pandas

        return pandas.DataFrame(notebook.comparison_rows(self))


@verb
@takes_names
def compare(
    target: targets.Collection,
    prefixes: Sequence[str],
    attributes: Sequence[str | Attribute] | None = None,
    *,
    ground_truth: Mapping[str, str] | None = None,
    groups: Sequence[str] = (),
    faces: str | None = None,
    save_views: bool = False,
    draws: int = DRAWS,
    registry: Registry | None = None,
    cluster: str | None = None,
) -> Comparisons:
    """Compare the predictions of two or more prefixes, one result per attribute that all of them have.

    Faces count that every run was asked about and that have ground truth. Where there is none for an attribute, all
    faces asked count, and only agreement and flips are told. To compare wordings of one question, see
    :func:`facevlm.sensitivity`.

    Args:
        target: a FiftyOne dataset or view.
        prefixes: field prefixes of the runs, at least two.
        attributes: by default all that every prefix has predictions for.
        ground_truth: attribute name -> field; by default found by name.
        groups: fields by which flips are shown.
        faces: for predictions on faces, the Detections field with ground truth; by default the only one.
        save_views: save the faces that only one run of a pair got right, and those with unequal answers, as views
            ``<a>_vs_<b>_<attribute>_only_<a>_right``, ``..._only_<b>_right`` and ``..._disagree``: those that a run
            got wrong with the highest confidence first, of unequal answers those with the highest confidence together.
            Of faces, they are views of patches.
        draws: bootstrap draws behind the interval of the difference.
        registry: attributes of your own.
        cluster: a field that says which faces belong together, such as ``'subject'`` where several pictures show one
            person; one without a value is a cluster of its own.

    Raises:
        FacevlmError: for missing predictions or a ground-truth field that does not fit, saying what to do.
    """
    known = registry or registry_module.shipped()
    target = targets.check(target)
    names = list(dict.fromkeys(prefixes))
    if len(names) < 2:
        raise InputError(f"Got the prefixes {list(prefixes)}, expected at least two different ones.")
    chosen = _shared(target, names, attributes, known)
    strange = sorted(set(ground_truth or {}) - {a.name for a in chosen})
    if strange:
        raise InputError(
            f"Got ground truth for {', '.join(strange)}, expected only {', '.join(a.name for a in chosen)}."
        )
    fields = [predictions.field_name(prefix, a.name) for prefix in names for a in chosen]
    rows = rows_of(target, fields, faces)
    by = {name: evaluations.group_values(rows, name) for name in groups}
    clusters = evaluations.cluster_values(rows, cluster, list((ground_truth or {}).values())) if cluster else None
    results = Comparisons()
    for attribute in chosen:
        answers = read(rows, names, attribute, (ground_truth or {}).get(attribute.name), known)
        if cluster and answers.field == cluster:
            evaluations.cluster_values(rows, cluster, [cluster])
        result, judged = _one(answers, by, draws, (cluster, clusters) if cluster and clusters else None)
        saved = _save_views(rows, answers, attribute.name, judged) if save_views else ()
        results.append(replace(result, views=saved))
    return results


def _shared(
    target: targets.Collection, prefixes: Sequence[str], wanted: Sequence[str | Attribute] | None, known: Registry
) -> list[Attribute]:
    predicted = [set(predicted_attributes(target, prefix, known)) for prefix in prefixes]
    if wanted is not None:
        chosen = resolve_attributes(wanted, registry=known)
        for prefix in prefixes:
            for attribute in chosen:
                predictions.require(target, predictions.field_name(prefix, attribute.name))
        return chosen
    shared = [known.get(name) for name in known.attributes if all(name in names for names in predicted)]
    if not shared:
        held = "; ".join(f"{p}: {', '.join(sorted(n)) or 'none'}" for p, n in zip(prefixes, predicted, strict=True))
        raise FieldError(f"No attribute has predictions under all of {', '.join(prefixes)}. There is {held}.")
    return shared


@dataclass(frozen=True)
class Answers:
    """What runs said, row by row, on the label set that they share with ground truth.

    ``truth`` and each of ``runs`` are label indices (rows,), -1 for none; ``asked`` are those that every run was asked
    about. Without ground truth ``truth`` and ``field`` are None, and ``notes`` say why.
    """

    attribute: Attribute
    runs: Mapping[str, Codes]
    asked: Flags
    truth: Codes | None
    field: str | None
    notes: tuple[str, ...]


def read(
    rows: PictureRows, prefixes: Sequence[str], attribute: Attribute, field: str | None, known: Registry
) -> Answers:
    """Answers of the runs to one attribute, with ground truth from a field or, where that is None, found by name.

    Raises :class:`~facevlm.errors.FacevlmError` for a named field that does not fit; one that was only found is then
    left out, with a note.
    """
    truth, notes = find_truth(rows, attribute, field, known)
    alignment = truth.alignment if truth else align(attribute, (), known)
    runs, asked = read_runs(rows, prefixes, attribute, alignment)
    codes = label_codes(truth.labels(), alignment.common.labels) if truth else None
    return Answers(alignment.common, runs, asked, codes, truth.field if truth else None, notes)


def read_runs(
    rows: PictureRows, prefixes: Sequence[str], attribute: Attribute, alignment: Alignment
) -> tuple[dict[str, Codes], Flags]:
    """Answers of the runs as label indices on the common label set, and which faces every run was asked about."""
    runs, asked = {}, []
    for prefix in prefixes:
        predicted, outcomes = evaluations.read_answers(rows, prefix, attribute, alignment)
        runs[prefix] = label_codes(predicted, alignment.common.labels)
        asked.append(np.array([outcome is not None for outcome in outcomes], dtype=bool))
    return runs, np.all(asked, axis=0)


def find_truth(
    rows: PictureRows, attribute: Attribute, field: str | None, known: Registry
) -> tuple[Truth | None, tuple[str, ...]]:
    """Ground truth of an attribute, or None with the reason."""
    if field is not None:
        return evaluations.read_truth(rows, field, attribute, known), ()
    guessed = evaluations.guess_truth(rows, attribute, known)
    if guessed is None:
        could = ", ".join(evaluations.truth_fields(rows)) or "none"
        return None, (
            f"No ground-truth field is known for {attribute.name}, so that nobody is judged right or wrong. Name one "
            f"as {attribute.name}=FIELD. Fields that could be: {could}.",
        )
    try:
        return evaluations.read_truth(rows, guessed, attribute, known), ()
    except (FieldError, TaxonomyError) as error:
        return None, (f"Ground truth of {attribute.name} is left out: {error}",)


def label_codes(values: Sequence[str | None], labels: Sequence[str]) -> Codes:
    """Indices of labels, -1 for none."""
    index = {label: k for k, label in enumerate(labels)}
    return np.array([-1 if value is None else index[value] for value in values], dtype=np.int64)


def _one(
    answers: Answers,
    groups: Mapping[str, Sequence[str | None]],
    draws: int,
    clusters: tuple[str, Sequence[object]] | None,
) -> tuple[Comparison, Flags]:
    """The comparison, and which faces are in it."""
    judged = answers.asked if answers.truth is None else answers.asked & (answers.truth >= 0)
    kept = np.flatnonzero(judged)
    chosen = {name: [values[k] for k in kept.tolist()] for name, values in groups.items()}
    runs = {prefix: codes[kept] for prefix, codes in answers.runs.items()}
    truth = None if answers.truth is None else answers.truth[kept]
    held = clusters_of(clusters[0], [clusters[1][k] for k in kept.tolist()]) if clusters else None
    codes, labels = held.codes if held else None, answers.attribute.labels
    result = compare_codes(answers.attribute.name, labels, truth, runs, chosen, draws=draws, clusters=codes)
    notes = (*answers.notes, *([of_clusters(len(kept), held.by, held.n, held.unknown)] if held else []))
    return replace(result, ground_truth=answers.field, notes=notes, cluster=held.by if held else None), judged


def _save_views(rows: PictureRows, answers: Answers, name: str, judged: Flags) -> tuple[str, ...]:
    """Of every pair of runs the faces that only one got right, and those with unequal answers, as saved views."""
    saved = []
    for a, b in itertools.combinations(answers.runs, 2):
        first, second = answers.runs[a], answers.runs[b]
        field = {run: predictions.field_name(run, name) for run in (a, b)}
        wanted: list[tuple[str, Flags, tuple[str, ...], str]] = [
            ("disagree", first != second, (field[a], field[b]), f"{a} and {b} answer {name} unlike")
        ]
        if answers.truth is not None:
            right_a, right_b = first == answers.truth, second == answers.truth
            wanted += [
                (f"only_{a}_right", right_a & ~right_b, (field[b],), f"{a} is right and {b} wrong about {name}"),
                (f"only_{b}_right", right_b & ~right_a, (field[a],), f"{b} is right and {a} wrong about {name}"),
            ]
        for ending, chosen, by, what in wanted:
            description = f"{what}, the most confident first"
            saved.append(views.save(rows, f"{a}_vs_{b}_{name}_{ending}", judged & chosen, by, description))
    return tuple(saved)
