"""A stored evaluation read back for a report, with the record of the run that it judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.reports.source import Mistake, Source
from facevlm.store import inspection, provenance, results
from facevlm.store.targets import Collection

MOST = 12


def read(target: Collection, prefix: str = "demo", eval_key: str | None = None, *, pictures: bool = False) -> Source:
    """All that a report needs; the surest errors, too, where ``pictures`` are asked for.

    ``eval_key`` is ``<prefix>_eval`` by default; with a key, the prefix is that of the evaluated predictions.
    Raises :class:`~facevlm.errors.FieldError` where nothing is kept under the key, or figures of another version are.
    """
    dataset = target._dataset
    key = eval_key or f"{prefix}_eval"
    evaluation = results.load(dataset, key)
    names = [e["predicted_attribute"] for e in evaluation["evaluations"]]
    record, *others = provenance.records(dataset, evaluation["prefix"], evaluation["answered_by"])
    return Source(
        dataset=dataset.name,
        prefix=evaluation["prefix"],
        evaluation=evaluation,
        record=record,
        others=others,
        view=results.stage_names(evaluation),
        evaluated=results.evaluated_at(dataset, key).replace(tzinfo=None).isoformat(timespec="seconds"),
        mistakes={name: _mistakes(target, evaluation, name) for name in names} if pictures else None,
        changed=tuple(said for name in names if (said := _changed(target, evaluation, name))),
    )


def _changed(target: Collection, evaluation: Mapping[str, Any], name: str) -> str | None:
    """That the answers about an attribute are no longer those that were judged, in words; None where they are."""
    try:
        is_outdated = inspection.is_outdated(target._dataset, evaluation, name)
    except FieldError as error:
        return str(error)
    return (
        f"{name} was answered anew since this evaluation: the figures are of the answers before, and pictures of "
        "errors and facts of the run may be of those since. Evaluate again."
        if is_outdated
        else None
    )


def _mistakes(target: Collection, evaluation: Mapping[str, Any], name: str) -> list[Mistake]:
    view, dataset, fields = evaluation["views"].get(name), target._dataset, evaluation["fields"][name]
    if view is None or not dataset.has_saved_view(view):
        return []
    errors = dataset.load_saved_view(view).match(F(fields["said"]) != None).limit(MOST)  # noqa: E711
    paths = ("filepath", fields["truth"], fields["said"], fields["sure"])
    return [Mistake(*row) for row in zip(*errors.values(list(paths)), strict=True)]
