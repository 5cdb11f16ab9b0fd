"""What a model learns from one batch: a loss for every answer, read off the passes by which faces are asked later.

The prompt sees itself as the family has it, an answer sees the prompt and its own tokens before it, and only an
answer's tokens and its end count. All of that is the scorer's own label trie: what is learnt is what is scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from facevlm.backends.checkpoint import Checkpoint, Pass
from facevlm.backends.families.base import edge_log_probs
from facevlm.backends.trie import LabelTrie
from facevlm.training.recipes import CLOSED
from facevlm.types import Question

Labels = Sequence[int]
"""For every question the number of the true label, -1 where it is not known."""


@dataclass(frozen=True)
class Objective:
    """What is made small: ``tokens`` or ``labels``, how much of an answer's weight goes to all others, and how much an
    answer counts by attribute and label."""

    kind: str = "tokens"
    smoothing: float = 0.0
    weights: Mapping[str, Tensor] | None = None


def taught(question: Question) -> Question:
    """A question whose every label is spelled in one way only: the one that is learnt, and asked for later."""
    return replace(question, surface_forms=tuple(forms[:1] for forms in question.surface_forms))


def as_tensors(told: Mapping[str, Sequence[float]], device: torch.device) -> dict[str, Tensor]:
    """Class weights on a device, float32 (labels,) by attribute."""
    return {name: torch.tensor(list(values), device=device) for name, values in told.items()}


class Lesson:
    """A checkpoint, what it is asked, and the loss over its answers."""

    def __init__(self, checkpoint: Checkpoint, questions: Sequence[Question], objective: Objective) -> None:
        self.checkpoint, self.questions, self.objective = checkpoint, list(questions), objective

    def loss(self, images: Sequence[Image], labels: Sequence[Labels]) -> Tensor:
        """The mean over the answers to RGB pictures, in nats, each with its weight."""
        parts, heavy = [], []
        for losses, weights in self.losses(images, labels):
            parts.append((losses * weights).sum())
            heavy.append(weights.sum())
        return torch.stack(parts).sum() / torch.stack(heavy).sum().clamp_min(1e-9)

    def losses(self, images: Sequence[Image], labels: Sequence[Labels]) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and weights, float32 (answers,) each: the answers to one question in one pass at a time."""
        pictures = self.checkpoint.prepare(images)
        for known, rows in _alike(labels).items():
            questions = [self.questions[k] for k in known]
            for asked in self.checkpoint.passes([pictures[row] for row in rows], questions):
                for branch, at in enumerate(asked.questions):
                    truth = [labels[rows[row]][known[at]] for row in asked.pictures]
                    yield self._losses(asked, branch, questions[at].attribute.name, truth)

    def _losses(self, asked: Pass, branch: int, name: str, truth: Labels) -> tuple[Tensor, Tensor]:
        true = torch.tensor(truth, device=asked.logits.device)
        weights = self.objective.weights or {}
        weight = weights[name].to(true.device)[true] if name in weights else torch.ones_like(true, dtype=torch.float32)
        closed = self.objective.kind == CLOSED
        loss = _of_labels if closed else _of_tokens
        return loss(asked, branch, true, self.objective.smoothing), weight


def _alike(labels: Sequence[Labels]) -> dict[tuple[int, ...], list[int]]:
    """Rows by the questions that they have a label for; those without any are in none."""
    rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, own in enumerate(labels):
        if known := tuple(k for k, label in enumerate(own) if label >= 0):
            rows[known].append(row)
    return rows


def taught_edges(trie: LabelTrie, branch: int) -> Tensor:
    """Which edges of a trie spell each label in the form that is learnt, float32 (labels, edges).

    Where an answer may begin with a blank or without, the blank is learnt, as chats are written; it ends with the
    first of the end tokens.
    """
    ends = len(trie.end_tokens)
    table = torch.zeros(len(trie.paths(branch)), trie.n_edges)
    for label, paths in enumerate(trie.paths(branch)):
        table[label, paths[-ends]] = 1
    return table


def _of_tokens(asked: Pass, branch: int, true: Tensor, smoothing: float) -> Tensor:
    """The negative log-probability of each true answer, its end included, (pictures,)."""
    edges = edge_log_probs(asked.logits, asked.trie, asked.keep)
    mine = taught_edges(asked.trie, branch).to(edges.device)[true]
    loss = -(edges * mine).sum(1)
    if not smoothing:
        return loss
    return (1 - smoothing) * loss + smoothing * (_spread_evenly(asked) * mine).sum(1)


def _spread_evenly(asked: Pass) -> Tensor:
    """What it costs at each edge to guess any token of the vocabulary, (pictures, edges)."""
    at = torch.from_numpy(np.searchsorted(asked.keep, asked.trie.edge_position)).to(asked.logits.device)
    logits = asked.logits.float()
    return (logits.logsumexp(-1) - logits.mean(-1))[:, at]


def _of_labels(asked: Pass, branch: int, true: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of the true label among the attribute's, by the scorer's own log-probabilities, (pictures,)."""
    edges = edge_log_probs(asked.logits, asked.trie, asked.keep)
    scores = [
        torch.stack([edges[:, path].sum(1) for path in paths], 1).logsumexp(1) for paths in asked.trie.paths(branch)
    ]
    return torch.nn.functional.cross_entropy(torch.stack(scores, 1), true, reduction="none", label_smoothing=smoothing)
