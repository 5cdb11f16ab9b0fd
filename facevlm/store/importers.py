"""The readers as importers of FiftyOne's own kind: ``fo.Dataset.from_dir(dataset_dir=...,
dataset_type=FairFaceDataset)``.

:func:`facevlm.datasets.load` is the better way: it names the dataset, deletes what is half read, and keeps memory flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.types as fot
import fiftyone.utils.data as foud

from facevlm.datasets import catalog
from facevlm.datasets.records import Log, Record
from facevlm.datasets.tally import LoadTally, info_of
from facevlm.store.database import know_pictures
from facevlm.store.importing import INFO, to_sample


class FaceImporter(foud.GenericSampleDatasetImporter):  # type: ignore[misc]
    """Samples of a reader. ``split`` and ``options`` are those of :func:`facevlm.datasets.load`, the rest is
    FiftyOne's."""

    source: ClassVar[str]

    def __init__(
        self,
        dataset_dir: str | None = None,
        shuffle: bool = False,
        seed: int | None = None,
        max_samples: int | None = None,
        split: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(dataset_dir, shuffle, seed, max_samples)
        self.split = split
        self.reader = catalog.reader(self.source, options)
        self.log, self.tally = Log(), LoadTally()
        self._records: Iterator[Record] = iter(())

    @property
    def has_dataset_info(self) -> bool:
        return True

    @property
    def has_sample_field_schema(self) -> bool:
        return False

    def setup(self) -> None:
        know_pictures()
        records = self.reader.read(Path(self.dataset_dir or "."), self.log, self.split)
        self._records = self.tally.count(self._preprocess_list(records))

    def __next__(self) -> fo.Sample:
        return to_sample(next(self._records))

    def get_dataset_info(self) -> dict[str, Any]:
        fields = self.reader.fields(Path(self.dataset_dir or "."))
        return {INFO: info_of(self.reader.card, fields, self.split, self.tally, self.log)}


def importer(source: str) -> type[FaceImporter]:
    """The importer of a data set by its name."""
    return type("FaceImporter", (FaceImporter,), {"source": source})


class FaceDataset(fot.Dataset):  # type: ignore[misc]
    """A type of dataset on disk that one of the readers reads."""

    source: ClassVar[str]

    def get_dataset_importer_cls(self) -> type[FaceImporter]:
        return importer(self.source)


def _type(source: str, name: str) -> type[FaceDataset]:
    return type(
        name, (FaceDataset,), {"source": source, "__module__": __name__, "__doc__": f"See 'facevlm load {source}'."}
    )


FairFaceDataset = _type("fairface", "FairFaceDataset")
FairFaceHubDataset = _type("fairface-hub", "FairFaceHubDataset")
UTKFaceDataset = _type("utkface", "UTKFaceDataset")
AffectNetDataset = _type("affectnet", "AffectNetDataset")
DiverseFacesDataset = _type("diversefaces", "DiverseFacesDataset")
CelebADataset = _type("celeba", "CelebADataset")
MUFACDataset = _type("mufac", "MUFACDataset")
MUCACDataset = _type("mucac", "MUCACDataset")
RAFDBDataset = _type("rafdb", "RAFDBDataset")
FER2013Dataset = _type("fer2013", "FER2013Dataset")
FACETDataset = _type("facet", "FACETDataset")
CasualConversationsDataset = _type("casual-conversations", "CasualConversationsDataset")
FaceTableDataset = _type("csv", "FaceTableDataset")
FaceFoldersDataset = _type("folders", "FaceFoldersDataset")
