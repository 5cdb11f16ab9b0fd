"""Plain networks in ONNX files: pictures in, the probability of every label out, by onnxruntime."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from PIL.Image import new as new_image

from facevlm import folders
from facevlm.backends import BackendInfo, Options, PictureSpec, networks
from facevlm.backends.cards import ANY, Card
from facevlm.backends.networks import LOGITS, PREFIX, PROBABILITIES, YEARS, Head, Network
from facevlm.backends.singling import Singling
from facevlm.backends.stated import stated
from facevlm.errors import InputError, ModelError, first_line
from facevlm.types import Question, Reply

Values = NDArray[np.float64]
KINDS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
"""Numbers that a network may take."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
BATCH_SIZE = 32
LOWEST = float(np.finfo(np.float32).tiny)
"""A probability of nothing is written as this one, since its logarithm is a number."""
TOLERANCE = 0.02
OLDEST = 130.0


class OnnxBackend:
    """The :class:`~facevlm.backends.Backend` of a folder with a network and its card."""

    def __init__(self, card: Card, options: Options) -> None:
        if options.decode != "score":
            raise InputError(f"Got decode='{options.decode}' for '{card.name}', which has no words; expected 'score'.")
        folder = card.checkpoints[ANY]
        self._name, self._network = card.name, networks.read(Path(folder))
        self._session, device = _session(self._network, options.device)
        self._input = self._chosen_input()
        self._spec = self._picture()
        self._decision, self._singling = card.decision(options), Singling(card.name)
        self._step = self._rows_at_once()
        self._info = BackendInfo(
            model=card.name,
            identity={folder: networks.digest(self._network)},
            device=device,
            dtype=self._input.type.removeprefix("tensor(").rstrip(")"),
            decode="score",
            picture=self._spec,
            versions={name: version(name) for name in ("facevlm", "onnxruntime")},
            batch_size=BATCH_SIZE,
            stated=stated(card),
            decision=self._decision,
        )

    @property
    def info(self) -> BackendInfo:
        """Facts for the run record."""
        return self._info

    def check(self, questions: Sequence[Question]) -> None:
        """Raise :class:`~facevlm.errors.ModelError` for an attribute that the card does not know, or whose labels are
        not those of the network."""
        for question in questions:
            head = self._head(question)
            if head.labels:
                head.places(question.attribute)
            else:
                head.group(question.attribute, 0.0)

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """The probability of every label; an age in years becomes the label of its group, without a probability."""
        self.check(questions)
        if not images:
            return []
        rows = self._singling(functools.partial(self._asked, questions=questions), images, self._plain())
        return [row * len(questions) if len(row) == 1 and row[0].error else row for row in rows]

    def _asked(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        outputs = self._run(images)
        columns = [self._read(outputs, question) for question in questions]
        return [[column[row] for column in columns] for row in range(len(images))]

    def _read(self, outputs: dict[str, Values], question: Question) -> list[Reply]:
        head = self._head(question)
        values = _span(head, outputs[self._output(head)])
        return [_reply(head, question, row, self._decision) for row in values]

    def _head(self, question: Question) -> Head:
        name = question.attribute.name
        if name not in self._network.heads:
            raise ModelError(f"Model '{self._name}' answers {', '.join(self._network.heads)}; got '{name}'.")
        return self._network.heads[name]

    def _run(self, images: Sequence[Image]) -> dict[str, Values]:
        """Every output that is read, of shape (pictures, numbers)."""
        pixels = np.stack([self._pixels(image) for image in images])
        parts = [self._pass(pixels[first : first + self._step]) for first in range(0, len(pixels), self._step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _pass(self, pixels: NDArray[Any]) -> dict[str, Values]:
        """One pass; a network of a fixed number of pictures gets the last one several times over."""
        fixed = self._fixed()
        lacking = max(0, fixed - len(pixels)) if fixed else 0
        shown = np.concatenate([pixels, np.repeat(pixels[-1:], lacking, axis=0)])
        names = sorted({self._output(head) for head in self._network.heads.values()})
        try:
            found = self._session.run(names, {self._input.name: shown})
        except _errors() as error:
            raise ModelError(f"Model '{self._name}' failed: {first_line(error)}") from error
        return {
            n: _flat(self._name, n, value, len(shown))[: len(pixels)] for n, value in zip(names, found, strict=True)
        }

    def _pixels(self, image: Image) -> NDArray[Any]:
        """A picture as the network takes it."""
        told, spec = self._network.input, self._spec
        fitted = image.convert("L" if told.channels == "L" else "RGB")
        if fitted.size != (spec.width, spec.height):
            fitted = fitted.resize((spec.width, spec.height), spec.resample)
        values = np.asarray(fitted, dtype=np.float64).reshape(spec.height, spec.width, -1)
        values = values[:, :, ::-1] if told.channels == "BGR" else values
        kind = KINDS[self._input.type]
        if kind is not np.uint8:
            values = (values * told.scale - np.array(told.mean)) / np.array(told.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1) if told.layout == "NCHW" else values, dtype=kind)

    # What the file says

    def _chosen_input(self) -> Any:
        found, named = self._session.get_inputs(), self._network.input.name
        chosen = [told for told in found if named in (None, told.name)]
        if len(chosen) != 1 or len(found) != 1:
            names = ", ".join(told.name for told in found)
            raise self._wrong(f"it takes {names}, expected one input" + (f" '{named}'" if named else ""))
        if chosen[0].type not in KINDS or len(chosen[0].shape) != 4:
            raise self._wrong(f"it takes {chosen[0].type} of shape {chosen[0].shape}, expected pictures of numbers")
        return chosen[0]

    def _output(self, head: Head) -> str:
        known = [told.name for told in self._session.get_outputs()]
        if head.output is None and len(known) == 1:
            return str(known[0])
        if head.output not in known:
            got = f"output '{head.output}'" if head.output else "no 'output'"
            raise self._wrong(f"its card has {got}, expected one of {', '.join(known)}")
        return str(head.output)

    def _picture(self) -> PictureSpec:
        told, shape = self._network.input, self._input.shape
        own, depth = (shape[2:4], shape[1]) if told.layout == "NCHW" else (shape[1:3], shape[3])
        if isinstance(depth, int) and depth != len(told.channels):
            raise self._wrong(
                f"it takes {depth} channels as {told.layout}, expected {len(told.channels)} ({told.channels})"
            )
        height, width = told.size or own
        if not isinstance(height, int) or not isinstance(width, int):
            raise self._wrong("it takes pictures of any size, expected the 'size' in its card")
        for side, fixed in zip((height, width), own, strict=True):
            if isinstance(fixed, int) and fixed != side:
                raise self._wrong(f"its card says {height} x {width} pixels, expected {own[0]} x {own[1]}")
        return PictureSpec(height, width, Resampling[told.resample.upper()])

    def _fixed(self) -> int:
        """So many pictures a pass takes, 0 for any number."""
        first = self._input.shape[0]
        return first if isinstance(first, int) and first > 0 else 0

    def _rows_at_once(self) -> int:
        """Pictures of a pass at most, tried with plain ones; its outputs are as wide as the card says."""
        self._step = self._fixed() or 1
        outputs = self._run([self._plain()])
        for name, head in self._network.heads.items():
            self._check_width(name, head, outputs[self._output(head)])
        if self._fixed():
            return self._fixed()
        self._step = 2
        try:
            self._run([self._plain()] * 2)
        except ModelError:
            # Some networks were converted with a batch of one inside, and do not say so.
            return 1
        return BATCH_SIZE

    def _check_width(self, name: str, head: Head, values: Values) -> None:
        width = values.shape[1]
        expected = len(head.labels) or (1 if head.gives == YEARS else 0)
        got = (width if head.end is None else min(width, head.end)) - head.first
        if (head.end or 0) > width or got < 1 or (expected and got != expected):
            where = f" from {head.first} on" if head.first else ""
            wanted = expected or (head.end or head.first + 1) - head.first
            raise self._wrong(
                f"its output has {width} numbers, expected {wanted}{where} for {name}, one for each label"
            )
        row = _span(head, values)[0]
        if head.gives == PROBABILITIES and np.isfinite(row).all() and not _are_probabilities(row):
            raise self._wrong(f"its output for {name} adds up to {row.sum():.3g}; expected 1, or 'gives: {LOGITS}'")

    def _plain(self) -> Image:
        return new_image("RGB", (self._spec.width, self._spec.height), (200, 90, 30))

    def _wrong(self, why: str) -> ModelError:
        return ModelError(f"The network {self._network.file} and its card {self._network.card.name} do not fit: {why}.")


def _span(head: Head, values: Values) -> Values:
    return values[:, head.first : head.end]


def _flat(model: str, name: str, value: object, rows: int) -> Values:
    """An output of shape (pictures, numbers)."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu" or found.ndim < 1 or len(found) != rows:
        raise ModelError(
            f"Model '{model}' gave {found.dtype} of shape {list(found.shape)} as '{name}' for {rows} pictures; "
            "expected numbers for each."
        )
    return found.astype(np.float64).reshape(rows, -1)


def _are_probabilities(row: Values) -> bool:
    return bool(row.min() >= -TOLERANCE and abs(row.sum() - 1) <= TOLERANCE)


def _reply(head: Head, question: Question, row: Values, decision: str) -> Reply:
    if not np.isfinite(row).all():
        return Reply(error=f"the network gave {row[~np.isfinite(row)][0]} for {question.attribute.name}")
    if head.gives == YEARS:
        return _aged(head, question, float(row[0]) * head.factor + head.offset)
    if head.gives == PROBABILITIES and not _are_probabilities(row):
        return Reply(error=f"the network's probabilities of {question.attribute.name} add up to {row.sum():.3g}")
    shares = np.exp(row - row.max()) if head.gives == LOGITS else row.clip(0.0)
    return _scored(head, question, shares / shares.sum(), decision)


def _scored(head: Head, question: Question, shares: Values, decision: str) -> Reply:
    """Shares by the attribute's labels; several of the network's may be one of them, and an age in none is left out."""
    attribute, totals = question.attribute, np.zeros(len(question.attribute.labels))
    places = head.places(attribute) if head.labels else [head.group(attribute, k) for k in range(len(shares))]
    for place, share in zip(places, shares, strict=True):
        if place is not None:
            totals[place] += share
    logs = np.log(np.maximum(totals, LOWEST))
    return Reply(log_probs=tuple(logs.tolist()), choice=int(totals.argmax()), decision=decision)


def _aged(head: Head, question: Question, years: float) -> Reply:
    said = f"{years:.1f} years"
    if not -OLDEST / 10 <= years <= OLDEST:
        return Reply(error=f"the network gave an age of {said}; see 'factor' and 'offset' in its card")
    place = head.group(question.attribute, years)
    return Reply(text=said, malformed=True) if place is None else Reply(text=question.attribute.labels[place])


def _session(network: Network, wanted: str | None) -> tuple[Any, str]:
    """The network opened on a device, and which one that is."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ModelError(
            f"'{PREFIX}{network.card.parent}' needs onnxruntime, which is not installed here. "
            'Run: pip install "facevlm[onnx]"'
        )
    import onnxruntime

    usable = {
        name: provider for name, provider in PROVIDERS.items() if provider in onnxruntime.get_available_providers()
    }
    device = wanted or ("cuda" if "cuda" in usable else "cpu")
    if device not in usable:
        raise ModelError(f"Got device '{device}', which onnxruntime cannot use here; expected {' or '.join(usable)}.")
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    try:
        folders.opened(network.file).close()
        return onnxruntime.InferenceSession(str(network.file), quiet, providers=[usable[device]]), device
    except _errors() as error:
        raise ModelError(
            f"{network.file} cannot be opened as a network: {first_line(error)}. Expected a file of the ONNX format."
        ) from error


@functools.cache
def _errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: classes that have nothing but Exception in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, OSError)
