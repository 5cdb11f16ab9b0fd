"""FiftyOne datasets from plain records or from a folder of pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import fiftyone as fo

from facevlm.datasets.samples import FOLDER, SampleRecord
from facevlm.errors import TargetError
from facevlm.store.database import connect

FROM_FOLDER = "facevlm_from_folder"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def build_singles(name: str, records: Sequence[SampleRecord]) -> fo.Dataset:
    """A persistent dataset with one sample per record; built anew if it is there."""
    dataset = _fresh(name)
    dataset.add_samples(
        [
            fo.Sample(
                filepath=record.filepath,
                age=record.age,
                **{field: fo.Classification(label=label) for field, label in record.labels.items()},
            )
            for record in records
        ],
        progress=False,
    )
    return _described(dataset)


def build_groups(name: str, records: Sequence[SampleRecord]) -> fo.Dataset:
    """A persistent dataset with one sample per picture and its faces as Detections in ``faces``."""
    by_picture: dict[str, list[SampleRecord]] = defaultdict(list)
    for record in records:
        by_picture[record.filepath].append(record)
    dataset = _fresh(name)
    dataset.add_samples(
        [
            fo.Sample(filepath=path, faces=fo.Detections(detections=[_box(r) for r in rows]))
            for path, rows in by_picture.items()
        ],
        progress=False,
    )
    dataset.add_dynamic_sample_fields()
    return _described(dataset)


def _box(record: SampleRecord) -> fo.Detection:
    return fo.Detection(label="face", bounding_box=list(record.box_xywh_rel), age=record.age, **record.labels)


def _fresh(name: str) -> fo.Dataset:
    connect()
    return fo.Dataset(name, persistent=True, overwrite=True)


def _described(dataset: fo.Dataset) -> fo.Dataset:
    dataset.description = (
        "Sample faces of facevlm: averages of 3 or 4 consenting volunteers, pictures of nobody. "
        f"Licence and card: {FOLDER}. Labels are perceived or apparent, not facts about persons."
    )
    return dataset


def build_folder(name: str, folder: str | Path) -> fo.Dataset:
    """A persistent dataset of the pictures in a folder and below; pictures that are in it already are kept.

    Raises :class:`~facevlm.errors.TargetError` for a folder that is missing or holds no picture.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "a file" if root.is_file() else "not there"
        raise TargetError(f"Got '{folder}', which is {what}. Give a folder with pictures.")
    paths = sorted(str(p.resolve()) for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        kinds = ", ".join(sorted(SUFFIXES))
        raise TargetError(f"Folder '{folder}' holds no picture. Expected files that end in {kinds}.")
    connect()
    dataset = fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)
    if len(dataset) and not dataset.info.get(FROM_FOLDER):
        raise TargetError(
            f"Dataset '{name}' is already there and was not made from a folder, expected a new name. "
            "Your dataset is left as it is; choose another name, or leave --images out to label it."
        )
    dataset.info[FROM_FOLDER] = True
    dataset.save()
    # A picture that left the folder leaves the dataset; answers about the others stay.
    dataset.delete_samples(dataset.match(~fo.ViewField("filepath").is_in(paths)))
    known = set(dataset.values("filepath"))
    dataset.add_samples([fo.Sample(filepath=path) for path in paths if path not in known], progress=False)
    return dataset
