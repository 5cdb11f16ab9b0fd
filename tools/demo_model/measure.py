"""Measure the shipped demo model on the held-out pictures and on the sample faces, per group.

    python -m tools.demo_model.measure [--separate] [--data utkface] [--adjust age5] [--json FILE]

Pictures go through the backend as a user's would: original size, the processor's resampling, joint prompt.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from facevlm import parsing
from facevlm.attributes import align, get, shipped
from facevlm.backends import open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.datasets import samples
from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate
from facevlm.reports import text
from facevlm.types import Face
from tools.demo_model.faces import FER_EMOTION, SHARED, held_out, usable

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
BATCH = 64
Row = tuple[Image.Image, dict[str, object]]


def held_out_pictures(name: str) -> Iterator[Row]:
    """Pictures of UTKFace or FER2013 that no training step saw, with their labels by attribute."""
    with tarfile.open(SHARED / f"{name}.tar") as archive:
        members = {m.name.split("/", 1)[-1] if "/" in m.name else m.name: m for m in archive if m.isfile()}

        def read(file: str) -> bytes:
            handle = archive.extractfile(members[file])
            assert handle is not None
            return handle.read()

        table = usable(name, pd.read_csv(io.BytesIO(read("labels.csv"))))
        for _, row in table[table["pixel_sha256"].map(held_out)].iterrows():
            if name == "utkface":
                labels = {"gender": row["gender"], "race5": row["race"], "age5": int(row["age"])}
            else:
                labels = {"emotion7": FER_EMOTION.get(row["emotion"], row["emotion"])}
            yield Image.open(io.BytesIO(read(row["file"]))).convert("RGB"), labels


def sample_pictures() -> Iterator[Row]:
    for record in samples.read("single"):
        labels = record.labels
        truth = {"gender": labels["gender"], "race5": labels["race"], "emotion7": labels["emotion"], "age5": record.age}
        yield Image.open(record.filepath).convert("RGB"), truth


def group_pictures(frame: float) -> Iterator[Row]:
    """The faces of the group pictures in a square of ``frame`` times the longer side of their box."""
    for record in samples.read("group"):
        picture = Image.open(record.filepath).convert("RGB")
        x, y, w, h = record.box_xywh_rel
        half = max(w * picture.width, h * picture.height) * frame / 2
        at_x, at_y = (x + w / 2) * picture.width, (y + h / 2) * picture.height
        square = (round(at_x - half), round(at_y - half), round(at_x + half), round(at_y + half))
        labels = record.labels
        truth = {"gender": labels["gender"], "race5": labels["race"], "emotion7": labels["emotion"], "age5": record.age}
        yield picture.crop(square), truth


def measure(rows: list[Row], *, joint: bool, adjust: str | None = None) -> list[AttributeEvaluation]:
    names = [name for name in ATTRIBUTES if name in rows[0][1]]
    questions = questions_for(find("demo"), [get(name) for name in names], joint=joint)
    backend = open_backend("demo")
    replies = []
    for i in range(0, len(rows), BATCH):
        replies += backend.answer([picture for picture, _ in rows[i : i + BATCH]], questions)
    truths, tables = {}, []
    for name in names:
        alignment = align(get(name), [labels[name] for _, labels in rows], shipped())
        truths[name] = [alignment.to_truth(labels[name]) for _, labels in rows]
    for k, question in enumerate(questions):
        said = [parsing.predict(Face("", ""), question, row[k]) for row in replies]
        records = Records(
            truth=[t for t in truths[question.attribute.name] if t is not None],
            predicted=[p.label for p in said],
            outcomes=[p.outcome for p in said],
            groups=truths,
            adjust={adjust: truths[adjust]} if adjust in truths else {},
        )
        tables.append(evaluate(question.attribute, records))
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--separate", action="store_true", help="each attribute with its own prompt")
    parser.add_argument("--data", choices=("utkface", "fer2013", "samples"), help="these pictures alone")
    parser.add_argument("--adjust", choices=ATTRIBUTES, help="groups also with the same mix of its true labels")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sets: dict[str, tuple[str, Callable[[], Iterator[Row]]]] = {
        "UTKFace, held out": ("utkface", lambda: held_out_pictures("utkface")),
        "FER2013, held out": ("fer2013", lambda: held_out_pictures("fer2013")),
        "sample faces": ("samples", sample_pictures),
        "group faces, frame 1.0": ("samples", lambda: group_pictures(1.0)),
        "group faces, frame 1.5": ("samples", lambda: group_pictures(1.5)),
    }
    figures: dict[str, Any] = {}
    for title, (data, read) in sets.items():
        if args.data not in (None, data):
            continue
        tables = measure(list(read()), joint=not args.separate, adjust=args.adjust)
        print(f"\n# {title}\n\n{text.text(tables, pairs=False)}")
        figures[title] = [table.to_dict() for table in tables]
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
