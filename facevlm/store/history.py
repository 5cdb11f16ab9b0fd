"""All that was ever said about one face."""

from __future__ import annotations

from dataclasses import dataclass

import fiftyone as fo
import numpy as np

from facevlm.store import runs


@dataclass(frozen=True)
class StoredAnswer:
    """What one run said about one face; ``shares`` are probabilities of ``labels``, empty without scores."""

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
    found = []
    for prefix in runs.prefixes(dataset):
        questions = runs.read(dataset, runs.run_key(prefix)).get("questions") or {}
        for attribute, question in questions.items():
            name = f"{prefix}_{attribute}"
            said = sample[name] if dataset.get_field(f"{name}.outcome") is not None else None
            if said is None or said["outcome"] is None:
                continue
            labels, logits = tuple(question["labels"]), said.logits
            scored = logits is not None and len(logits) == len(labels)
            found.append(
                StoredAnswer(
                    prefix,
                    attribute,
                    said.label,
                    said["outcome"],
                    said["reason"],
                    said["text"],
                    said.confidence,
                    said["coverage"],
                    labels if scored else (),
                    tuple(float(v) for v in np.exp(logits)) if scored else (),
                )
            )
    return found
