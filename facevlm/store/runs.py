"""The record of a run, as a FiftyOne custom run: everything to repeat it, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors

from facevlm.errors import FieldError

METHOD = "facevlm"
OWN = ("cls", "type", "method")
"""What FiftyOne adds to a record."""


def run_key(prefix: str) -> str:
    """The key of the run that writes fields with this prefix."""
    return f"facevlm_{prefix}"


def stamp(key: str, fingerprint: str) -> str:
    """What a label carries: the run's key and the fingerprint of model and question."""
    return f"{key}:{fingerprint}"


def read(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The record under a key, or an empty one."""
    if not dataset.has_run(key):
        return {}
    record: dict[str, Any] = dataset.get_run_info(key).config.serialize()
    return record


def fresh(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The record as it stands in the database now, whatever another process wrote since it was read here."""
    known = dataset._doc.runs.get(key)
    if known is not None:
        known.reload()
    return read(dataset, key)


def check_unchanged(dataset: fo.Dataset, key: str, fingerprints: Mapping[str, str], prefix: str) -> None:
    """Raise :class:`~facevlm.errors.FieldError` if a field of the run holds answers to another question or model."""
    before = read(dataset, key).get("fingerprints") or {}
    changed = sorted(a for a, mark in fingerprints.items() if before.get(a, mark) != mark)
    if changed:
        raise FieldError(
            f"The fields of prefix '{prefix}' hold predictions of another model or prompt for {', '.join(changed)}. "
            "Choose another field prefix to keep both, or ask to overwrite them."
        )


def write(dataset: fo.Dataset, key: str, record: Mapping[str, Any], method: str = METHOD) -> None:
    """Save the record under the key; fingerprints and counts of other attributes of the same run are kept."""
    before = read(dataset, key)
    merged = dict(record)
    for part in ("fingerprints", "questions", "outcomes", "coverage"):
        merged[part] = {**(before.get(part) or {}), **(record.get(part) or {})}
    config = fors.RunConfig(method=method, **merged)
    if dataset.has_run(key):
        dataset.update_run_config(key, config)
    else:
        dataset.register_run(key, config)


def update(dataset: fo.Dataset, key: str, record: Mapping[str, Any], method: str = METHOD) -> None:
    """Save a record that was read before, with its changes."""
    write(dataset, key, {name: value for name, value in record.items() if name not in OWN}, method)


def prefixes(dataset: fo.Dataset, method: str = METHOD) -> list[str]:
    """Prefixes of the runs of a method, oldest first; by default those that wrote predictions into a dataset."""
    dated = []
    for key in dataset.list_runs():
        info = dataset.get_run_info(key)
        if info.config.method == method:
            dated.append((info.timestamp, info.config.prefix))
    return [prefix for _, prefix in sorted(dated)]
