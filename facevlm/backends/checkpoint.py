"""One loaded checkpoint: pictures and questions in, exact scores or free answers out. The same for every family."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jinja2 import TemplateError
from PIL.Image import Image
from PIL.Image import new as new_image
from torch import Tensor

from facevlm.backends import Options, PictureSpec, cores
from facevlm.backends.cards import Card
from facevlm.backends.families.base import Family, Ids, Prepared, edge_log_probs
from facevlm.backends.memory import is_short
from facevlm.backends.spelling import noise, only_spelling
from facevlm.backends.trie import Branch, FloatArray, IntArray, LabelTrie
from facevlm.backends.tries import Tries
from facevlm.backends.weights import load
from facevlm.errors import ModelError
from facevlm.types import Question, Reply

if TYPE_CHECKING:
    from facevlm.backends.compiling import Compiled

MAX_NEW_TOKENS = 24
FAILURES = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError)
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.05}
TRIAL = "what is this?"
TRIAL_SIZE = 96


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass: places of its pictures and questions in what was asked, the label trie behind the prompts with
    a branch for each question, and logits (pictures, len(keep), vocabulary) at the trie's positions ``keep``."""

    pictures: Sequence[int]
    questions: Sequence[int]
    trie: LabelTrie
    keep: IntArray
    logits: Tensor


class Checkpoint:
    """A checkpoint of any family. ``decode`` is how it answers: as asked, or ``generate`` where scores do not hold."""

    def __init__(self, card: Card, name: str, options: Options) -> None:
        self.name = name
        self.family, self.revision = load(card, name, options)
        self._compiled = _compiled(self.family, options.compile)
        self.decode, self._fallback = options.decode, ""
        self._parameters = sum(p.numel() for p in self.family.model.parameters())
        self._decision = card.decision(options)
        self._tries = Tries(self.family)
        self._pool = ThreadPoolExecutor(cores.reading(), thread_name_prefix="facevlm-prepare")
        with self.watched():
            self._check(TOLERANCE.get(self.family.model.dtype, 0.05))

    @property
    def picture(self) -> PictureSpec | None:
        return self.family.picture

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should read of how it answers, as far as it is known now."""
        compiled = self._compiled.note(self.name) if self._compiled else ""
        return tuple(filter(None, (self._fallback, compiled)))

    @property
    def threads(self) -> int | None:
        """Threads of a forward pass; None where that is not on the CPU."""
        return cores.suited(self._parameters) if self.family.model.device.type == "cpu" else None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block in which this model runs, with the threads that suit it, and what is noted of a compiled one."""
        with ExitStack() as block:
            if self.threads is not None:
                block.enter_context(cores.working(self._parameters))
            if self._compiled:
                block.enter_context(self._compiled.watched())
            yield

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
            except FAILURES as error:
                if is_short(error):
                    raise
                gap, what = float("inf"), f"its labels cannot be scored in one pass ({type(error).__name__})"
        if not gap <= tolerance:
            self.decode = "generate"
            self._fallback = f"{self.name}: {what}, so it answers by generating text, without confidences."

    def _try_out(self) -> tuple[Prepared, Ids, Ids]:
        """A test picture, the tokens of a question about it, and those of a free answer that can be scored."""
        family = self.family
        try:
            picture = family.prepare(plain_picture(self.picture))
            ids = family.ids(picture, TRIAL)
            said = family.generate_ids(family.collate([picture]), [ids], 3)[0].tolist()
        except (*FAILURES, TemplateError) as error:
            if is_short(error):
                raise
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

    def ask(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Scores, or free answers where that is how it was opened, or fell back."""
        return self.generate(images, questions) if self.decode == "generate" else self.score(images, questions)

    def positions(self, questions: Sequence[Question]) -> int:
        """Positions whose logits one pass over a picture keeps at most, where these questions are scored."""
        if self.decode != "score":
            return 0
        picture = self.family.prepare(plain_picture(self.picture))
        prompts = list(dict.fromkeys(q.context or q.text for q in questions))
        shared = [[q for q in questions if (q.context or q.text) in asked] for asked in self._sharing(picture, prompts)]
        return max((len(self.trie(picture, members).scored_positions()) for members in shared), default=0)

    def prepare(self, images: Sequence[Image]) -> list[Prepared]:
        """Pictures as the model takes them, prepared by threads."""
        if self.picture or len(images) == 1:
            return [self.family.prepare(image) for image in images]
        return list(self._pool.map(self.family.prepare, images))

    def score(
        self, images: Sequence[Image], questions: Sequence[Question], decision: str | None = None
    ) -> list[list[Reply]]:
        """Exact log-probabilities of every label; what questions share is computed once.

        ``decision`` is by which the replies are decided, by default that of the card.
        """
        table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
        with torch.inference_mode():
            read, edges = [], []
            for asked in self.passes(self.prepare(images), questions):
                read.append((asked.pictures, asked.questions, asked.trie))
                edges.append(edge_log_probs(asked.logits, asked.trie, asked.keep))
                # Before the next pass: two tables of logits are a large part of a device.
                del asked
            for (rows, members, trie), found in zip(read, _read_out(edges), strict=True):
                for k, scores in zip(members, trie.read(found), strict=True):
                    for row, log_probs, choice in zip(rows, scores.log_probs, scores.choice, strict=True):
                        shares = tuple(log_probs.tolist())
                        table[row][k] = Reply(log_probs=shares, choice=int(choice), decision=decision or self._decision)
        return table

    def passes(self, pictures: Sequence[Prepared], questions: Sequence[Question]) -> Iterator[Pass]:
        """The forward passes in which every question is put to every picture: what can share one does. They are given
        to the device and not waited for.

        Inference reads labels off their logits, and training its loss, so that both ask alike.
        """
        prompts = list(dict.fromkeys(q.context or q.text for q in questions))
        for rows in self._alike(pictures, prompts):
            inputs = self.family.see(self.family.collate([pictures[r] for r in rows]))
            for asked in self._sharing(pictures[rows[0]], prompts):
                members = [k for k, q in enumerate(questions) if (q.context or q.text) in asked]
                trie = self.trie(pictures[rows[0]], [questions[k] for k in members])
                prefixes = [self.family.split(self.ids(pictures[r], asked[0]))[0] for r in rows]
                keep = trie.scored_positions()
                yield Pass(rows, members, trie, keep, self.family.logits(inputs, prefixes, trie, keep))

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
        for question in questions:
            if question.fingerprint() not in self._tries.only:
                plain = plain_picture(self.picture)
                self._tries.only[question.fingerprint()] = only_spelling(
                    self.family, question, [plain, noise(plain.size)]
                )
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


def _read_out(parts: Sequence[Tensor]) -> list[FloatArray]:
    """Tables on the device as arrays, in one copy: the host waits for the device once."""
    flat = torch.cat([part.flatten() for part in parts]).cpu().numpy() if parts else np.empty(0, np.float32)
    ends = itertools.accumulate(part.numel() for part in parts)
    return [flat[end - p.numel() : end].reshape(p.shape) for p, end in zip(parts, ends, strict=True)]


def _compiled(family: Family, mode: str | None) -> Compiled | None:
    if mode is None:
        return None
    # Imported where it is wanted: what compiles takes a second to load.
    from facevlm.backends.compiling import Compiled

    return Compiled(family.model, mode)


def plain_picture(spec: PictureSpec | None) -> Image:
    """A picture of one colour, at the size that a model takes."""
    size = (spec.width, spec.height) if spec else (TRIAL_SIZE, TRIAL_SIZE)
    return new_image("RGB", size, (200, 90, 30))
