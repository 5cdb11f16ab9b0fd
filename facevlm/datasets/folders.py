"""A folder per class: ``label/picture.jpg``, or ``split/label/picture.jpg``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevlm import attributes
from facevlm.attributes import canonical
from facevlm.datasets import files
from facevlm.datasets.records import DatasetCard, Log, Reader, Record
from facevlm.errors import InputError
from facevlm.types import Attribute


def field_of(attribute: Attribute) -> str:
    """The ground-truth field of an attribute: its family, and ``age_group`` for ages."""
    return "age_group" if attribute.family == "age" else attribute.family


def registry(path: str) -> attributes.Registry:
    """The shipped attributes, and those of a file or set if one is named."""
    return attributes.load(path) if path else attributes.shipped()


def labelled(reader: Reader, attribute: Attribute, folder: Path, log: Log, split: str | None) -> Iterator[Record]:
    """Records of pictures in folders named after labels of an attribute, perhaps inside folders named after splits."""
    field, any_picture = field_of(attribute), False
    for path in files.pictures(folder, log) if folder.is_dir() else ():
        above = os.path.relpath(os.path.dirname(path), folder).split(os.sep)
        label = canonical(attribute, above[-1])
        if label is None:
            log.skip(f"folder is no label of {attribute.name}", path, above[-1])
            continue
        any_picture = True
        part = next((files.SPLITS[name.lower()] for name in above[:-1] if name.lower() in files.SPLITS), None)
        if split in (None, part):
            yield Record(path, {field: label}, split=part)
    if not any_picture:
        raise reader.reject(folder)


@dataclass(frozen=True)
class Folders(Reader):
    """``attribute`` is the one whose labels the folders are named after, such as emotion7;
    ``attributes_file`` has more attributes."""

    attribute: str = ""
    attributes_file: str = ""

    card = DatasetCard(
        name="folders",
        title="A folder per class",
        url="your own data",
        licence="yours",
        citation="",
        layout="folders named after the labels of the attribute, perhaps inside folders named after splits (train, "
        "val, test)",
        attributes={},
        also="the field of the attribute that is named",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        asked = self._asked()
        return {field_of(asked): asked.name}

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        yield from labelled(self, self._asked(), folder, log, split)

    def _asked(self) -> Attribute:
        if not self.attribute:
            raise InputError("Name the attribute whose labels the folders stand for, such as attribute=emotion7.")
        return registry(self.attributes_file).get(self.attribute)
