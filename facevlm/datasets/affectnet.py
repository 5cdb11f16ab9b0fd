"""AffectNet: manually annotated lists with boxes and landmarks, or folders of pictures with one .npy for each label."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facevlm import folders
from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, FaceBox, Log, Reader, Record
from facevlm.errors import InputError

EMOTIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
LEFT_OUT = ("no emotion", "uncertain", "no face")
"""Expressions 8, 9 and 10."""
COLUMNS = [
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
]
LISTS = {"train": "training.csv", "val": "validation.csv"}
SETS = {"train": "train_set", "val": "val_set"}
UNKNOWN = -2.0
"""Valence and arousal of pictures that have none."""


@dataclass(frozen=True)
class AffectNet(Reader):
    """``classes`` is 8 or 7; with 7, contempt is left out."""

    classes: int = 8

    card = DatasetCard(
        name="affectnet",
        title="AffectNet",
        url="http://mohammadmahoor.com/affectnet/",
        licence="research only, on request from its authors",
        citation="Mollahosseini, Hasani and Mahoor 2017, AffectNet, IEEE Transactions on Affective Computing",
        layout="Manually_Annotated_Images/ and training.csv, validation.csv (in it or in "
        "Manually_Annotated_file_lists/); or train_set/ and val_set/ "
        "with images/ and annotations/ of *_exp.npy",
        attributes={"emotion": "emotion8"},
        splits=tuple(LISTS),
        also="valence and arousal; box and landmarks of the face",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        return {"emotion": f"emotion{self.classes}"}

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        if self.classes not in (7, 8):
            raise InputError(f"AffectNet has 7 or 8 classes, got classes={self.classes}.")
        wanted = [name for name in LISTS if split in (None, name)]
        lists = {name: files.find(folder, [LISTS[name]]) for name in wanted}
        sets = {name: files.find(folder, [SETS[name]]) for name in wanted}
        if not any((*lists.values(), *sets.values())):
            raise self.reject(folder)
        for name in wanted:
            if path := lists[name]:
                yield from self._listed(path, folder, log, name)
            elif place := sets[name]:
                yield from self._numbered(place, log, name)

    def _emotion(self, code: float, log: Log) -> str | None:
        """The label, or None for what is left out on purpose."""
        if not 0 <= code < len(EMOTIONS) + len(LEFT_OUT) or code != int(code):
            raise BrokenRow("expression is none of 0 to 10", f"got {code:g}")
        if code >= self.classes:
            log.leave(f"left out: {(*EMOTIONS, *LEFT_OUT)[int(code)]}")
            return None
        return EMOTIONS[int(code)]

    def _listed(self, path: Path, folder: Path, log: Log, split: str) -> Iterator[Record]:
        root = files.find(folder, ["Manually_Annotated_Images", "Manually_Annotated", "images"]) or folder

        def convert(row: files.Row) -> Record | None:
            emotion = self._emotion(files.number(row["expression"], "expression"), log)
            return (
                None
                if emotion is None
                else _with_box(row, files.picture(root, row["subDirectory_filePath"]), emotion, split, log)
            )

        # validation.csv of some releases begins with a picture instead of the names of the columns.
        with files.text(path) as lines:
            named = next(lines, "").startswith(COLUMNS[0])
        yield from files.table(path, COLUMNS, log, convert, None if named else COLUMNS)

    def _numbered(self, place: Path, log: Log, split: str) -> Iterator[Record]:
        annotations = place / "annotations"
        if not annotations.is_dir() or not (place / "images").is_dir():
            raise self.reject(place)
        for path in files.pictures(place / "images", log):
            stem = Path(path).stem
            with log.skipping(path):
                emotion = self._emotion(_npy(annotations / f"{stem}_exp.npy")[0], log)
                if emotion is not None:
                    yield _with_files(path, annotations / stem, emotion, split)


def _with_box(row: files.Row, path: str, emotion: str, split: str, log: Log) -> Record:
    of = files.size(path)
    x, y, width, height = (files.number(row[f"face_{name}"], f"face_{name}") for name in ("x", "y", "width", "height"))
    points = log.cell(lambda: [files.number(v, "a landmark") for v in row["facial_landmarks"].split(";") if v.strip()])
    felt = [log.cell(functools.partial(files.number, row[name], name)) for name in ("valence", "arousal")]
    return Record(
        filepath=path,
        labels={"emotion": emotion},
        split=split,
        values=_affect(*(UNKNOWN if value is None else value for value in felt)),
        faces=(FaceBox(files.relative_box(x, y, width, height, of), {"emotion": emotion}),),
        points_xy_rel=_points(points or [], of),
    )


def _with_files(path: str, stem: Path, emotion: str, split: str) -> Record:
    def numbers(name: str) -> list[float]:
        array = stem.with_name(f"{stem.name}_{name}.npy")
        return _npy(array) if array.is_file() else []

    affect = _affect(*(numbers("val") or [UNKNOWN])[:1], *(numbers("aro") or [UNKNOWN])[:1])
    marks = numbers("lnd")
    points = _points(marks, files.size(path)) if marks else ()
    return Record(path, {"emotion": emotion}, split=split, values=affect, points_xy_rel=points)


def _affect(valence: float, arousal: float) -> dict[str, float]:
    pairs = (("valence", valence), ("arousal", arousal))
    return {name: value for name, value in pairs if value > UNKNOWN}


def _points(numbers: list[float], of: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    return tuple((x / of[0], y / of[1]) for x, y in zip(numbers[::2], numbers[1::2], strict=False))


def _npy(path: Path) -> list[float]:
    """The numbers of a small array, which the official files keep as text."""
    if not path.is_file():
        raise BrokenRow(f"no {path.name.rpartition('_')[2]}", path.name)
    try:
        numbers: list[float] = (
            np.load(io.BytesIO(folders.read_bytes(path)), allow_pickle=False).astype(float).ravel().tolist()
        )
    except (ValueError, OSError, EOFError) as error:
        raise BrokenRow("unreadable .npy", f"{path.name}: {error}") from None
    if not numbers or not np.isfinite(numbers).all():
        raise BrokenRow("no number in .npy", path.name)
    return numbers
