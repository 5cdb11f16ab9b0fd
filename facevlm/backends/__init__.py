"""What answers questions about faces: one protocol, opened by name, kept loaded between calls.

Shipped names and ``hf:ID-or-folder`` run here through transformers, ``onnx:FOLDER`` through onnxruntime;
``openai:MODEL`` is asked through an API; ``SCHEME:MODEL`` is opened by the package that adds the scheme. Classes are
named by strings, so that importing this package loads no model library.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from PIL.Image import Image, Resampling

from facevlm.arguments import checked
from facevlm.backends import cores, schemes
from facevlm.backends.cards import ANY, HUB, Card, find
from facevlm.backends.options import ATTENTION as ATTENTION
from facevlm.backends.options import COMPILE as COMPILE
from facevlm.backends.options import DECODES as DECODES
from facevlm.backends.options import QUANTIZE as QUANTIZE
from facevlm.backends.options import Options as Options
from facevlm.backends.options import Remote as Remote
from facevlm.backends.remote.keys import Secrets as Secrets
from facevlm.errors import FacevlmError, ModelError
from facevlm.types import GREEDY, Inquiry, Question, Reply, Scene

if TYPE_CHECKING:
    from facevlm.backends.remote.batches import BatchService
    from facevlm.backends.remote.exchange import Usage

T = TypeVar("T")
LOCAL = "facevlm.backends.local:LocalBackend"
LINEAR = "facevlm.backends.linear:LinearBackend"
REMOTE = "facevlm.backends.remote.describe:DescribingBackend"
ONNX = "facevlm.backends.onnx:OnnxBackend"
LOOK_FOR_ADAPTER = "facevlm.backends.hub:look_for_adapter"
KEEP_LOADED = 2
IDLE_SECONDS = 600.0
"""Without a run for so long, the App's process lets go of the models that it keeps."""
_MOVED = {"loading": "facevlm.backends.weights"}
"""Modules that code was written against before they moved."""

# Here, before any module of this package is imported that imports PyTorch.
cores.wait_passively()

_loaded: OrderedDict[object, Backend] = OrderedDict()
_lock = threading.Lock()
_idle: threading.Timer | None = None


@dataclass(frozen=True)
class PictureSpec:
    """The size in pixels and the resampling at which a model takes its pictures."""

    height: int
    width: int
    resample: Resampling = Resampling.BICUBIC


@dataclass(frozen=True)
class BackendInfo:
    """Facts about a loaded model for run records; no secret.

    ``identity`` maps checkpoints, as they were named, to a revision of the hub or a digest of the weights. ``notes``
    are sentences a user should read. ``decision`` says how scores are decided. ``turns`` are groups of attributes to
    be asked one after the other over many pictures, because their checkpoints do not fit in memory together.
    ``batch_size`` is the model's own proposal. ``max_side`` is the longest side in pixels that a model takes where
    ``picture`` gives no size. ``service`` tells where and how a model behind an API is asked, ``usage`` what it took
    so far. ``threads`` are those of a forward pass on the CPU, None where that is not there. ``stated`` is what the
    model's card says of each ``checkpoint``: ``data`` it was trained on, ``licence``, ``languages``, as far as it does.
    """

    model: str
    identity: dict[str, str]
    device: str
    dtype: str
    decode: str
    picture: PictureSpec | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    turns: tuple[tuple[str, ...], ...] = ()
    batch_size: int | None = None
    threads: int | None = None
    max_side: int | None = None
    service: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)
    stated: tuple[Mapping[str, str], ...] = ()
    decision: str = GREEDY


@dataclass(frozen=True)
class Briefing:
    """What is said before a run that sends pictures away: where, how many, at what price in US dollars if known."""

    text: str
    is_local: bool
    dollars: float | None


class Backend(Protocol):
    """Anything that answers questions about pictures."""

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record."""

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Replies of shape (len(images), len(questions)), in order. RGB pictures of any size.

        A picture or question that cannot be answered gets a Reply with ``error``; the others are not lost.
        """


@runtime_checkable
class Speaker(Protocol):
    """A backend that can answer freely, too, whatever its way of decoding."""

    def say(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Replies with ``text``, of shape (len(images), len(questions))."""


@runtime_checkable
class Speller(Protocol):
    """A backend that can tell every token of a free answer, such as those that stand for places in the picture."""

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record."""

    def spell(self, images: Sequence[Image], text: str, max_new_tokens: int) -> list[Reply]:
        """One reply per picture to the prompt ``text`` as it is; one that was cut off is ``malformed``."""


@runtime_checkable
class Checker(Protocol):
    """A backend that can tell without a picture whether questions can be put to it."""

    def check(self, questions: Sequence[Question]) -> None:
        """Raise :class:`~facevlm.errors.ModelError` where one cannot."""


@runtime_checkable
class Streaming(Protocol):
    """A backend that works on many pictures at once and answers each as it is ready."""

    def stream(
        self, images: Iterable[Image], questions: Sequence[Question]
    ) -> Generator[list[tuple[int, list[Reply]]], None, None]:
        """Lists of (number of the picture, its replies), in any order; one list, empty or not, at least twice a second.

        Pictures are taken as there is room for them. It may end early; pictures without an answer are then left out.
        """


@runtime_checkable
class Hosted(Protocol):
    """A backend that sends pictures to a server."""

    def briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        """What a user should know before the run; nothing is sent for it."""

    def close(self) -> None:
        """End its connections. Its info stays."""


@runtime_checkable
class Batching(Protocol):
    """A backend whose requests may be handed in as files and collected later, at a lower price."""

    def requests(
        self, images: Iterable[Image], questions: Sequence[Question]
    ) -> Iterator[tuple[dict[str, Any], list[Reply] | None]]:
        """The request about every picture, in order, and its replies where they are known already."""

    def read(self, body: Any, questions: Sequence[Question]) -> tuple[list[Reply], Usage]:
        """The replies in an answer as plain data, and the tokens that it took."""

    def batch_briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        """What a user should know before requests are handed in."""

    def batch_dollars(self, usage: Usage) -> float | None:
        """US dollars for tokens in a batch; None where no price is known."""

    def batches(self) -> BatchService:
        """Where files are handed in and collected."""


@dataclass(frozen=True)
class Shot:
    """What is shown of one picture, made when its turn comes; ``count`` is the number of known faces, None if unknown.

    ``pictures`` raises :class:`~facevlm.errors.ImageError` where it cannot be read.
    """

    pictures: Callable[[], Sequence[Image]]
    count: int | None = None


@runtime_checkable
class Describing(Protocol):
    """A backend that finds and describes all people of a picture by itself."""

    def describe(self, images: Sequence[Image], questions: Sequence[Question], who: str | None = None) -> list[Scene]:
        """The people of every picture, or only those whom the phrase ``who`` fits."""

    def scenes(self, shots: Iterable[Shot], inquiry: Inquiry) -> Generator[list[tuple[int, Scene]], None, None]:
        """Lists of (number of the shot, its people), in any order, at least twice a second; it may end early."""

    def check_inquiry(self, inquiry: Inquiry) -> None:
        """Raise :class:`~facevlm.errors.FacevlmError` where it cannot be asked."""

    def briefing_of(self, counts: Sequence[int], inquiry: Inquiry) -> Briefing:
        """What a user should know before the run; ``counts`` has the known faces of each picture, 0 if unknown."""


@checked
def open_backend(
    model: str,
    options: Options | None = None,
    attributes: Sequence[str] | None = None,
    secrets: Secrets | None = None,
) -> Backend:
    """The backend of a model name; the last few local ones stay loaded for the next call, until :func:`unload`.

    Of a model with a checkpoint for each attribute, only those for ``attributes`` are loaded; of several devices it is
    opened on the first. A model behind an API
    looks for its key in ``secrets`` first. Raises :class:`~facevlm.errors.UnknownName` or
    :class:`~facevlm.errors.ModelError`.
    """
    card, options = find(model), (options or Options()).on_one()
    if card.scheme:
        return _by_scheme(card, options, attributes, secrets)
    if card.hosted:
        return cast(Backend, load_class(REMOTE)(card, options.remote, secrets))
    if model.startswith(HUB) and not card.is_here():
        load_class(LOOK_FOR_ADAPTER)(card.checkpoint(ANY), options.revision)
    card = find(model, options.adapter)
    card = card.only(attributes) if attributes is not None else card
    key = (card.name, tuple(card.checkpoints), options)
    with _lock:
        if key not in _loaded:
            _let_go(KEEP_LOADED - 1)
            own = load_class(ONNX if card.network else LINEAR if card.linear else LOCAL)
            return _keep(key, _roomily(lambda: cast(Backend, own(card, options))))
        return _keep(key, _loaded[key])


def _by_scheme(card: Card, options: Options, attributes: Sequence[str] | None, secrets: Secrets | None) -> Backend:
    """The backend that another package opens. One that sends pictures is closed after its run, and is not kept."""
    addition = schemes.added()[card.scheme]
    key = (card.name, None if attributes is None else tuple(attributes), options)
    with _lock:
        if key in _loaded:
            return _keep(key, _loaded[key])
        try:
            name = card.name.removeprefix(f"{card.scheme}:")
            backend = _roomily(lambda: addition.value(name, options, attributes, secrets))
        except FacevlmError:
            raise
        except Exception as error:
            why = f"{addition.origin} failed with {type(error).__name__}: {error}"
            raise ModelError(f"Cannot open '{card.name}': {why}") from error
        if not callable(getattr(backend, "answer", None)) or not isinstance(
            getattr(backend, "info", None), BackendInfo
        ):
            raise ModelError(
                f"Cannot open '{card.name}': {addition.origin} gave {type(backend).__name__}, expected a backend with "
                "info (a BackendInfo) and answer."
            )
        return backend if isinstance(backend, Hosted) else _keep(key, backend)


def _keep(key: object, backend: Backend) -> Backend:
    """The backend, kept loaded as the one that was used last; the one used longest ago makes room."""
    _loaded[key] = backend
    _loaded.move_to_end(key)
    _let_go(KEEP_LOADED)
    return backend


def _let_go(most: int) -> None:
    """Keep no more than so many, and give the memory of the others back."""
    gone = [_loaded.popitem(last=False) for _ in range(len(_loaded) - most)]
    if gone:
        gone.clear()
        _release()


def _release() -> None:
    # What loaded no torch has no memory to give back, and is not to load it for that.
    if "torch" in sys.modules:
        load_class("facevlm.backends.memory:release")()


def _roomily(load: Callable[[], T]) -> T:
    """What is loaded; where memory runs out beside models that are kept, these go first, and it is loaded again."""
    try:
        return load()
    except Exception as error:
        if not _loaded or "torch" not in sys.modules or not load_class("facevlm.backends.memory:is_short")(error):
            raise
    _let_go(0)
    return load()


def unload() -> None:
    """Let go of the models that are kept loaded, and give their memory back; the next call loads its model anew.

    A run that is under way keeps its model to its end.
    """
    with _lock:
        _loaded.clear()
        _release()


def unload_when_idle(seconds: float = IDLE_SECONDS) -> threading.Timer:
    """:func:`unload` after so many seconds; every call begins to count anew."""
    global _idle
    with _lock:
        if _idle is not None:
            _idle.cancel()
        _idle = threading.Timer(seconds, unload)
        _idle.daemon = True
        _idle.start()
        return _idle


def load_class(path: str) -> Any:
    """The class behind ``module:Class``; its module is imported now."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def __getattr__(name: str) -> Any:
    """A module under the name that it had before."""
    if name in _MOVED:
        return importlib.import_module(_MOVED[name])
    raise AttributeError(f"module 'facevlm.backends' has no attribute '{name}'")
