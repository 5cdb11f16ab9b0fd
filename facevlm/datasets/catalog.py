"""All readers by name, and what each may be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from facevlm.datasets.affectnet import AffectNet
from facevlm.datasets.casual_conversations import CasualConversations
from facevlm.datasets.celeba import CelebA
from facevlm.datasets.diversefaces import DiverseFaces
from facevlm.datasets.facet import FACET
from facevlm.datasets.fairface import FairFace
from facevlm.datasets.fairface_hub import FairFaceHub
from facevlm.datasets.fer2013 import FER2013
from facevlm.datasets.folders import Folders
from facevlm.datasets.mucac import MUCAC
from facevlm.datasets.mufac import MUFAC
from facevlm.datasets.rafdb import RAFDB
from facevlm.datasets.records import Reader
from facevlm.datasets.table import FaceTable
from facevlm.datasets.utkface import UTKFace
from facevlm.errors import InputError, lookup

_CLASSES: tuple[type[Reader], ...] = (
    *(FairFace, FairFaceHub, UTKFace, AffectNet, DiverseFaces, CelebA, MUFAC, MUCAC, RAFDB, FER2013, FACET),
    *(CasualConversations, FaceTable, Folders),
)
READERS: Mapping[str, type[Reader]] = {found.card.name: found for found in _CLASSES}


def options(reader: type[Reader]) -> dict[str, object]:
    """Option -> default of a reader."""
    return {field.name: field.default for field in dataclasses.fields(reader)}


def reader(name: str, given: Mapping[str, object] | None = None) -> Reader:
    """A reader with its options; text is read as what the option's default is.

    Raises :class:`~facevlm.errors.InputError` for an unknown data set, an unknown option, or a value that cannot be
    read.
    """
    found = lookup("data set", READERS, name)
    known = options(found)
    chosen = {}
    for option, value in (given or {}).items():
        kind: type[str] | type[int] = int if isinstance(lookup(f"option of {name}", known, option), int) else str
        try:
            chosen[option] = kind(str(value))
        except ValueError as error:
            raise InputError(f"Option {option} of {name}: got '{value}', expected a whole number.") from error
    return found(**chosen)
