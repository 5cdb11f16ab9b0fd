"""Linear classifiers on the features of a frozen tower: minutes where a whole model takes hours, and a first figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.linear import NEVER, features
from facevlm.evaluation import metrics
from facevlm.evaluation.metrics import Codes, Floats
from facevlm.faces.crops import Crop
from facevlm.training.examples import LabelledFace
from facevlm.training.loop import AT_ONCE, ShownFaces
from facevlm.types import Attribute, Question

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of the penalty that are tried; the best on the validation faces is taken."""


def fit(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    learn: Sequence[LabelledFace],
    choose: Sequence[LabelledFace],
    crop: Crop | None = None,
    *,
    balanced: bool = False,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Weights (labels, width) and biases (labels,) by attribute, for features as they are."""
    seen, labels = _features(checkpoint, questions, learn, crop)
    chosen, truth = _features(checkpoint, questions, choose, crop)
    return {
        q.attribute.name: _fitted(q.attribute, (seen, labels[:, at]), (chosen, truth[:, at]), balanced)
        for at, q in enumerate(questions)
    }


def _features(
    checkpoint: Checkpoint, questions: Sequence[Question], faces: Sequence[LabelledFace], crop: Crop | None
) -> tuple[Floats, Codes]:
    """Features (faces, width) and label numbers (faces, questions), -1 for none, of the faces that can be read."""
    shown, parts, labels = ShownFaces(faces, questions, checkpoint, crop), [], []
    for first in range(0, len(faces), AT_ONCE):
        there = [one for at in range(first, min(first + AT_ONCE, len(faces))) if (one := shown[at]) is not None]
        images: list[Image] = [picture for picture, _ in there]
        parts += [features(checkpoint.family, images).cpu().numpy()] if images else []
        labels += [own for _, own in there]
    return np.concatenate(parts), np.array(labels, dtype=np.int64)


def _fitted(
    attribute: Attribute, learn: tuple[Floats, Codes], choose: tuple[Floats, Codes], balanced: bool
) -> tuple[Tensor, Tensor]:
    from sklearn.linear_model import LogisticRegression

    (seen, labels), (chosen, truth) = ((x[y >= 0], y[y >= 0]) for x, y in (learn, choose))
    middle, spread = seen.mean(0), seen.std(0) + 1e-6
    best: Mapping[str, Floats] = {}
    figure = -1.0
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced" if balanced else None)
        model.fit((seen - middle) / spread, labels)
        said = model.predict((chosen - middle) / spread) if len(chosen) else truth
        found = float(metrics.balanced_accuracy(metrics.confusion(truth, said, len(attribute.labels))))
        if not best or found > figure:
            figure, best = found, {"at": model.classes_, "weight": model.coef_, "bias": model.intercept_}
    return _table(attribute, best, middle, spread)


def _table(attribute: Attribute, model: Mapping[str, Floats], middle: Floats, spread: Floats) -> tuple[Tensor, Tensor]:
    """Weights and biases for all labels and features as they are, from those of the labels that occur."""
    weight, bias = model["weight"], model["bias"]
    if len(weight) == 1:
        # Of two labels scikit-learn keeps the odds of the second against the first.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    whole = np.zeros((len(attribute.labels), weight.shape[1]))
    shift = np.full(len(attribute.labels), NEVER)
    whole[model["at"]] = weight / spread
    shift[model["at"]] = bias - (weight / spread) @ middle
    return torch.from_numpy(whole).float(), torch.from_numpy(shift).float()
