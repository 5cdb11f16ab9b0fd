"""What came out of a reader, counted while its records pass, and what a dataset of them says about its origin."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from facevlm.datasets.records import DatasetCard, FaceBox, Log, Record


@dataclass
class LoadTally:
    """What came out of a reader, counted while it passes."""

    splits: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    samples: int = 0
    faces: int = 0
    ages: int = 0
    youngest: float = math.inf
    oldest: float = -math.inf

    def count(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, counted."""
        for record in records:
            self.samples += 1
            self.faces += len(record.faces)
            if record.split:
                self.splits[record.split] += 1
            parts: tuple[Record | FaceBox, ...] = (record, *record.faces)
            for part in parts:
                self._age(part.age)
                for name, label in part.labels.items():
                    self.labels.setdefault(name, Counter())[label] += 1
            yield record

    def _age(self, age: float | None) -> None:
        if age is not None:
            self.ages += 1
            self.youngest, self.oldest = min(self.youngest, age), max(self.oldest, age)

    def to_dict(self) -> dict[str, Any]:
        """For a dataset's info, whose keys MongoDB wants without full stops."""
        labels = {name: _keys(dict(counter.most_common())) for name, counter in self.labels.items()}
        ages = {"count": self.ages, "youngest": self.youngest, "oldest": self.oldest} if self.ages else {"count": 0}
        counts = {"samples": self.samples, "faces": self.faces, "ages": ages}
        return counts | {"splits": _keys(self.splits), "labels": _keys(labels)}


def _keys(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace(".", "_").replace("$", "_"): value for name, value in table.items()}


def info_of(
    card: DatasetCard, fields: Mapping[str, str], split: str | None, tally: LoadTally, log: Log
) -> dict[str, Any]:
    """What a dataset says about where it comes from."""
    return {
        "name": card.name,
        "source": card.title,
        "url": card.url,
        "licence": card.licence,
        "citation": card.citation,
        "split": split,
        "attributes": dict(fields),
        "counts": tally.to_dict(),
        "skipped": log.to_dict(),
    }
