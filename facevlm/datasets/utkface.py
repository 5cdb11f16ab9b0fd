"""UTKFace: labels in the file names, ``age_gender_race_date.jpg``; whole photographs or aligned and cropped faces."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm.datasets import files
from facevlm.datasets.records import DatasetCard, Log, Reader, Record, age_group

NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{6,}")
GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
AGE_GROUPS = "age9"
KINDS = ("cropped", "wild")
MALFORMED = "name is not age_gender_race_date.jpg"


@dataclass(frozen=True)
class UTKFace(Reader):
    """No options. Splits are ``cropped`` (``.chip.jpg``) and ``wild``; the data set has no others."""

    card = DatasetCard(
        name="utkface",
        title="UTKFace",
        url="https://susanqq.github.io/UTKFace/",
        licence="non-commercial research only",
        citation="Zhang, Song and Qi 2017, Age progression/regression by conditional adversarial autoencoder, CVPR",
        layout="pictures named age_gender_race_date.jpg or .jpg.chip.jpg, in it or in folders below",
        attributes={"gender": "gender", "race": "race5", "age_group": AGE_GROUPS},
        splits=KINDS,
        also="age in years",
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        if not folder.is_dir():
            raise self.reject(folder)
        any_picture = False
        for path in files.pictures(folder, log):
            record = _record(path, log)
            if record is None:
                log.skip(MALFORMED, path)
                continue
            any_picture = True
            if split in (None, record.split):
                yield record
        if not any_picture:
            raise self.reject(folder)


def _record(path: str, log: Log) -> Record | None:
    name = os.path.basename(path)
    parts = NAME.match(name)
    if parts is None:
        return None
    labels = {"gender": GENDERS[int(parts["gender"])], "race": RACES[int(parts["race"])]}
    with log.skipping(path):
        age = log.cell(lambda: files.age(parts["age"]))
    group = None if age is None else age_group(AGE_GROUPS, age)
    labels |= {"age_group": group} if group else {}
    return Record(path, labels, age, split="cropped" if name.endswith(".chip.jpg") else "wild")
