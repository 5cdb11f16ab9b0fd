"""FACET: people in pictures with boxes, perceived gender presentation, age, skin tone, hair and lighting."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, FaceBox, Log, Reader, Record, Value

REQUIRED = ("filename", "bounding_box")
CHOICES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "gender": ("gender_presentation_", {"masc": "Male", "fem": "Female"}),
    "age_group": ("age_presentation_", {name: name for name in ("young", "middle", "older")}),
    "skin_tone": ("skin_tone_", {str(k): str(k) for k in range(1, 11)}),
    "hair_color": ("hair_color_", {n: n for n in ("black", "blonde", "brown", "red", "grey", "colored")}),
    "hair_type": ("hairtype_", {n: n for n in ("bald", "coily", "curly", "dreadlocks", "straight", "wavy")}),
    "lighting": (
        "lighting_",
        {n.replace(" ", "_"): n for n in ("well lit", "dimly lit", "underexposed", "overexposed")},
    ),
}
"""Field -> prefix of its columns, and the end of a column -> label. A column holds how many annotators said so, or 0
and 1."""
FLAGS = ("has_facial_hair", "has_tattoo", "has_cap", "has_mask", "has_headscarf", "has_eyeware", "visible_face")
PICTURES = ("imgs_1", "imgs_2", "imgs_3", "images", "imgs")


@dataclass(frozen=True)
class FACET(Reader):
    """No options. The boxes are of people, not of faces."""

    card = DatasetCard(
        name="facet",
        title="FACET",
        url="https://ai.meta.com/datasets/facet/",
        licence="FACET's own: evaluation only, no training",
        citation="Gustafson et al. 2023, FACET: fairness in computer vision evaluation benchmark, ICCV",
        layout="annotations/annotations.csv (or annotations.csv) and imgs_1/, imgs_2/, imgs_3/ (or images/)",
        attributes={
            "gender": "gender",
            "age_group": "age3_facet",
            "skin_tone": "skin_tone10",
            "hair_color": "hair_color",
            "hair_type": "hair_type",
            "lighting": "lighting4",
        },
        also="boxes of people in 'faces', with the labels on them; the picture's own labels only where it shows one "
        "person",
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table = files.find(folder, ["annotations.csv", "annotations/annotations.csv"])
        roots = [p for name in PICTURES if (p := files.find(folder, [name]))]
        if table is None or not roots:
            raise self.reject(folder)
        for name, rows in _by_picture(table, log).items():
            people, path = [], _path(roots, name)
            for line, row in rows:
                with log.skipping(f"{table}:{line}"):
                    people.append(_person(row, path, log))
            if people and path:
                alone = people[0] if len(rows) == 1 else None
                yield Record(path, alone.labels if alone else {}, faces=tuple(people))


def _by_picture(table: Path, log: Log) -> dict[str, list[tuple[int, files.Row]]]:
    """The people of each picture, whose rows need not stand together: 50,000 rows in all."""
    people: dict[str, list[tuple[int, files.Row]]] = defaultdict(list)
    for line, row in files.rows(table, REQUIRED, log):
        people[row["filename"]].append((line, row))
    return people


def _path(roots: list[Path], name: str) -> str | None:
    for root in roots:
        try:
            return files.picture(root, name)
        except BrokenRow:
            continue
    return None


def _person(row: files.Row, path: str | None, log: Log) -> FaceBox:
    if path is None:
        raise BrokenRow("picture not there", row["filename"])
    box = _box(row["bounding_box"])
    labels = log.kept({field: functools.partial(_most, row, *choice) for field, choice in CHOICES.items()})
    values: dict[str, Value] = {n: row[n].strip() not in ("", "0", "0.0") for n in FLAGS if n in row}
    values |= {"person_class": row["class1"]} if row.get("class1") else {}
    return FaceBox(files.relative_box(*box, files.size(path)), labels, values=values, kind="person")


def _box(text: str | None) -> tuple[float, float, float, float]:
    try:
        box = ast.literal_eval(text or "")
        return float(box["x"]), float(box["y"]), float(box["width"]), float(box["height"])
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise BrokenRow("bounding_box has not x, y, width and height", str(text)[:40]) from None


def _most(row: files.Row, prefix: str, labels: Mapping[str, str]) -> str | None:
    """What most annotators said, the first of those that tie; None where nobody said anything, or column and label are
    not there."""
    votes = {label: files.number(row.get(prefix + end) or "0", prefix + end) for end, label in labels.items()}
    best = max(votes, key=lambda label: votes[label])
    return best if votes[best] > 0 else None
