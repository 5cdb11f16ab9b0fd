"""FairFace's parquet copy, which carries the pictures inside: from a folder of its files, or fetched from the hub."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facevlm import folders
from facevlm.datasets import fairface
from facevlm.datasets.records import BrokenRow, Log, Reader, Record, named
from facevlm.errors import InputError, LayoutError

REPOSITORY = "HuggingFaceM4/FairFace"
GENDERS = ("Male", "Female")
RACES = ("East Asian", "Indian", "Black", "White", "Middle Eastern", "Latinx or Hispanic", "Southeast Asian")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
"""The class names of the copy, in the order of their numbers."""
FILES = {"train": "train", "val": "validation"}
COLUMNS = ["image", "age", "gender", "race", "service_test"]


@dataclass(frozen=True)
class FairFaceHub(Reader):
    """``extract_to`` is the folder that the pictures are written to, ``margin`` is 0.25 or 1.25. The folder to read is
    that of the parquet files, or ``hub`` to fetch them."""

    extract_to: str = ""
    margin: str = "0.25"

    card = replace(
        fairface.CARD,
        name="fairface-hub",
        title="FairFace, parquet copy",
        url=f"https://huggingface.co/datasets/{REPOSITORY}",
        layout="train-*.parquet and validation-*.parquet, or 'hub' instead of a folder",
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        if not self.extract_to:
            raise InputError(
                "The parquet copy carries the pictures inside: name the folder to write them to, extract_to."
            )
        if folder.name == "hub" and not folder.exists():
            folder = _fetched(self.margin)
        parquets = {s: sorted(folder.rglob(f"{name}-*.parquet")) for s, name in FILES.items() if split in (None, s)}
        if not any(parquets.values()):
            raise self.reject(folder)
        for name, paths in parquets.items():
            for path in paths:
                yield from _rows(path, log, Path(self.extract_to).expanduser().resolve() / name, name)


def _fetched(margin: str) -> Path:
    hub = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(REPOSITORY, repo_type="dataset", allow_patterns=f"{margin}/*"), margin)
    # A proxy of the environment that cannot be used is an ImportError or a ValueError of the client library.
    except (OSError, ImportError, ValueError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
        raise InputError(
            f"Cannot fetch {REPOSITORY}: {type(error).__name__}; no hub is in reach. Fetch its parquet files "
            "elsewhere and give their folder, or unpack FairFace's own archives and use 'fairface'."
        ) from error


def _rows(path: Path, log: Log, out: Path, split: str) -> Iterator[Record]:
    number = 0
    for rows in _batches(path):
        out.mkdir(parents=True, exist_ok=True)
        for row in rows:
            number += 1
            with log.skipping(f"{path}:{number}"):
                yield _record(row, out / f"{path.stem}-{number}.jpg", split, log)


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file, some at a time; one that was not copied to its end is refused."""
    try:
        pyarrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    except ImportError as error:
        raise InputError("Reading parquet needs pyarrow: pip install 'facevlm[hub]'.") from error
    try:
        table = parquet.ParquetFile(path)
        names = table.schema_arrow.names
        if missing := [name for name in COLUMNS if name not in names]:
            raise LayoutError(f"{path} has the columns {', '.join(names)}; {', '.join(missing)} missing.")
        for batch in table.iter_batches(batch_size=256, columns=COLUMNS):
            yield batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise LayoutError(f"Cannot read '{path}': {said}. Expected a whole parquet file; fetch it again.") from error


def _record(row: Mapping[str, Any], target: Path, split: str, log: Log) -> Record:
    labels = log.kept(
        {
            "gender": lambda: named(GENDERS, str(row["gender"]), "gender"),
            "race": lambda: named(RACES, str(row["race"]), "race"),
            "age_group": lambda: named(AGES, str(row["age"]), "age"),
        }
    )
    image = row["image"]
    data = image.get("bytes") if isinstance(image, Mapping) else None
    if not data:
        raise BrokenRow("no picture inside")
    # What an earlier load wrote is the same picture.
    if not target.exists():
        folders.write_whole(target, data)
    values = {} if row["service_test"] is None else {"service_test": bool(row["service_test"])}
    return Record(str(target), labels, split=split, values=values)
