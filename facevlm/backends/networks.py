"""Cards of plain networks: what a classifier of faces in an ONNX file takes, and what its outputs mean.

A folder holds the network and a ``facevlm.json`` or ``card.yaml``. Both may come from anybody: a card is read whole
before the network is.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from facevlm import folders
from facevlm.attributes import fold, shipped
from facevlm.errors import ModelError, first_line
from facevlm.types import Attribute

T = TypeVar("T")
PREFIX = "onnx:"
CARDS = ("facevlm.json", "card.yaml")
LARGEST = 2**20
"""Bytes of a card at most."""
LAYOUTS, CHANNELS, RESAMPLES = ("NCHW", "NHWC"), ("RGB", "BGR", "L"), ("bilinear", "bicubic", "nearest", "lanczos")
LOGITS, PROBABILITIES, YEARS = "logits", "probabilities", "years"
GIVES = (LOGITS, PROBABILITIES, YEARS)
MOST_SIDE = 4096
KEYS = ("file", "attributes", "input", "margin", "title", "licence", "data", "languages")
REMEDY = "Expected 'attributes' with the labels of each output, and 'input'; see docs/models.md."
BESIDE = ("README", ".", "LICENSE", "LICENCE")
"""How names of files begin that say nothing to the network."""


@dataclass(frozen=True)
class Input:
    """How pictures are shown: ``size`` is (height, width), None where the network's own says it.

    A value of a pixel, 0 to 255, becomes ``(value * scale - mean) / std``, by channel.
    """

    name: str | None = None
    size: tuple[int, int] | None = None
    layout: str = "NCHW"
    channels: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: str = "bilinear"


@dataclass(frozen=True)
class Head:
    """The part of an output that answers one attribute.

    Numbers from ``first`` to before ``end`` of ``output`` are ``logits`` or ``probabilities`` of ``labels``, in order;
    without labels, of ages of 0, 1, 2, ... years, which fall into groups that begin at ``edges``. Or it is one number:
    an age of ``number * factor + offset`` years.
    """

    output: str | None = None
    first: int = 0
    end: int | None = None
    gives: str = LOGITS
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    factor: float = 1.0
    offset: float = 0.0

    def places(self, attribute: Attribute) -> list[int | None]:
        """For every label of the network the attribute's label that it is, by number.

        Raises :class:`~facevlm.errors.ModelError` for labels of another attribute.
        """
        known = {
            fold(form): k for k, label in enumerate(attribute.labels) for form in (*attribute.spellings(label), label)
        }
        found = [known.get(fold(label)) for label in self.labels]
        strange = [label for label, place in zip(self.labels, found, strict=True) if place is None]
        lacking = [label for k, label in enumerate(attribute.labels) if k not in found]
        if strange or lacking:
            raise ModelError(
                f"The network's labels for {attribute.name} are {', '.join(self.labels)}; expected those of the "
                f"attribute: {', '.join(attribute.labels)}. Name an attribute that has them, or map them in the card."
            )
        return found

    def group(self, attribute: Attribute, years: float) -> int | None:
        """The label of an age; None for one in no group. Below an age of 0 it is 0: a network may miss by a little.

        Raises :class:`~facevlm.errors.ModelError` where it is not known at which ages the groups begin.
        """
        edges = self.edges or shipped().years.get(attribute.name, ())
        if not len(attribute.labels) <= len(edges) <= len(attribute.labels) + 1:
            raise ModelError(
                f"The network gives years for {attribute.name}, whose {len(attribute.labels)} groups begin at "
                f"{', '.join(f'{edge:g}' for edge in edges) or 'ages that are not known'}. Expected 'edges' in the "
                "card: the age at which each label begins."
            )
        place = sum(edge <= max(years, 0.0) for edge in edges) - 1
        return place if 0 <= place < len(attribute.labels) else None


@dataclass(frozen=True)
class Network:
    """A network's file, and what its card says of it."""

    file: Path
    card: Path
    input: Input
    heads: Mapping[str, Head]
    margin: float | None = None
    about: Mapping[str, str] = field(default_factory=dict)


def is_network(folder: Path) -> bool:
    """Whether a folder holds a network with a card."""
    return folder.is_dir() and card_file(folder) is not None and any(folder.glob("*.onnx"))


def card_file(folder: Path) -> Path | None:
    return next((folder / name for name in CARDS if (folder / name).exists()), None)


def read(folder: Path) -> Network:
    """The network of a folder; it is not opened yet.

    Raises :class:`~facevlm.errors.ModelError` that names the card and what was expected in it.
    """
    if not folder.is_dir():
        raise ModelError(f"'{folder}' is no folder: expected one with a network (*.onnx) and {' or '.join(CARDS)}.")
    path = card_file(folder)
    if path is None:
        raise ModelError(f"{folder}: there is no card ({' or '.join(CARDS)}). {REMEDY}")
    try:
        data = yaml.safe_load(folders.read_bytes(path, LARGEST).decode()) if path.suffix == ".yaml" else _json(path)
        return _network(path, _mapping(data, KEYS))
    except (OSError, ValueError, TypeError, LookupError, RecursionError, OverflowError, yaml.YAMLError) as error:
        raise ModelError(f"{path} is not the card of a network: {first_line(error)}. {REMEDY}") from error


def _json(path: Path) -> Any:
    return json.loads(folders.read_bytes(path, LARGEST).decode())


def _network(path: Path, data: Mapping[str, Any]) -> Network:
    told = data.get("attributes")
    if not isinstance(told, dict) or not told or not all(isinstance(name, str) for name in told):
        raise ValueError("got no attributes")
    about = {name: _text(data[name]) for name in ("licence", "data", "languages", "title") if data.get(name)}
    margin = None if data.get("margin") is None else _number(data["margin"], "margin")
    heads = {name: _part(name, _head, head) for name, head in told.items()}
    return Network(
        _file(path, data.get("file")), path, _part("input", _input, data.get("input") or {}), heads, margin, about
    )


def _file(path: Path, named: object) -> Path:
    found = sorted(path.parent.glob("*.onnx")) if named is None else [path.parent / Path(_text(named)).name]
    if len(found) != 1 or not found[0].is_file() or (named is not None and found[0].name != named):
        got = f"'{named}'" if named is not None else f"{len(found)} files *.onnx"
        raise ValueError(f"got {got} beside it, expected one file of a network, which 'file' may name")
    return found[0]


def _part(name: str, read: Callable[[Any], T], data: object) -> T:
    try:
        return read(data)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{name}: {first_line(error)}") from error


def _input(data: object) -> Input:
    told = _mapping(data, Input.__dataclass_fields__)
    channels = _one_of(told.get("channels", "RGB"), CHANNELS)
    return Input(
        name=_optional(told.get("name")),
        size=_size(told["size"]) if told.get("size") is not None else None,
        layout=_one_of(told.get("layout", "NCHW"), LAYOUTS),
        channels=channels,
        scale=_number(told.get("scale", 1 / 255), "scale"),
        mean=_by_channel(told.get("mean", 0.0), "mean", channels),
        std=_by_channel(told.get("std", 1.0), "std", channels, zero=False),
        resample=_one_of(told.get("resample", "bilinear"), RESAMPLES),
    )


def _head(data: object) -> Head:
    told = _mapping(data, ("output", "slice", "gives", "labels", "edges", "factor", "offset"))
    gives, labels = (
        _one_of(told.get("gives", LOGITS), GIVES),
        tuple(map(_text, _list(told.get("labels") or [], "labels"))),
    )
    edges = tuple(_number(edge, "edges") for edge in _list(told.get("edges") or [], "edges"))
    if bool(labels) == bool(edges) and gives != YEARS:
        raise ValueError("expected labels, one for each number of the output, or edges of ages in years")
    if labels and gives == YEARS:
        raise ValueError("got labels for years, expected edges, or none for those of the attribute")
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"got edges {list(edges)}, expected ages that rise")
    first, end = _span(told.get("slice"))
    width = len(labels) or (1 if gives == YEARS else None)
    if end is not None and width is not None and end - first != width:
        raise ValueError(f"got a slice of {end - first} numbers, expected {width}, one for each label")
    factor, offset = _number(told.get("factor", 1.0), "factor"), _number(told.get("offset", 0.0), "offset")
    return Head(_optional(told.get("output")), first, end, gives, labels, edges, factor, offset)


def _span(told: object) -> tuple[int, int | None]:
    if told is None:
        return 0, None
    pair = _list(told, "slice")
    if len(pair) != 2 or not all(type(end) is int for end in pair) or not 0 <= pair[0] < pair[1]:
        raise ValueError(f"got the slice {told!r}, expected the first number and the one behind the last, as [7, 9]")
    return pair[0], pair[1]


def _mapping(data: object, known: Sequence[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"got a {type(data).__name__}, expected a mapping")
    if strange := sorted(str(key) for key in data if key not in known):
        raise ValueError(f"unknown keys {', '.join(strange)}; known: {', '.join(known)}")
    return data


def _list(data: object, what: str) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"{what}: got a {type(data).__name__}, expected a list")
    return data


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"got {value!r:.40}, expected a text")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _one_of(value: object, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"got {value!r:.40}, expected one of {', '.join(known)}")
    return str(value)


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise TypeError(f"{what}: got {value!r:.40}, expected a number")
    return float(value)


def _size(value: object) -> tuple[int, int]:
    sides = [value, value] if type(value) is int else _list(value, "size")
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MOST_SIDE for side in sides):
        raise ValueError(f"size: got {value!r:.40}, expected height and width in pixels, as [224, 224]")
    return sides[0], sides[1]


def _by_channel(value: object, what: str, channels: str, *, zero: bool = True) -> tuple[float, ...]:
    found = tuple(_number(part, what) for part in (value if isinstance(value, list) else [value]))
    if len(found) not in (1, len(channels)) or not (zero or all(found)):
        raise ValueError(f"{what}: got {value!r:.60}, expected one number, or one for each of {channels}")
    return found


def digest(network: Network) -> str:
    """Digest of the network's file, its card, and what lies beside them and may hold its weights."""
    others = {
        path
        for path in network.card.parent.iterdir()
        if path.is_file() and path.suffix != ".onnx" and path.name not in CARDS and not path.name.startswith(BESIDE)
    }
    seen = hashlib.sha256()
    for path in sorted({network.file, network.card, *others}):
        seen.update(path.name.encode())
        with folders.opened(path) as handle:
            while part := handle.read(LARGEST):
                seen.update(part)
    return seen.hexdigest()[:12]
