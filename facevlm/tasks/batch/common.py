"""What handing in and collecting share: the record of a prefix, and which answers are stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from facevlm.backends import Backend, Batching
from facevlm.errors import InputError
from facevlm.types import Face, Prediction

METHOD = "facevlm_batch"
"""Method of the runs under which batches stand in a dataset."""


def batching(backend: Backend) -> Batching:
    """The backend, which must be able to take batches.

    Raises :class:`~facevlm.errors.InputError` for one that cannot.
    """
    if not isinstance(backend, Batching):
        raise InputError(
            f"Model '{backend.info.model}' takes no batches, expected a model behind an API such as gpt-4o-mini."
        )
    return backend


def batch_key(prefix: str) -> str:
    """The run under which the batches of a prefix stand."""
    return f"facevlm_batch_{prefix}"


def flat(write: Callable[[Sequence[Prediction]], None]) -> Callable[[Sequence[list[Prediction]]], None]:
    """A writer of rows, one per face, from a writer of predictions."""

    def all_of(rows: Sequence[list[Prediction]]) -> None:
        if made := [prediction for row in rows for prediction in row]:
            write(made)

    return all_of


Lacking = Mapping[tuple[str, "str | None"], Collection[str]]
"""Ids of a face -> the attributes of which it has no ``ok`` answer of this run."""


def lacks(pending: Mapping[tuple[str, ...], Sequence[Face]]) -> Lacking:
    """What is still to be answered, face by face."""
    return {(face.sample_id, face.label_id): names for names, faces in pending.items() for face in faces}


def storable(row: Sequence[Prediction], lacking: Lacking) -> list[Prediction]:
    """A face's predictions without the failures that would take the place of an ``ok`` answer."""
    missing = lacking.get((row[0].face.sample_id, row[0].face.label_id), ())
    return [prediction for prediction in row if prediction.outcome == "ok" or prediction.attribute in missing]
