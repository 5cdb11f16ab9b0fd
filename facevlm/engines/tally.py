"""What came of a run so far, counted while it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from facevlm.types import Prediction

LOW_COVERAGE = 0.5
FEW = 30
"""Answers of which it is no wonder that all have one label."""


@dataclass
class Tally:
    """What came of a run so far: outcomes per attribute, reasons, seconds, coverage, labels.

    ``small`` counts small faces, ``differing`` those of which greedy decoding takes another label than the most
    probable one.
    """

    faces: int = 0
    small: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    coverage_sum: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    differing: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        self.outcomes.setdefault(prediction.attribute, Counter())[prediction.outcome] += 1
        if prediction.reason:
            self.reasons[prediction.reason] += 1
        if prediction.coverage is not None:
            self.coverage_sum[prediction.attribute] += prediction.coverage  # type: ignore[assignment]
        if prediction.label is not None:
            self.labels.setdefault(prediction.attribute, Counter())[prediction.label] += 1
        if prediction.rival is not None:
            self.differing[prediction.attribute] += 1

    def coverage(self) -> dict[str, float]:
        """Mean share of the model's probability that lay on the label set, per attribute that was scored."""
        return {name: total / self.outcomes[name]["ok"] for name, total in self.coverage_sum.items()}

    def warnings(self) -> list[str]:
        """Sentences about attributes whose prompt or answer strings do not seem to fit the model."""
        return [*self._uncovered(), *self._alike(), *self._undecided()]

    def _uncovered(self) -> Iterator[str]:
        for name, share in self.coverage().items():
            if share < LOW_COVERAGE:
                yield (
                    f"{name}: on average only {_percent(share)} of the model's probability lies on its labels. "
                    "The prompt or the answer strings may not fit this model."
                )

    def _alike(self) -> Iterator[str]:
        for name, counts in self.labels.items():
            n = counts.total()
            if n >= FEW and len(counts) == 1:
                yield (
                    f"{name}: all {n:,} answers are '{next(iter(counts))}'. If the faces are not all alike, the prompt "
                    "or the answer strings do not fit this model."
                )

    def _undecided(self) -> Iterator[str]:
        for name, n in self.differing.items():
            yield (
                f"{name}: of {n:,} of {self.outcomes[name]['ok']:,} answers greedy decoding takes another label than "
                "the most probable one; the option decision chooses between the two."
            )


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{share:.1%}".replace("%", " %")


@dataclass(frozen=True)
class Progress:
    """After every batch: how many of the faces are done, and the tally."""

    done: int
    total: int
    tally: Tally
