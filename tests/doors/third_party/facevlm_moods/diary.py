"""A data set: a folder of pictures with ``diary.csv``, whose lines are a file and a mood."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm.datasets import DatasetCard, Log, Reader, Record
from facevlm.datasets.records import label


@dataclass(frozen=True)
class Diary(Reader):
    """``week`` becomes a tag of every picture."""

    week: int = 1

    card = DatasetCard(
        name="diary",
        title="Mood diary",
        url="https://moods.example/diary",
        licence="one's own pictures",
        citation="none",
        layout="diary.csv with a file and a mood in each line, and the pictures",
        attributes={"mood": "mood"},
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table = folder / "diary.csv"
        if not table.is_file():
            raise self.reject(folder)
        with table.open(newline="", encoding="utf-8") as handle:
            for number, (name, mood) in enumerate(csv.reader(handle), 1):
                with log.skipping(f"{table}:{number}"):
                    yield Record(str(folder / name), {"mood": label("mood", mood)}, tags=(f"week{self.week}",))
