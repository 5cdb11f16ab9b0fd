"""A stored evaluation read back for a report, with the record of the run that it judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.evaluation import AttributeEvaluation, Cell
from facevlm.reports.source import Mistake, Source
from facevlm.store import evaluations, runs
from facevlm.store.targets import Collection

MOST = 12


def read(target: Collection, prefix: str = "demo", eval_key: str | None = None, *, pictures: bool = False) -> Source:
    """All that a report needs; the surest errors, too, where ``pictures`` are asked for.

    ``eval_key`` is ``<prefix>_eval`` by default; with a key, the prefix is that of the evaluated predictions.
    Raises :class:`~facevlm.errors.FieldError` where nothing is kept under the key, or figures of another version are.
    """
    dataset = target._dataset
    key = eval_key or f"{prefix}_eval"
    evaluation = evaluations.load_results(dataset, key)
    _check_complete(dataset, key, evaluation["evaluations"])
    names = [e["predicted_attribute"] for e in evaluation["evaluations"]]
    prefix = _prefix(dataset, key, names) or prefix
    return Source(
        dataset=dataset.name,
        prefix=prefix,
        evaluation=evaluation,
        record=runs.read(dataset, runs.run_key(prefix)),
        view=_view(dataset, key, names),
        evaluated=dataset.get_run_info(f"{evaluations.KEPT}{key}").timestamp.isoformat(timespec="seconds"),
        mistakes={n: _mistakes(dataset, f"{key}_{n}", evaluation["views"].get(n)) for n in names} if pictures else None,
    )


def _check_complete(dataset: fo.Dataset, key: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` for figures of an older version that lack some of today's."""
    wanted, cell = ({f.name for f in fields(kind)} for kind in (AttributeEvaluation, Cell))
    for evaluation in results:
        missing = sorted((wanted - set(evaluation)) | (cell - set(evaluation.get("overall") or ())))
        if missing:
            raise FieldError(
                f"The evaluation '{key}' of dataset '{dataset.name}' was stored by another version of facevlm: it "
                f"lacks {', '.join(missing)}. Evaluate again."
            )


def _prefix(dataset: fo.Dataset, key: str, names: Sequence[str]) -> str | None:
    """The prefix of the predictions that were evaluated, from FiftyOne's own record of the first that is there."""
    for name in names:
        if dataset.has_evaluation(f"{key}_{name}"):
            field: str = dataset.get_evaluation_info(f"{key}_{name}").config.pred_field
            # A field of mapped predictions is named <prefix>_<attribute>_as_<common>.
            for prefix in runs.prefixes(dataset):
                if field == f"{prefix}_{name}" or field.startswith(f"{prefix}_{name}_as_"):
                    return prefix
    return None


def _view(dataset: fo.Dataset, key: str, names: Sequence[str]) -> str:
    """The stages of the evaluated view by name, without the last, which keeps the faces that can be evaluated."""
    for name in names:
        if dataset.has_evaluation(f"{key}_{name}"):
            stages = dataset.load_evaluation_view(f"{key}_{name}")._stages[:-1]
            return ", ".join(type(stage).__name__ for stage in stages)
    return ""


def _mistakes(dataset: fo.Dataset, key: str, view: str | None) -> list[Mistake]:
    if view is None or not dataset.has_saved_view(view) or not dataset.has_evaluation(key):
        return []
    config: Any = dataset.get_evaluation_info(key).config
    said, true = config.pred_field, config.gt_field
    errors = dataset.load_saved_view(view).match(F(f"{said}.label") != None).limit(MOST)  # noqa: E711
    paths = ("filepath", f"{true}.label", f"{said}.label", f"{said}.confidence")
    return [Mistake(*row) for row in zip(*errors.values(list(paths)), strict=True)]
