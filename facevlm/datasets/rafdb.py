"""RAF-DB, basic emotions: ``list_patition_label.txt`` and, where it is there, gender, race and age of each picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm import attributes, folders
from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, named
from facevlm.errors import InputError

EMOTIONS = dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral"), strict=True))
GENDERS = ("Male", "Female", "")
RACES = ("White", "Black", "Asian")
KINDS = {"aligned": "_aligned", "original": ""}
LANDMARKS = 5
"""Lines of a manual annotation before gender, race and age."""


@dataclass(frozen=True)
class RAFDB(Reader):
    """``pictures`` is aligned (faces of 100 pixels) or original; by default those that are there, aligned first."""

    pictures: str = ""

    card = DatasetCard(
        name="rafdb",
        title="RAF-DB",
        url="http://www.whdeng.cn/RAF/model1.html",
        licence="non-commercial research only, on request from its authors",
        citation="Li, Deng and Du 2017, Reliable crowdsourcing and deep locality-preserving learning for expression "
        "recognition in the wild, CVPR",
        layout="EmoLabel/list_patition_label.txt and Image/aligned/ or Image/original/, perhaps Annotation/manual/ "
        "(basic/ is seen)",
        attributes={"emotion": "emotion7", "gender": "gender", "race": "race3", "age_group": "age5_rafdb"},
        splits=("train", "test"),
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        if self.pictures not in ("", *KINDS):
            raise InputError(f"RAF-DB's pictures are aligned or original, got '{self.pictures}'.")
        table = files.find(
            folder, ["EmoLabel/list_patition_label.txt", "list_patition_label.txt", "list_partition_label.txt"]
        )
        kinds = [self.pictures] if self.pictures else list(KINDS)
        root = files.find(folder, [f"Image/{kind}" for kind in kinds])
        if table is None or root is None:
            raise self.reject(folder)
        manual = files.find(folder, ["Annotation/manual"])
        for line, (name, code) in files.words(table, log, 2):
            with log.skipping(f"{table}:{line}"):
                record = _record(name, code, root, manual, log)
                if split in (None, record.split):
                    yield record


def _record(name: str, code: str, root: Path, manual: Path | None, log: Log) -> Record:
    stem, dot, suffix = name.rpartition(".")
    part = stem.partition("_")[0]
    if part not in ("train", "test"):
        raise BrokenRow("name begins with neither train_ nor test_", name)
    if code not in EMOTIONS:
        raise BrokenRow("emotion is none of 1 to 7", f"got '{code}'")
    labels = {"emotion": EMOTIONS[code]}
    if manual is not None:
        labels |= _manual(manual / f"{stem}_manu_attri.txt", log)
    return Record(files.picture(root, f"{stem}{KINDS[root.name]}{dot}{suffix}"), labels, split=part)


def _manual(path: Path, log: Log) -> dict[str, str]:
    """Gender (none where annotators were unsure), race and age group, which stand after the landmarks."""
    if not path.is_file():
        raise BrokenRow("manual annotation not there", path.name)
    rest = folders.read_text(path, errors="replace").split("\n")[LANDMARKS:]
    codes = [line.strip() for line in rest if line.strip()]
    if len(codes) != 3:
        raise BrokenRow("manual annotation has not gender, race and age", path.name)
    ages = attributes.get("age5_rafdb").labels
    return log.kept(
        {
            "race": lambda: named(RACES, codes[1], "race"),
            "age_group": lambda: named(ages, codes[2], "age"),
            "gender": lambda: named(GENDERS, codes[0], "gender") or None,
        }
    )
