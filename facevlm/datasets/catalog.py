"""All readers by name, and what each may be told.

A package of somebody else adds one by an entry point of the group ``facevlm.datasets``, named as its card is, that is a
subclass of :class:`~facevlm.datasets.records.Reader`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from facevlm import doors
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
from facevlm.datasets.records import DatasetCard, Reader
from facevlm.datasets.table import FaceTable
from facevlm.datasets.utkface import UTKFace
from facevlm.doors import Addition
from facevlm.errors import InputError, lookup

_CLASSES: tuple[type[Reader], ...] = (
    *(FairFace, FairFaceHub, UTKFace, AffectNet, DiverseFaces, CelebA, MUFAC, MUCAC, RAFDB, FER2013, FACET),
    *(CasualConversations, FaceTable, Folders),
)
READERS: Mapping[str, type[Reader]] = {found.card.name: found for found in _CLASSES}
"""Those that come with facevlm."""


@functools.cache
def added() -> Mapping[str, Addition[type[Reader]]]:
    """The readers of installed packages."""
    return doors.admit("datasets", _reader_class, READERS)


def _reader_class(addition: Addition[object]) -> type[Reader]:
    """The class, which can be made without options. Raises TypeError for anything else."""
    found = addition.value
    if not (isinstance(found, type) and issubclass(found, Reader)):
        raise TypeError(f"got {found!r}, expected a subclass of facevlm.datasets.Reader")
    card = getattr(found, "card", None)
    if not isinstance(card, DatasetCard) or card.name != addition.name:
        raise TypeError(f"got the card {card!r}, expected a DatasetCard with the name '{addition.name}'")
    found()
    return found


def readers() -> dict[str, type[Reader]]:
    """All readers by name: those that come with facevlm, then those of installed packages."""
    return {**READERS, **{name: addition.value for name, addition in added().items()}}


def origin(name: str) -> str:
    """The package that a reader comes with."""
    return doors.OWN if name in READERS else lookup("data set", added(), name).package


def options(reader: type[Reader]) -> dict[str, object]:
    """Option -> default of a reader."""
    return {field.name: field.default for field in dataclasses.fields(reader)}


def reader(name: str, given: Mapping[str, object] | None = None) -> Reader:
    """A reader with its options; text is read as what the option's default is.

    Raises :class:`~facevlm.errors.InputError` for an unknown data set, an unknown option, or a value that cannot be
    read.
    """
    found = READERS[name] if name in READERS else lookup("data set", readers(), name)
    known = options(found)
    chosen = {}
    for option, value in (given or {}).items():
        kind: type[str] | type[int] = int if isinstance(lookup(f"option of {name}", known, option), int) else str
        try:
            chosen[option] = kind(str(value))
        except ValueError as error:
            raise InputError(f"Option {option} of {name}: got '{value}', expected a whole number.") from error
    return found(**chosen)
