"""What several commands share: kinds of arguments, groups of options, the dataset to work on."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import facevlm
from facevlm import attributes as attribute_registry
from facevlm.backends import ATTENTION, COMPILE, QUANTIZE, cards
from facevlm.errors import InputError


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"got '{text}', expected NAME=VALUE")
    return name.strip(), value.strip()


def edges(text: str) -> tuple[str, list[float]]:
    name, edges = pair(text)
    try:
        return name, [float(edge) for edge in edges.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected FIELD=NUMBERS such as age=20,40,60") from None


def registry(path: Path | None) -> attribute_registry.Registry:
    return attribute_registry.load(path) if path else attribute_registry.shipped()


def target(args: argparse.Namespace) -> Any:
    if args.images:
        facevlm.sources.folder(args.images, args.dataset)
    return facevlm.sources.load(args.dataset, args.view)


def check_json(path: Path | None) -> None:
    if path and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"Cannot write figures to '{path}', expected a file in a folder that is there.")


def add_target(command: Any) -> None:
    """Which pictures."""
    command.add_argument("dataset", help="name of a FiftyOne dataset; with --images, of the dataset to make")
    command.add_argument(
        "--images", type=Path, metavar="FOLDER", help="make the dataset of the pictures in this folder first"
    )
    command.add_argument("--view", help="only the samples of this saved view")


def add_question(command: Any, *, prompts: bool = True) -> None:
    """Which pictures, which model, which attributes, and with ``prompts`` in which words."""
    add_target(command)
    command.add_argument("--model", default="demo", help="see 'facevlm models' (default: demo)")
    command.add_argument(
        "--attributes", type=names, default=[], help="comma-separated, such as gender,age5; see 'facevlm attributes'"
    )
    command.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    if prompts:
        command.add_argument(
            "--prompt", type=pair, action="append", default=[], metavar="ATTRIBUTE=TEXT", help="another wording"
        )


def add_faces(command: Any) -> None:
    """Which faces of pictures, and how they are cut out."""
    command.add_argument("--faces", help="ask about every face in this field of Detections (default: whole pictures)")
    command.add_argument("--face-labels", type=names, default=[], help="only Detections with these labels")
    command.add_argument("--min-confidence", type=float, help="only Detections of at least this confidence")
    command.add_argument("--min-face-px", type=int, help="leave out faces with a shorter side of fewer pixels")
    command.add_argument(
        "--margin", type=float, help="around a face, as a share of its box (default: the model's own, else 0.25)"
    )
    command.add_argument("--align", action="store_true", help="turn faces so that the eyes are level")


def faces(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_faces` added, as ``apply`` takes it."""
    usual = cards.find(args.model).crop()
    margin = usual.margin if args.margin is None else args.margin
    chosen = {name: getattr(args, name) for name in ("faces", "face_labels", "min_confidence", "min_face_px")}
    return chosen | {"crop": replace(usual, margin=margin, align=args.align)}


def add_loading(command: Any) -> None:
    """Options of everything that loads a model."""
    command.add_argument("--device", help="such as cuda, mps, cpu (default: the first that is there)")
    command.add_argument("--dtype", help="float32, bfloat16 or float16 (default: float32 on CPU, else bfloat16)")
    command.add_argument("--revision", help="revision of the checkpoint on the hub")
    command.add_argument("--quantize", choices=QUANTIZE, help="weights in 8 or 4 bits, by bitsandbytes")
    command.add_argument("--attention", choices=ATTENTION, help="attention kernels (default: transformers' choice)")
    command.add_argument("--compile", choices=COMPILE, help="mode of torch.compile (default: off)")
    command.add_argument(
        "--memory-gb", type=float, help="GiB for all checkpoints of a model together (default: what is free)"
    )
    command.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the checkpoint")


def loading(args: argparse.Namespace) -> dict[str, Any]:
    names = ("device", "dtype", "revision", "quantize", "attention", "compile", "memory_gb", "trust_remote_code")
    return {name: getattr(args, name) for name in names}
