"""All that was ever answered about one face."""

from __future__ import annotations

from dataclasses import dataclass

import fiftyone as fo
import numpy as np

from facevlm.store import runs
from facevlm.store.schema import CONFIDENCE, COVERAGE, LABEL, LOGITS, OUTCOME, REASON, TEXT


@dataclass(frozen=True)
class StoredAnswer:
    """What one run answered about one face; ``shares`` are probabilities of ``labels``, empty without scores."""

    prefix: str
    attribute: str
    label: str | None
    outcome: str
    reason: str | None
    text: str | None
    confidence: float | None
    coverage: float | None
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def answers(dataset: fo.Dataset, sample_id: str) -> list[StoredAnswer]:
    """All answers about one picture, run by run, the oldest first; none for a face that is a patch of a picture."""
    picture = dataset.select(sample_id)
    if not len(picture):
        return []
    sample = picture.first()
    told = []
    for prefix in runs.prefixes(dataset):
        questions = runs.read(dataset, runs.run_key(prefix)).get("questions") or {}
        for attribute, question in questions.items():
            name = f"{prefix}_{attribute}"
            label = sample[name] if dataset.get_field(f"{name}.{OUTCOME}") is not None else None
            if label is not None and label[OUTCOME] is not None:
                told.append(_answer(prefix, attribute, label, tuple(question["labels"])))
    return told


def _answer(prefix: str, attribute: str, label: fo.Classification, labels: tuple[str, ...]) -> StoredAnswer:
    logits = label[LOGITS]
    # Logits of another number of labels are those of another definition of the attribute.
    scored = logits is not None and len(logits) == len(labels)
    return StoredAnswer(
        prefix,
        attribute,
        label=label[LABEL],
        outcome=label[OUTCOME],
        reason=label[REASON],
        text=label[TEXT],
        confidence=label[CONFIDENCE],
        coverage=label[COVERAGE],
        labels=labels if scored else (),
        shares=tuple(float(v) for v in np.exp(logits)) if scored else (),
    )
