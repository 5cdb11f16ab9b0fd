"""All figures of an evaluation, kept with the dataset as a FiftyOne custom run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors

from facevlm.errors import FieldError
from facevlm.evaluation.evaluate import AttributeEvaluation, Cell
from facevlm.store import runs

RESULTS = "facevlm-evaluation"
KEPT = "facevlm_"
"""Evaluation ``KEY`` keeps its figures as the run ``facevlm_KEY``."""

PARTS = (
    *("eval_key", "ground_truth", "views", "workspace", "evaluations"),
    *("prefix", "draws", "groups", "bins", "stages", "faces", "fields", "becomes"),
)
"""What is kept, as ``EvaluationResult.to_dict`` gives it."""
NEWER: Mapping[str, Any] = {"answered_by": {}, "warnings": [], "adjust": [], "cluster": None}
"""Parts that earlier evaluations do not hold, with what stands for them."""


OPTIONAL = {"clusters"}
"""What figures have that earlier evaluations do not hold and nothing needs."""


def save(dataset: fo.Dataset, results: Mapping[str, Any]) -> None:
    """Keep the results, all of ``PARTS`` and of ``NEWER``, under their key."""
    keep(dataset, f"{KEPT}{results['eval_key']}", RESULTS, results)


def keep(dataset: fo.Dataset, key: str, method: str, results: Mapping[str, Any]) -> None:
    """Keep results with a dataset as the custom run ``key``, in place of earlier ones, which stay until then."""
    runs.replace(dataset, fors.Run, key, fors.RunResults(dataset, fors.RunConfig(method=method), key, **results))


def eval_keys(dataset: fo.Dataset) -> list[str]:
    """Keys of the evaluations whose figures are kept with a dataset, oldest first."""
    dated = []
    for key in dataset.list_runs():
        info = dataset.get_run_info(key)
        if info.config.method == RESULTS:
            dated.append((info.timestamp, key.removeprefix(KEPT)))
    return [key for _, key in sorted(dated)]


def evaluated_at(dataset: fo.Dataset, eval_key: str) -> datetime:
    """When the figures were kept, in UTC."""
    time: datetime = dataset.get_run_info(f"{KEPT}{eval_key}").timestamp
    return time.replace(tzinfo=timezone.utc)


def load(dataset: fo.Dataset, eval_key: str) -> dict[str, Any]:
    """What :func:`save` kept.

    A figure that the version which stored it did not know is not in it, and is shown as a dash.
    Raises :class:`~facevlm.errors.FieldError` where nothing is kept, or something that all else needs is lacking.
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
    missing = [part for part in PARTS if not hasattr(kept, part)]
    if not missing:
        missing = sorted({name for figures in kept.evaluations for name in _lacking(figures)})
    if missing:
        raise FieldError(
            f"Evaluation '{eval_key}' of dataset '{dataset.name}' was stored by another version of facevlm: it lacks "
            f"{', '.join(missing)}. Evaluate again."
        )
    return {part: getattr(kept, part) for part in PARTS} | {p: getattr(kept, p, usual) for p, usual in NEWER.items()}


def _lacking(figures: Mapping[str, Any]) -> set[str]:
    """What an evaluation of an attribute cannot be without: all but single figures."""
    wanted, cell = ({f.name for f in fields(kind)} for kind in (AttributeEvaluation, Cell))
    lacking = (wanted - set(figures)) | (cell - {"figures"} - set(figures.get("overall") or ()))
    return lacking - OPTIONAL


def stage_names(results: Mapping[str, Any]) -> str:
    """The stages of the evaluated view by name; empty for a whole dataset."""
    return ", ".join(stage["_cls"].rpartition(".")[2] for stage in json.loads(results["stages"]))
