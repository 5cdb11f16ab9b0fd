"""Which run answered: every answer carries the stamp of its run, and figures are made of the answers of one run alone.

Under a prefix there may be answers of several: a part was asked again of another model, or a run that was to overwrite
all was stopped half-way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from facevlm.errors import FieldError
from facevlm.store import columns, runs
from facevlm.store.predictions import root_of
from facevlm.store.schema import DETECTIONS, OUTCOME, RUN
from facevlm.store.targets import Collection, holds

WAY = ("time", "identity", "backend", "questions")
UNKNOWN = "a model that no record names"
MADE_OF = "facevlm_made_of"
"""In the info of a field of what is derived from answers: which answers these are."""
Others = Mapping[str, Sequence[str | None]]
"""Attribute -> the stamps of other runs in its field, None for answers without one."""


@dataclass(frozen=True)
class Answered:
    """The answers of one run in a field: its stamp, its model, and how many there are."""

    run: str | None
    model: str
    n: int

    def __str__(self) -> str:
        return f"{self.n:,} of {self.model} (run {self.run or 'without a stamp'})"


def of_one_run(
    dataset: fo.Dataset,
    field: str,
    stamps: Sequence[str | None],
    outcomes: Sequence[str | None],
    wanted: Sequence[str] = (),
) -> Answered | None:
    """Whose answers the rows of a field are, those of one run; None where there is no answer.

    ``wanted`` are models or stamps: of several runs in the field, the one that it names is taken, and the answers of
    the others are to count as not asked. Raises :class:`~facevlm.errors.FieldError` where it names none of them, or
    not one alone.
    """
    found = _answered(dataset, stamps, outcomes)
    named = _named(found, wanted)
    if not found or (len(found) == 1 and (named or not wanted)):
        return found[0] if found else None
    if len(named) == 1:
        return named[0]
    raise _not_one(field, found, named, wanted) if wanted else _mixed(field, found)


def _named(found: Sequence[Answered], wanted: Sequence[str]) -> list[Answered]:
    """The runs of these models or stamps; a model's bare name counts where no model has it as its whole name."""
    exact = {name for name in wanted if any(name in (run.run, run.model) for run in found)}
    bare = set(wanted) - exact
    return [run for run in found if {run.run, run.model} & exact or bare & _bare_names(run.model)]


def _bare_names(model: str) -> set[str]:
    """``m`` of ``openai:m``; ``org/Model`` and ``Model`` of ``hf:org/Model``."""
    name = model.partition(":")[2] or model
    return {name, name.rstrip("/").rpartition("/")[2]}


def _not_one(field: str, found: Sequence[Answered], named: Sequence[Answered], wanted: Sequence[str]) -> FieldError:
    if named:
        return FieldError(
            f"Got runs={list(wanted)}, which names {len(named)} runs that answered in field '{field}', expected "
            f"one for each attribute: {'; '.join(map(str, named))}. Name one by its stamp (runs=['{named[0].run}'])."
        )
    told = "; ".join(map(str, found))
    return FieldError(f"Got runs={list(wanted)}, expected one of those that answered in field '{field}': {told}.")


def _mixed(field: str, found: Sequence[Answered]) -> FieldError:
    return FieldError(
        f"{_of_several(field, found)} Evaluate one of them by its name (runs=['{found[0].run}'], --runs), or have all "
        "answered by one model: apply it to all with overwrite."
    )


def _of_several(field: str, found: Sequence[Answered]) -> str:
    told = "; ".join(map(str, found))
    return f"Field '{field}' holds answers of {len(found)} runs, expected those of one: {told}."


def require_one_beside(
    dataset: fo.Dataset, field: str, stamps: Sequence[str | None], outcomes: Sequence[str | None]
) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where answers that are no predictions of the call, but what faces are
    grouped by, are those of several runs."""
    found = _answered(dataset, stamps, outcomes)
    if len(found) > 1:
        raise FieldError(
            f"{_of_several(field, found)} A group of two models' answers is none: have all answered by one model "
            "(apply it to all with overwrite), or name another field."
        )


def require_one_run(target: Collection, field: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` where a field of a target holds answers of several runs."""
    if len(found := runs_in(target, field)) > 1:
        raise _mixed(field, found)


def _answered(dataset: fo.Dataset, stamps: Sequence[str | None], outcomes: Sequence[str | None]) -> list[Answered]:
    """The runs in the order of their answers' number; a face without any stored answer is of no run."""
    pairs = zip(stamps, outcomes, strict=True)
    counts = Counter(stamp for stamp, outcome in pairs if outcome is not None and not _is_implied(stamp, outcome))
    return [Answered(stamp, model_of(dataset, stamp), n) for stamp, n in counts.most_common()]


def _is_implied(stamp: str | None, outcome: str) -> bool:
    """Whether an outcome is that of a face to which no stored answer belongs."""
    return stamp is None and outcome == "no_face"


def runs_in(target: Collection, field: str) -> list[Answered]:
    """The runs whose answers are in a field of a target, counted by the database."""
    root = root_of(field, fo.Detections if holds(target.get_field(field), fo.Detections) else fo.Classification)
    counts = Counter(target.count_values(f"{root}.{RUN}"))
    return [Answered(stamp, model_of(target._dataset, stamp), n) for stamp, n in counts.most_common() if stamp]


def others(dataset: fo.Dataset, fields: Mapping[str, str], stamps: Mapping[str, str]) -> Others:
    """Whose answers, beside those of the run with these ``stamps``, are in the fields, of whichever sample.

    The labels themselves say so; a record may have been deleted. ``fields`` and ``stamps`` are by attribute. One
    aggregation, in which the database reads every sample once.
    """
    known = {attribute: name for attribute, name in fields.items() if dataset.get_field(name) is not None}
    if not known:
        return {}
    states = {f"f{k}": _states(name) for k, name in enumerate(known.values())}
    every = {"_id": None} | {name: {"$addToSet": f"${name}"} for name in states}
    [held] = [*dataset._sample_collection.aggregate([{"$project": {"_id": False} | states}, {"$group": every}])] or [{}]
    found = {
        attribute: {stamp or None for one in held.get(f"f{k}", ()) for stamp in one if stamp is not None}
        for k, attribute in enumerate(known)
    }
    foreign = {attribute: sorted(some - {stamps[attribute]}, key=str) for attribute, some in found.items()}
    return {attribute: some for attribute, some in foreign.items() if some}


def _states(field: str) -> dict[str, Any]:
    """The stamps in a field of a sample, of the picture and of its faces; an empty one for an answer without."""

    def stamp(document: str) -> dict[str, Any]:
        is_answer = {"$ne": [{"$ifNull": [f"{document}.{OUTCOME}", None]}, None]}
        return {"$cond": [is_answer, {"$ifNull": [f"{document}.{RUN}", ""]}, None]}

    boxes = f"${field}.{DETECTIONS}"
    faces = {"$map": {"input": {"$cond": [{"$isArray": boxes}, boxes, []]}, "in": stamp("$$this")}}
    return {"$setUnion": [[stamp(f"${field}")], faces]}


def not_ours(dataset: fo.Dataset, prefix: str, others: Others) -> FieldError:
    """The error about fields that hold the answers of other runs, which are not to be lost."""
    stamps = {stamp for some in others.values() for stamp in some}
    models = sorted({model_of(dataset, stamp) for stamp in stamps})
    return FieldError(
        f"The fields of prefix '{prefix}' hold predictions of another model or prompt for {', '.join(sorted(others))}: "
        f"of {' and '.join(models)}. Choose another field prefix to keep both, or ask to overwrite them."
    )


def take_over(dataset: fo.Dataset, name: str, ids: Sequence[str], by: str) -> None:
    """Make ready a field of what is derived from answers, to be written for the samples with the ids.

    ``by`` names the answers. Where the field was made of others, as it says itself, what it holds of other samples is
    taken away: no figure and no view is to be made of the two.
    """
    field = dataset.get_field(name)
    if (field.info or {}).get(MADE_OF) != by:
        columns.clear_others(dataset, ids, [name])
        field.info = {**(field.info or {}), MADE_OF: by}
        field.save()


def model_of(dataset: fo.Dataset, stamp: str | None) -> str:
    """The name of the model that answers with a stamp are of."""
    return str((way(dataset, stamp).get("backend") or {}).get("model") or UNKNOWN)


def way(dataset: fo.Dataset, stamp: str | None) -> Mapping[str, Any]:
    """How answers with a stamp came about: ``time``, ``identity``, ``backend`` and ``questions``; empty if unknown."""
    if stamp is None:
        return {}
    key, mark = stamp.rpartition(":")[0], runs.mark_of(stamp)
    record = runs.read(dataset, key)
    known: Mapping[str, Any] = (record.get("answered_by") or {}).get(mark) or {}
    # A record that was written before ways were kept tells of its last run alone.
    is_last = "answered_by" not in record and mark in (record.get("fingerprints") or {}).values()
    return record if is_last and not known else known


def told(dataset: fo.Dataset, by: Answered | None) -> dict[str, Any]:
    """Whose answers were read, as plain data: ``run``, ``model``, ``n`` and what is known of the way."""
    if by is None:
        return {}
    parts = {part: value for part, value in way(dataset, by.run).items() if part in WAY}
    return {"run": by.run, "model": by.model, "n": by.n, **parts}


def records(dataset: fo.Dataset, prefix: str, answered_by: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of the runs whose answers were judged, by ``answered_by`` of a stored evaluation.

    Most often that is the one of the prefix. Where another run has taken its place meanwhile, or attributes were
    answered by different ones, there is one for each, with what is known of it.
    """
    key, judged = runs.run_key(prefix), {a: by for a, by in answered_by.items() if by}
    record = runs.read(dataset, key)
    marks = record.get("fingerprints") or {}
    ways: dict[str, dict[str, Any]] = {}
    for attribute, by in judged.items():
        made = {part: by[part] for part in WAY if part in by}
        same = ways.setdefault(json.dumps([by["model"], made.get("identity")]), made | {"questions": {}})
        same["questions"] |= {attribute: (made.get("questions") or {}).get(attribute) or {}}
    stands = all(by["run"] == runs.stamp(key, marks.get(a, "")) for a, by in judged.items())
    return list(ways.values()) if ways and not (stands and len(ways) == 1) else [record]
