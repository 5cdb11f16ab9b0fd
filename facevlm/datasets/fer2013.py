"""FER2013: folders of pictures by split and emotion, or the CSV whose cells hold the pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facevlm.attributes import get
from facevlm.datasets import files, folders
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, named
from facevlm.errors import InputError
from facevlm.folders import write_whole

EMOTIONS = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
SIDE = 48
TABLES = ("fer2013.csv", "icml_face_data.csv")


@dataclass(frozen=True)
class FER2013(Reader):
    """``extract_to`` is the folder that the pictures of the CSV are written to; the folders need none."""

    extract_to: str = ""

    card = DatasetCard(
        name="fer2013",
        title="FER2013",
        url="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
        licence="none stated by its authors",
        citation="Goodfellow et al. 2013, Challenges in representation learning: a report on three machine learning "
        "contests, arXiv 1307.0414",
        layout="fer2013.csv (emotion, pixels, Usage), or folders such as train/angry/ and test/angry/",
        attributes={"emotion": "emotion7"},
        splits=("train", "val", "test"),
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table = files.find(folder, TABLES)
        if table is None:
            yield from folders.labelled(self, get("emotion7"), folder, log, split)
            return
        if not self.extract_to:
            raise InputError(
                f"{table} holds the pixels in its cells: name the folder to write pictures to, extract_to."
            )
        out = Path(self.extract_to).expanduser().resolve()
        numbers = iter(range(1, 10**9))

        def convert(row: files.Row) -> Record | None:
            return _record(row, out, next(numbers), split)

        yield from files.table(table, ("emotion", "pixels", "Usage"), log, convert)


def _record(row: files.Row, out: Path, number: int, split: str | None) -> Record | None:
    part = USAGES.get(row["Usage"].strip())
    if part is None:
        raise BrokenRow(f"Usage is none of {', '.join(USAGES)}", f"got '{row['Usage']}'")
    if split not in (None, part):
        return None
    emotion = named(EMOTIONS, row["emotion"], "emotion")
    target = out / part / emotion / f"{number:05d}.png"
    if not target.exists():
        picture = _picture(row["pixels"])
        target.parent.mkdir(parents=True, exist_ok=True)
        held = io.BytesIO()
        picture.save(held, "PNG")
        write_whole(target, held.getvalue())
    return Record(str(target), {"emotion": emotion}, split=part)


def _picture(pixels: str) -> Image.Image:
    values = pixels.split()
    if len(values) != SIDE * SIDE or not all(v.isdecimal() and int(v) < 256 for v in values):
        raise BrokenRow(f"pixels are not {SIDE * SIDE} numbers from 0 to 255", f"got {len(values)}")
    return Image.fromarray(np.array(values, dtype=np.uint8).reshape(SIDE, SIDE))
