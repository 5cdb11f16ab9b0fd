"""One attribute's ground truth and its predictions, row by row, brought onto the common label set. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facevlm.attributes import YEARS, Alignment, age_in_years
from facevlm.errors import FieldError
from facevlm.evaluation.evaluate import Records
from facevlm.evaluation.metrics import Floats
from facevlm.types import Attribute


@dataclass(frozen=True)
class Truth:
    """Ground truth of one attribute: its field, its raw values row by row, and how it meets the predictions."""

    field: str
    values: Sequence[object]
    alignment: Alignment

    def labels(self) -> list[str | None]:
        """Values on the common label set."""
        known = {value: self.alignment.to_truth(value) for value in set(self.values)}
        return [known[value] for value in self.values]


@dataclass(frozen=True)
class Reading:
    """One attribute's ground truth and predictions, row by row, on the common label set.

    ``log_probs`` are (rows, labels), nan in a row without scores, None where no row has any; ``confidence`` is that of
    ``predicted``. ``extra`` predictions belong to no row. ``run`` is the stamp of the answers that count, where the
    field holds those of other runs, too.
    """

    field: str
    truth: Truth
    labels: Sequence[str | None]
    predicted: Sequence[str | None]
    outcomes: Sequence[str | None]
    confidence: Sequence[float | None]
    log_probs: Floats | None
    extra: int = 0
    run: str | None = None

    @property
    def judged(self) -> list[int]:
        """The rows with ground truth and an outcome."""
        pairs = enumerate(zip(self.labels, self.outcomes, strict=True))
        return [k for k, (label, outcome) in pairs if label is not None and outcome is not None]

    def records(
        self,
        groups: Mapping[str, Sequence[str | None]],
        edges: Sequence[float] = (),
        adjust: Mapping[str, Sequence[str | None]] | None = None,
        clusters: tuple[str, Sequence[object]] | None = None,
    ) -> Records:
        """The judged rows as they are evaluated; ``edges`` are those of age groups, ``adjust`` holds values of all
        rows, ``clusters`` the field by which rows go together and its values."""
        kept = self.judged
        in_years = self.truth.alignment.truth_attribute == YEARS
        return Records(
            truth=[str(self.labels[k]) for k in kept],
            predicted=[self.predicted[k] for k in kept],
            outcomes=[str(self.outcomes[k]) for k in kept],
            groups={by: [values[k] for k in kept] for by, values in groups.items()},
            not_asked=sum(label is not None for label in self.labels) - len(kept),
            no_truth=sum(label is None for label in self.labels),
            extra=self.extra,
            log_probs=None if self.log_probs is None else self.log_probs[kept],
            years=[_year(self.truth.values[k]) for k in kept] if in_years else None,
            edges=edges,
            adjust={by: [values[k] for k in kept] for by, values in (adjust or {}).items()},
            cluster=clusters[0] if clusters else "",
            clusters=[clusters[1][k] for k in kept] if clusters else None,
        )


def _year(value: object) -> float:
    age = age_in_years(value)
    return math.nan if age is None else age


def on_common_labels(field: str, predicted: Sequence[str | None], alignment: Alignment) -> list[str | None]:
    """Predicted labels on the common label set; None stays None.

    Raises :class:`~facevlm.errors.FieldError` for labels that are none of the attribute.
    """
    strange = sorted(set(predicted) - {None} - set(alignment.predicted), key=str)
    if strange:
        raise FieldError(
            f"Field '{field}' holds {', '.join(map(str, strange))}, expected only {', '.join(alignment.predicted)}. "
            "Were the predictions made with another definition of this attribute?"
        )
    return [None if label is None else alignment.predicted[label] for label in predicted]


def common_log_probs(given: Floats, attribute: Attribute, alignment: Alignment) -> Floats | None:
    """Log-probabilities (rows, labels) of the common labels from those of the attribute's; None where no row has any.

    Labels that become one add their probabilities up.
    """
    known = np.flatnonzero(~np.isnan(given).any(1))
    if not len(known):
        return None
    labels = alignment.common.labels
    at = np.array([labels.index(alignment.predicted[label]) for label in attribute.labels])
    table = np.full((len(given), len(labels)), np.nan)
    table[known] = np.stack([np.logaddexp.reduce(given[known][:, at == k], axis=1) for k in range(len(labels))], 1)
    return table


def shares_of(predicted: Sequence[str | None], log_probs: Floats, labels: Sequence[str]) -> list[float | None]:
    """The probability of each predicted label, None for no answer and for one without scores."""
    place = {label: k for k, label in enumerate(labels)}
    # No answer borrows the first label's place, and is taken out again below.
    shares = np.exp(log_probs[np.arange(len(predicted)), [0 if p is None else place[p] for p in predicted]])
    scored = np.isfinite(shares).tolist()
    return [v if p is not None and ok else None for p, v, ok in zip(predicted, shares.tolist(), scored, strict=True)]
