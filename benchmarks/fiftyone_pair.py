"""FiftyOne's apply_model over a plain wrapper, and facevlm.apply, on the same dataset of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
from PIL import Image

import facevlm
from benchmarks.systems import Plain
from facevlm.backends import Options
from facevlm.types import Question

UNPARSED = "unparsed"


@dataclass(frozen=True)
class WrapperConfig:
    """What a :class:`Wrapper` is made of."""

    plain: Plain
    questions: tuple[Question, ...]


class Wrapper(fo.Model):  # type: ignore[misc]
    """A model as one writes it for FiftyOne: processor and batched generation for each question, the text searched."""

    media_type = "image"
    has_logits = False
    transforms = None
    preprocess = True
    ragged_batches = False

    def __init__(self, config: WrapperConfig) -> None:
        self.config = config

    def predict(self, arg: np.ndarray[Any, Any]) -> Any:
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[np.ndarray[Any, Any]]) -> list[Any]:
        pictures = [Image.fromarray(pixels) for pixels in args]
        rows: list[dict[str, fo.Classification]] = [{} for _ in pictures]
        for question in self.config.questions:
            for row, text in zip(rows, self.config.plain.generate(pictures, question), strict=True):
                row[question.attribute.name] = fo.Classification(label=parsed(text, question))
        return rows if len(self.config.questions) > 1 else [next(iter(row.values())) for row in rows]


def parsed(text: str, question: Question) -> str:
    """The label with which an answer begins."""
    return next((label for label in question.attribute.labels if text.lower().startswith(label.lower())), UNPARSED)


def made(paths: Sequence[str], count: int) -> fo.Dataset:
    """A dataset of that many samples, on the given files in turn."""
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=paths[k % len(paths)]) for k in range(count)], progress=False)
    return dataset


def apply_model(dataset: fo.Dataset, plain: Plain, questions: Sequence[Question], batch: int) -> float:
    """FiftyOne's own loop; returns the number of pictures."""
    model = Wrapper(WrapperConfig(plain, tuple(questions)))
    dataset.apply_model(model, label_field="plain", batch_size=batch, skip_failures=False, progress=False)
    return float(len(dataset))


def apply_ours(
    dataset: fo.Dataset, model: str, attributes: Sequence[str], options: Options, batch: int, *, joint: bool
) -> float:
    """Ours; returns the number of pictures. Each way has its fields: to declare them anew is no matter of pictures."""
    result = facevlm.apply(
        dataset,
        model,
        attributes,
        prefix="ours_joint" if joint else "ours_apart",
        batch_size=batch,
        overwrite=True,
        joint=joint,
        device=options.device,
        dtype=options.dtype,
        progress=False,
    )
    return float(result.asked)
