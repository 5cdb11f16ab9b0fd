"""Examples as the model sees them, token by token: what stands in the prompt, what is learnt, and who sees whom."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from PIL.Image import Image

from facevlm.backends.checkpoint import Checkpoint
from facevlm.types import Question

LONGEST = 6
"""So often is one token written out; more of them are counted."""


@dataclass(frozen=True)
class Page:
    """One question about one face: tokens of prompt and answer as texts, and whether the prompt sees itself ahead.

    Only the answer's tokens count in the loss; each of them sees the whole prompt and the answer before it.
    """

    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    ahead: bool

    @property
    def told(self) -> str:
        """Two lines for a screen."""
        how = "sees itself both ways" if self.ahead else "sees what stands before"
        return f"  prompt ({how}; not counted): {joined(self.prompt)}\n  answer (counted): {joined(self.answer)}"


def page(checkpoint: Checkpoint, image: Image, question: Question, label: str) -> Page:
    """What a model is shown of an RGB picture, asked about the attribute, with its true label as the answer."""
    family = checkpoint.family
    picture = family.prepare(image)
    ids = family.ids(picture, question.context or question.text)
    at = question.attribute.labels.index(label)
    cue = family.answer_ids(question.cue) if question.cue else ()
    rendered = question.cue or family.render(question.text)
    answer = family.answers(question.surface_forms[at][0], rendered)[-1]
    words = [n for n, token in enumerate(ids) if token != family.image_token]
    seen = family.prefix_sight(torch.tensor([ids]))[0]
    ahead = len(words) > 1 and bool(seen[words[0], words[-1]])
    write = family.tokenizer.convert_ids_to_tokens
    return Page(tuple(write([*ids, *cue])), tuple(write([*answer, family.ends[0]])), ahead)


def joined(tokens: tuple[str, ...]) -> str:
    """Tokens one after the other, with a count in place of many of one kind."""
    parts = []
    for token, several in itertools.groupby(tokens):
        n = len(list(several))
        parts += [token] * n if n <= LONGEST else [f"{token} x {n}"]
    return " ".join(parts)
