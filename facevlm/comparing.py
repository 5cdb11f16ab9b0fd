"""Runs side by side: two or more models or prompts, under prefixes of their own, on the same faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from facevlm import attributes as registry_module
from facevlm.api import resolve_attributes
from facevlm.attributes import Registry
from facevlm.comparison import Comparison
from facevlm.comparison import compare as compare_codes
from facevlm.errors import FieldError, InputError
from facevlm.evaluating import predicted_attributes
from facevlm.store import evaluations, predictions, targets
from facevlm.store.rows import Pictures, rows_of
from facevlm.types import Attribute
from facevlm.uncertainty import DRAWS


def compare(
    target: targets.Collection,
    prefixes: Sequence[str],
    attributes: Sequence[str | Attribute] | None = None,
    *,
    ground_truth: Mapping[str, str] | None = None,
    groups: Sequence[str] = (),
    faces: str | None = None,
    draws: int = DRAWS,
    registry: Registry | None = None,
) -> list[Comparison]:
    """Compare the predictions of two or more prefixes, one result per attribute that all of them have.

    Faces count that have ground truth and that every run was asked about. Paraphrases and option orders of one question
    are runs like any others: apply them under prefixes of their own and read the flips.

    Args:
        target: a FiftyOne dataset or view.
        prefixes: field prefixes of the runs, at least two.
        attributes: by default all that every prefix has predictions for.
        ground_truth: attribute name -> field; by default found by name.
        groups: fields by which flips are shown.
        faces: for predictions on faces, the Detections field with ground truth; by default the only one.
        draws: bootstrap draws behind the interval of the difference.
        registry: attributes of your own.

    Raises:
        FacevlmError: for missing predictions or ground truth, saying what to do.
    """
    known = registry or registry_module.shipped()
    targets.check(target)
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
    return [_one(rows, names, a, (ground_truth or {}).get(a.name), by, draws, known) for a in chosen]


def _shared(
    target: targets.Collection, prefixes: Sequence[str], wanted: Sequence[str | Attribute] | None, known: Registry
) -> list[Attribute]:
    there = [set(predicted_attributes(target, prefix, known)) for prefix in prefixes]
    if wanted is not None:
        chosen = resolve_attributes(wanted, registry=known)
        for prefix in prefixes:
            for attribute in chosen:
                predictions.require(target, predictions.field_name(prefix, attribute.name))
        return chosen
    shared = [known.get(name) for name in known.attributes if all(name in names for names in there)]
    if not shared:
        held = "; ".join(f"{p}: {', '.join(sorted(n)) or 'none'}" for p, n in zip(prefixes, there, strict=True))
        raise FieldError(f"No attribute has predictions under all of {', '.join(prefixes)}. There is {held}.")
    return shared


def _one(
    rows: Pictures,
    prefixes: Sequence[str],
    attribute: Attribute,
    field: str | None,
    groups: Mapping[str, Sequence[str | None]],
    draws: int,
    known: Registry,
) -> Comparison:
    field = field or evaluations.guess_truth(rows, attribute, known)
    if field is None:
        raise FieldError(
            f"No ground-truth field is known for {attribute.name}. Name one as {attribute.name}=FIELD. Fields that "
            f"could be: {', '.join(evaluations.truth_fields(rows)) or 'none'}."
        )
    truth = evaluations.read_truth(rows, field, attribute, known)
    labels = truth.alignment.common.labels
    index = {label: k for k, label in enumerate(labels)}
    true = np.array([-1 if t is None else index[t] for t in truth.labels()], dtype=np.int64)
    runs, asked = {}, true >= 0
    for prefix in prefixes:
        said, outcomes = evaluations.read_answers(rows, prefix, attribute, truth.alignment)
        runs[prefix] = np.array([-1 if label is None else index[label] for label in said], dtype=np.int64)
        asked &= np.array([outcome is not None for outcome in outcomes], dtype=bool)
    kept = np.flatnonzero(asked)
    chosen = {name: [values[k] for k in kept.tolist()] for name, values in groups.items()}
    answers = {prefix: codes[kept] for prefix, codes in runs.items()}
    return compare_codes(truth.alignment.common.name, labels, true[kept], answers, chosen, draws=draws)
