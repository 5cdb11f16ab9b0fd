"""One loaded checkpoint: pictures and questions in, exact scores or free answers out. The same for every family."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from jinja2 import TemplateError
from PIL.Image import Image
from PIL.Image import new as new_image

from facevlm.backends import Options, PictureSpec
from facevlm.backends.cards import Card
from facevlm.backends.families.base import Ids, Prepared, edge_log_probs
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.backends.tries import Tries
from facevlm.backends.weights import load
from facevlm.errors import ModelError
from facevlm.types import Question, Reply

MAX_NEW_TOKENS = 24
FAILURES = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError)
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.05}
TRIAL = "what is this?"
TRIAL_SIZE = 96


class Checkpoint:
    """A checkpoint of any family. ``decode`` is how it answers: as asked, or ``generate`` where scores do not hold."""

    def __init__(self, card: Card, name: str, options: Options) -> None:
        self.name = name
        self.family, self.revision = load(card, name, options)
        self.decode, self.note = options.decode, ""
        self._tries = Tries(self.family)
        self._pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="facevlm-prepare")
        self._check(TOLERANCE.get(self.family.model.dtype, 0.05))

    @property
    def picture(self) -> PictureSpec | None:
        return self.family.picture

    def _check(self, tolerance: float) -> None:
        """Let the model answer one question freely, then score that answer; on a mismatch, generate from now on.

        Wrong masks or positions are silent otherwise. Raises :class:`~facevlm.errors.ModelError` for weights,
        tokenizer, chat template and picture processor that do not belong together.
        """
        with torch.inference_mode():
            picture, ids, answer = self._try_out()
            if self.decode != "score":
                return
            try:
                gap = self._scoring_gap(picture, ids, answer)
                what = f"its label scores differ from those of its own forward pass by {gap:.2g}"
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                gap, what = float("inf"), f"its labels cannot be scored in one pass ({type(error).__name__})"
        if not gap <= tolerance:
            self.decode = "generate"
            self.note = f"{self.name}: {what}, so it answers by generating text, without confidences."

    def _try_out(self) -> tuple[Prepared, Ids, Ids]:
        """A test picture, the tokens of a question about it, and those of a free answer that can be scored."""
        family = self.family
        try:
            picture = family.prepare(_test_picture(self.picture))
            ids = family.ids(picture, TRIAL)
            said = family.generate_ids(family.collate([picture]), [ids], 3)[0].tolist()
        except torch.OutOfMemoryError as error:
            raise ModelError("Out of memory with a single picture when the model was tried out.") from error
        except (*FAILURES, TemplateError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")
            raise ModelError(
                f"Cannot ask model '{self.name}' about a picture: {first}. Expected weights, tokenizer, chat template "
                "and picture processor that belong together."
            ) from error
        stops = (*family.ends, family.image_token)
        return picture, ids, tuple(itertools.takewhile(lambda token: token not in stops, said))

    def _scoring_gap(self, picture: Prepared, ids: Ids, answer: Ids) -> float:
        """How far the score of a free answer is from the model's own, as a share of it where that is above one."""
        family = self.family
        other = family.answer_ids("a picture")
        forms = tuple((form,) for form in (answer or other, other[:1], other) if form)
        prefix, tail = family.split(ids)
        trie = LabelTrie([Branch(tail, forms)], family.ends[:1])
        keep = trie.scored_positions()
        logits = family.logits(family.see(family.collate([picture])), [prefix], trie, keep)
        scores = trie.read(edge_log_probs(logits, trie, keep).cpu().numpy())[0]
        plain = family.plain_log_prob(family.collate([picture]), ids, forms[0][0])
        return abs(float(scores.log_probs[0, 0]) - plain) / max(1.0, abs(plain))

    def check(self, questions: Sequence[Question]) -> None:
        """Raise :class:`~facevlm.errors.ModelError` where an answer has no tokens, or those of another label."""
        if self.decode == "score":
            for question in questions:
                self._tries.branch((), question)

    def prepare(self, images: Sequence[Image]) -> list[Prepared]:
        """Pictures as the model takes them, prepared by threads."""
        if self.picture or len(images) == 1:
            return [self.family.prepare(image) for image in images]
        return list(self._pool.map(self.family.prepare, images))

    def score(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Exact log-probabilities of every label; what questions share is computed once."""
        pictures = self.prepare(images)
        table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
        prompts = list(dict.fromkeys(q.context or q.text for q in questions))
        with torch.inference_mode():
            for rows in self._alike(pictures, prompts):
                inputs = self.family.see(self.family.collate([pictures[r] for r in rows]))
                for asked in self._sharing(pictures[rows[0]], prompts):
                    members = [k for k, q in enumerate(questions) if (q.context or q.text) in asked]
                    trie = self.trie(pictures[rows[0]], [questions[k] for k in members])
                    prefixes = [self.family.split(self.ids(pictures[r], asked[0]))[0] for r in rows]
                    keep = trie.scored_positions()
                    edges = edge_log_probs(self.family.logits(inputs, prefixes, trie, keep), trie, keep)
                    for k, scores in zip(members, trie.read(edges.cpu().numpy()), strict=True):
                        for row, log_probs, choice in zip(rows, scores.log_probs, scores.choice, strict=True):
                            table[row][k] = Reply(log_probs=tuple(log_probs.tolist()), choice=int(choice))
        return table

    def _alike(self, pictures: Sequence[Prepared], prompts: Sequence[str]) -> list[list[int]]:
        """Pictures that can share a pass: those behind which the prompts go on with the same tokens."""
        groups: dict[object, list[int]] = {}
        for row, picture in enumerate(pictures):
            tails = tuple(self.family.split(self.ids(picture, text))[1] for text in prompts)
            groups.setdefault((tails, tuple(map(tuple, self._sharing(picture, prompts)))), []).append(row)
        return list(groups.values())

    def _sharing(self, picture: Prepared, prompts: Sequence[str]) -> list[list[str]]:
        """Prompts that share a pass: those that begin with the same tokens up to where the family splits."""
        groups: dict[Ids, list[str]] = {}
        for text in prompts:
            groups.setdefault(self.family.split(self.ids(picture, text))[0], []).append(text)
        return list(groups.values())

    def ids(self, picture: Prepared, text: str) -> Ids:
        """All tokens of a prompt; pictures that are written alike share them."""
        return self._tries.ids(picture, text)

    def trie(self, picture: Prepared, questions: Sequence[Question]) -> LabelTrie:
        """The label trie by which questions that share a pass are scored; see :meth:`Tries.trie`."""
        return self._tries.trie(picture, questions)

    def generate(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Free greedy answers, one generation per distinct prompt."""
        pictures = self.prepare(images)
        said: dict[str, list[str]] = {}
        with torch.inference_mode():
            for text in dict.fromkeys(q.text for q in questions):
                prompts = [self.ids(picture, text) for picture in pictures]
                tokens = self.family.generate_ids(self.family.collate(pictures), prompts, MAX_NEW_TOKENS)
                said[text] = self.family.decode(tokens)
        return [[Reply(text=said[q.text][row]) for q in questions] for row in range(len(images))]

    def spell(self, images: Sequence[Image], text: str, max_new_tokens: int) -> list[list[Reply]]:
        """Free greedy answers to one prompt with all of their special tokens; one that was cut off is ``malformed``."""
        pictures = self.prepare(images)
        with torch.inference_mode():
            prompts = [self.ids(picture, text) for picture in pictures]
            tokens = self.family.generate_ids(self.family.collate(pictures), prompts, max_new_tokens)
        return [[Reply(text=said, malformed=not ended)] for said, ended in self.family.spell(tokens)]


def _test_picture(spec: PictureSpec | None) -> Image:
    size = (spec.width, spec.height) if spec else (TRIAL_SIZE, TRIAL_SIZE)
    return new_image("RGB", size, (200, 90, 30))
