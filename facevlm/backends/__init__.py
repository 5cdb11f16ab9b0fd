"""What answers questions about faces: one protocol, opened by name, kept loaded between calls.

``demo``, ``facescan`` and ``hf:ID-or-folder`` run here through transformers. The table of classes
is made of strings, so that importing this package loads no model library.
"""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from PIL.Image import Image, Resampling

from facevlm.backends.cards import Card, find
from facevlm.errors import InputError
from facevlm.types import Question, Reply

LOCAL = "facevlm.backends.local:LocalBackend"
DECODES = ("score", "generate")
KEEP_LOADED = 2

_loaded: OrderedDict[object, Backend] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Options:
    """How a model is loaded and read. ``decode`` is ``score`` (closed set, exact) or ``generate`` (free text)."""

    device: str | None = None
    dtype: str | None = None
    revision: str | None = None
    decode: str = "score"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise InputError(f"Got decode='{self.decode}', expected one of {', '.join(DECODES)}.")


@dataclass(frozen=True)
class PictureSpec:
    """The size in pixels and the resampling at which a model takes its pictures."""

    height: int
    width: int
    resample: Resampling = Resampling.BICUBIC


@dataclass(frozen=True)
class BackendInfo:
    """Facts about a loaded model for run records; no secret.

    ``identity`` maps checkpoints, as they were named, to a revision of the hub or a digest of the weights.
    """

    model: str
    identity: dict[str, str]
    device: str
    dtype: str
    decode: str
    picture: PictureSpec | None = None
    versions: dict[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """Anything that answers questions about pictures."""

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record."""

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Replies of shape (len(images), len(questions)), in order. RGB pictures of any size.

        A picture or question that cannot be answered gets a Reply with ``error``; the others are not lost.
        """


def open_backend(model: str, options: Options | None = None) -> Backend:
    """The backend of a model name; the last few stay loaded for the next call.

    Raises :class:`~facevlm.errors.UnknownName` or :class:`~facevlm.errors.ModelError`.
    """
    card = find(model)
    options = options or Options()
    key = (card.name, options)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _open(card, options)
            while len(_loaded) > KEEP_LOADED:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]


def _open(card: Card, options: Options) -> Backend:
    module, name = LOCAL.split(":")
    return cast(Backend, getattr(importlib.import_module(module), name)(card, options))
