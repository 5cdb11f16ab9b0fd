"""The sample faces that come with facevlm: averages of consenting volunteers, pictures of nobody."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from facevlm.folders import ASSETS

FOLDER = ASSETS / "faces"


@dataclass(frozen=True)
class SampleRecord:
    """A face in a picture with its labels; ``box_xywh_rel`` in shares of the picture."""

    filepath: str
    box_xywh_rel: tuple[float, float, float, float]
    labels: dict[str, str]
    age: float


def read(kind: str) -> list[SampleRecord]:
    """The ``single`` faces, one per picture, or the faces of the ``group`` pictures."""
    with open(FOLDER / "labels.csv", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"].startswith(f"{kind}/")]
    return [
        SampleRecord(
            filepath=str(FOLDER / row["file"]),
            box_xywh_rel=(float(row["x"]), float(row["y"]), float(row["w"]), float(row["h"])),
            labels={name: row[name] for name in ("gender", "race", "emotion", "age_group")},
            age=float(row["age"]),
        )
        for row in rows
    ]
