"""Whether a model begins its answers with a blank: where it does always, or never, a trie need not hold both spellings.

A prompt that ends in a word, such as ``ASSISTANT:``, may be followed by an answer with or without a leading blank, and
each label is the sum over both. What a model was tuned with it says nearly always. So every question is tried out on
plain pictures, and a spelling is left out where it adds less than ``NEGLIGIBLE`` to each of its labels, a tenth of what
scores are held to; where one label needs both, or labels need different ones, all keep both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image, fromarray

from facevlm.backends.families.base import Family, Ids, edge_log_probs
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.types import Question

NEGLIGIBLE = 1e-5
LEADS = 2


def spellings(family: Family, question: Question) -> list[tuple[tuple[Ids, ...], ...]]:
    """For each label the forms of each of its strings: one, or one without and one with a leading blank."""
    rendered = question.cue or family.render(question.text)
    return [tuple(family.answers(s, rendered) for s in strings) for strings in question.surface_forms]


def only_spelling(family: Family, question: Question, pictures: Sequence[Image]) -> int | None:
    """Which of both spellings suffices: 0 without a blank, 1 with one; None where both are needed, or there is one."""
    forms = spellings(family, question)
    if any(len(both) != LEADS for label in forms for both in label):
        return None
    sides = [tuple(both[lead] for both in label) for label in forms for lead in range(LEADS)]
    if len({form for side in sides for form in side}) < sum(map(len, sides)):
        return None
    shares = np.concatenate([_shares(family, question, sides, picture) for picture in pictures])
    unneeded = np.flatnonzero(shares.max(0) < NEGLIGIBLE)
    return LEADS - 1 - int(unneeded[0]) if len(unneeded) else None


def _shares(
    family: Family, question: Question, sides: Sequence[tuple[Ids, ...]], picture: Image
) -> NDArray[np.float64]:
    """Each spelling's share of each label, (labels, 2), by one pass over a picture."""
    prepared = family.prepare(picture)
    prefix, tail = family.split(family.ids(prepared, question.context or question.text))
    cue = family.answer_ids(question.cue) if question.cue else ()
    trie = LabelTrie([Branch((*tail, *cue), tuple(sides))], family.ends)
    keep = trie.scored_positions()
    with torch.inference_mode():
        logits = family.logits(family.see(family.collate([prepared])), [prefix], trie, keep)
        edges = edge_log_probs(logits, trie, keep).cpu().numpy()
    found = trie.read(edges)[0].log_probs[0].reshape(-1, LEADS)
    shares: NDArray[np.float64] = np.exp(found - np.logaddexp.reduce(found, 1, keepdims=True))
    return shares


def noise(size: tuple[int, int]) -> Image:
    """A picture of nothing, as unlike one of a single colour as can be."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return fromarray(values)
