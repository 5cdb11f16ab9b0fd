"""What came of a run so far, counted while it goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from facevlm.types import Prediction

LOW_COVERAGE = 0.5


@dataclass
class Tally:
    """What came of a run so far: outcomes per attribute, reasons, seconds, coverage; ``small`` faces among them."""

    faces: int = 0
    small: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    coverage_sum: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        self.outcomes.setdefault(prediction.attribute, Counter())[prediction.outcome] += 1
        if prediction.reason:
            self.reasons[prediction.reason] += 1
        if prediction.coverage is not None:
            self.coverage_sum[prediction.attribute] += prediction.coverage  # type: ignore[assignment]

    def coverage(self) -> dict[str, float]:
        """Mean share of the model's probability that lay on the label set, per attribute that was scored."""
        return {name: total / self.outcomes[name]["ok"] for name, total in self.coverage_sum.items()}

    def warnings(self) -> list[str]:
        """Sentences about attributes whose prompt or answer strings do not seem to fit the model."""
        return [
            f"{name}: on average only {share:.0%} of the model's probability lies on its labels. "
            "The prompt or the answer strings may not fit this model."
            for name, share in self.coverage().items()
            if share < LOW_COVERAGE
        ]


@dataclass(frozen=True)
class Progress:
    """After every batch: how many of the faces are done, and the tally."""

    done: int
    total: int
    tally: Tally
