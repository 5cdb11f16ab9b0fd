"""Small networks as ONNX files, made here: what they give is known by a sum over the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
SIDE = 8


def matrix(numbers: int, channels: int = 3, seed: int = 0) -> Array:
    """What a network multiplies the mean of each channel by; of shape (channels, numbers)."""
    return np.random.default_rng(seed).normal(size=(channels, numbers)).astype(np.float32) * 3


def network(
    folder: Path,
    card: dict[str, Any] | None = None,
    *,
    weights: Array,
    batch: int | str = "n",
    layout: str = "NCHW",
    side: int | str = SIDE,
    after: Sequence[str] = (),
    outputs: Sequence[tuple[str, int, int]] = (),
    kind: int = TensorProto.FLOAT,
    inside: int | None = None,
    file: str = "net.onnx",
) -> Path:
    """A folder with a network that gives ``mean of each channel @ weights``, and its card.

    ``after`` are operators behind that, ``outputs`` are names and spans of several outputs, ``inside`` is a batch that
    the network was converted with.
    """
    channels, numbers = weights.shape
    shape = [batch, channels, side, side] if layout == "NCHW" else [batch, side, side, channels]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    known = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array(axes), "axes")]
    nodes = [helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("ReduceMean", ["cast", "axes"], ["means"], keepdims=0)]
    nodes += [helper.make_node("MatMul", ["means", "w"], ["h0"])]
    for k, operator in enumerate(after):
        nodes.append(helper.make_node(operator, [f"h{k}"], [f"h{k + 1}"]))
    last = f"h{len(after)}"
    if inside:
        known.append(numpy_helper.from_array(np.array([inside, numbers]), "shape"))
        nodes.append(helper.make_node("Reshape", [last, "shape"], ["shaped"]))
        last = "shaped"
    for name, first, end in outputs or [("scores", 0, numbers)]:
        known += [numpy_helper.from_array(np.array([place]), f"{name}{place}") for place in (first, end)]
        known.append(numpy_helper.from_array(np.array([1]), f"{name}-axis"))
        nodes.append(helper.make_node("Slice", [last, f"{name}{first}", f"{name}{end}", f"{name}-axis"], [name]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, e - f])
            for n, f, e in outputs or [("scores", 0, numbers)]
        ],
        list({tensor.name: tensor for tensor in known}.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / file)
    return told(folder, card) if card is not None else folder


def told(folder: Path, card: dict[str, Any], name: str = "card.yaml") -> Path:
    """The folder with another card."""
    (folder / name).write_text(yaml.safe_dump(card) if name.endswith("yaml") else json.dumps(card))
    return folder
