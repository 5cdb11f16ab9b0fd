"""The record of a run, as a FiftyOne custom run: everything to repeat it, no secret.

A prefix has one record: that of its last run. What earlier runs were is kept in it under ``answered_by``, by the mark
that answers carry, since an answer may be of any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.constants as foc
import fiftyone.core.odm.runs as odm_runs
import fiftyone.core.runs as fors
import mongoengine.errors
from bson import json_util

from facevlm.errors import FieldError

METHOD = "facevlm"
ENOUGH = 8
"""Faces of a run from which on its rate tells something."""
OWN = ("cls", "type", "method")
"""What FiftyOne adds to a record."""
MERGED = ("fingerprints", "questions", "outcomes", "coverage", "differing", "answered_by")
"""Parts of a record that tell of single attributes or answers: those that a run does not name are kept."""


def run_key(prefix: str) -> str:
    """The key of the run that writes fields with this prefix."""
    return f"facevlm_{prefix}"


def stamp(key: str, fingerprint: str) -> str:
    """What a label carries: the run's key and the fingerprint of model and question."""
    return f"{key}:{fingerprint}"


def mark_of(stamp: str) -> str:
    """The fingerprint in a label's stamp."""
    return stamp.rpartition(":")[2]


def read(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The record under a key as it stands in the database now, whoever wrote it; an empty one where there is none."""
    if not dataset.has_run(key):
        return {}
    try:
        dataset._doc.runs[key].reload()
    except mongoengine.errors.DoesNotExist:
        # Another process deleted it: to hold on to it would keep a new one from being written.
        del dataset._doc.runs[key]
        return {}
    record: dict[str, Any] = dataset.get_run_info(key).config.serialize()
    return record


def is_due(record: Mapping[str, Any], marks: Iterable[str]) -> bool:
    """Whether a run that has nothing to do must write its record all the same.

    One of an earlier run that is going on or was stopped, which a process that was killed cannot change; or none that
    names the run, since somebody deleted it.
    """
    named = (
        set(record["answered_by"] or ()) if "answered_by" in record else {*(record.get("fingerprints") or {}).values()}
    )
    return record.get("status") in ("running", "stopped") or not named.issuperset(marks)


def claimed(record: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, str]:
    """Of attributes the marks, other than these, by which a run that is not over will answer, maybe without any answer
    yet: one under way in another process, or one whose batches are out."""
    taken = record.get("fingerprints") or {} if record.get("status") in ("running", "submitted") else {}
    return {attribute: taken[attribute] for attribute, mark in marks.items() if taken.get(attribute, mark) != mark}


def refuse_changed(prefix: str, changed: Sequence[str]) -> None:
    """Raise :class:`~facevlm.errors.FieldError` if there are attributes whose answers are to another question."""
    if changed:
        raise FieldError(
            f"The fields of prefix '{prefix}' hold predictions of another model or prompt for {', '.join(changed)}. "
            "Choose another field prefix to keep both, or ask to overwrite them."
        )


def write(dataset: fo.Dataset, key: str, record: Mapping[str, Any], method: str = METHOD) -> None:
    """Save the record under the key; what it holds of other attributes and of earlier runs is kept."""
    before = read(dataset, key)
    merged = dict(record)
    for part in MERGED:
        merged[part] = {**(before.get(part) or {}), **(record.get(part) or {})}
    config = fors.RunConfig(method=method, **merged)
    if dataset.has_run(key):
        dataset.update_run_config(key, config)
    else:
        dataset.register_run(key, config)


def replace(dataset: fo.Dataset, kind: type[fors.BaseRun], key: str, results: fors.BaseRunResults) -> None:
    """Keep results, with their config and view, as the run of a kind under a key; earlier ones stay until then.

    FiftyOne deletes a run before it registers another one in its place: a process that is killed between the two has
    lost the first. Here the new run is stored whole, and the dataset is then told of it by one write.
    """
    view = results.samples
    stages = (
        None if isinstance(view, fo.Dataset) else [json_util.dumps(s) for s in view._serialize(include_uuids=False)]
    )
    made = odm_runs.RunDocument(
        dataset_id=dataset._doc.id,
        key=key,
        version=foc.VERSION,
        timestamp=datetime.now(timezone.utc).replace(tzinfo=None),
        config=results.config.serialize(),
        view_stages=stages,
        results_meta=dict(results.get_meta() or {}),
    )
    made.results.put(_as_json(results.serialize()).encode(), content_type="application/json")
    made.save(upsert=True)
    known = getattr(dataset._doc, kind._runs_field())
    before = known.get(key)
    known[key] = made
    dataset.save()
    getattr(dataset, kind._results_cache_field()).pop(key, None)
    if isinstance(before, odm_runs.RunDocument):
        before.results.delete()
        before.delete()


def _as_json(serialized: Any) -> str:
    """As ``json_util.dumps`` writes it, which visits every number and text in Python where there is nothing to do."""
    try:
        return json.dumps(serialized, allow_nan=False)
    except (ValueError, TypeError):
        return str(json_util.dumps(serialized))


def update(dataset: fo.Dataset, key: str, record: Mapping[str, Any], method: str = METHOD) -> None:
    """Save a record that was read before, with its changes."""
    write(dataset, key, {name: value for name, value in record.items() if name not in OWN}, method)


def rate(dataset: fo.Dataset, model: str, machine: str) -> float | None:
    """Faces a second of the last run by which a model was asked on a machine; None where no run tells."""
    told = [dataset.get_run_info(key).config.serialize() for key in dataset.list_runs()]
    fitting = [
        run
        for run in told
        if run.get("machine") == machine
        and (run.get("backend") or {}).get("model") == model
        and (run.get("asked") or 0) >= ENOUGH
        and run.get("seconds")
    ]
    last = max(fitting, key=lambda run: str(run.get("time")), default=None)
    return None if last is None else float(last["asked"] / last["seconds"])


def prefixes(dataset: fo.Dataset, method: str = METHOD) -> list[str]:
    """Prefixes of the runs of a method, oldest first; by default those that wrote predictions into a dataset."""
    dated = []
    for key in dataset.list_runs():
        info = dataset.get_run_info(key)
        if info.config.method == method:
            dated.append((info.timestamp, info.config.prefix))
    return [prefix for _, prefix in sorted(dated)]
