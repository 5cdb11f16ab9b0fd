"""Faces to learn from, and a small checkpoint to teach them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.datasets import samples
from facevlm.training.examples import LabelledFace
from facevlm.training.lesson import Lesson, Objective, taught
from facevlm.types import Face, Question


def faces(count: int, attribute: str = "gender") -> list[LabelledFace]:
    """The first sample faces with their label, as many of them as there are."""
    records = samples.read("single")[:count]
    return [LabelledFace(Face(str(k), r.filepath), {attribute: r.labels[attribute]}) for k, r in enumerate(records)]


def coloured(folder: Path, count: int) -> list[LabelledFace]:
    """Pictures of one colour each, by which alone the label can be told."""
    made = []
    for k in range(count):
        path = folder / f"{k:03}.png"
        light = 150 + k % 100
        Image.new("RGB", (32, 32), (light, 20, 20) if k % 2 else (20, 20, light)).save(path)
        made.append(LabelledFace(Face(str(k), str(path)), {"gender": "Male" if k % 2 else "Female"}))
    return made


def asked(folder: Path, attributes: Sequence[str] = ("gender",)) -> list[Question]:
    """Each label in one spelling, in the attributes' own words."""
    known = [get(name) for name in attributes]
    return [taught(q) for q in questions_for(find(f"hf:{folder}"), known, {a.name: a.question for a in known})]


def opened(folder: Path) -> Checkpoint:
    return Checkpoint(find(f"hf:{folder}"), str(folder), Options(device="cpu", dtype="float32"))


def lesson(folder: Path, attributes: Sequence[str] = ("gender",), objective: Objective | None = None) -> Lesson:
    return Lesson(opened(folder), asked(folder, attributes), objective or Objective())
