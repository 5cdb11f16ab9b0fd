"""Ways to ask a PaliGemma about faces: those of model cards, by transformers alone, and ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

from benchmarks.flops import Pass, picture_flops
from facevlm.backends import Backend
from facevlm.backends.cards import location
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.local import LocalBackend
from facevlm.types import Question

ROWS = 64
"""Sequences in one pass of teacher forcing."""
Pictures = Sequence[Image.Image]


@dataclass(frozen=True)
class Plain:
    """A network with transformers' own processor, as model cards use them; nothing of facevlm.

    ``prompts`` remembers the tokens of prompts.
    """

    network: Any
    processor: Any
    prompts: dict[str, Tensor] = field(default_factory=dict)

    def inputs(self, pictures: Pictures, prompt: str) -> dict[str, Any]:
        """The network's arguments for one prompt about some pictures."""
        found = self.processor(
            text=["<image>" + prompt] * len(pictures), images=[[p] for p in pictures], return_tensors="pt"
        )
        moved = found.to(device=self.network.device, dtype=self.network.dtype)
        return {name: tensor for name, tensor in moved.items() if name != "labels"}

    def words(self, text: str) -> list[int]:
        """Token ids of a piece of an answer; none for an empty one."""
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def answer_length(self, question: Question) -> int:
        """Tokens of an answer, the mean over the labels, and the end token."""
        return round(statistics.mean(len(self.words(forms[0])) for forms in question.surface_forms)) + 1

    def generate(self, pictures: Pictures, question: Question) -> list[str]:
        """Free greedy answers of the length that a trained model's have: random weights never stop by themselves."""
        inputs = self.inputs(pictures, question.text)
        length = self.answer_length(question)
        with torch.inference_mode():
            out = self.network.generate(**inputs, min_new_tokens=length, max_new_tokens=length, do_sample=False)
        said = self.processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in said]

    def forced(self, pictures: Pictures, questions: Sequence[Question]) -> list[Tensor]:
        """Log-probabilities (pictures, labels) of each question, by one sequence for each picture and answer.

        Pixels and vision tower are done once for each picture, as anybody would; the mask and the positions are the
        network's own.
        """
        with torch.inference_mode():
            pixels = self.inputs(pictures, questions[0].text)["pixel_values"]
            features = self.network.get_image_features(pixels).pooler_output
            return [self._forced(features, question) for question in questions]

    def _forced(self, features: Tensor, question: Question) -> Tensor:
        cue, end = self.words(question.cue), self.network.generation_config.eos_token_id
        forms = [[*cue, *self.words(form), end] for forms in question.surface_forms for form in forms]
        owner = torch.tensor([label for label, forms in enumerate(question.surface_forms) for _ in forms])
        said = torch.nn.utils.rnn.pad_sequence([torch.tensor(form) for form in forms], True, end).to(features.device)
        at = torch.arange(said.shape[1], device=features.device)
        real = at < torch.tensor([len(form) for form in forms], device=features.device)[:, None]
        prompt = self._prompt(question.context or question.text)[features.shape[1] :].to(features.device)
        step = max(1, ROWS // len(forms))
        tables = [self._token_log_probs(part, prompt, said, real) for part in torch.split(features, step)]
        totals = torch.cat(tables).mul(real & (at >= len(cue))).sum(-1).cpu()
        return torch.stack([totals[:, owner == k].logsumexp(1) for k in range(len(question.surface_forms))], 1)

    def _token_log_probs(self, features: Tensor, prompt: Tensor, said: Tensor, real: Tensor) -> Tensor:
        """Log-probability of every token of every answer behind every picture: (pictures, answers, tokens)."""
        n, (forms, width) = len(features), said.shape
        words = torch.cat([prompt.expand(forms, -1), said], 1).repeat(n, 1)
        written = self.network.get_input_embeddings()(words)
        begin = torch.ones(n * forms, features.shape[1] + len(prompt), dtype=torch.long, device=said.device)
        behind = real.long().repeat(n, 1)
        output = self.network(
            inputs_embeds=torch.cat([features.repeat_interleave(forms, 0), written], 1),
            attention_mask=torch.cat([begin, behind], 1),
            token_type_ids=torch.cat([begin - 1, torch.ones_like(behind)], 1),
            logits_to_keep=width + 1,
            use_cache=False,
        )
        logits: Tensor = output.logits[:, :-1].float()
        chosen = logits.gather(-1, said.repeat(n, 1)[..., None])[..., 0] - logits.logsumexp(-1)
        return chosen.reshape(n, forms, width)

    def _prompt(self, text: str) -> Tensor:
        if text not in self.prompts:
            self.prompts[text] = self.inputs([Image.new("RGB", (8, 8))], text)["input_ids"][0].cpu()
        return self.prompts[text]


def checkpoint_of(backend: Backend, attribute: str) -> Checkpoint:
    """The loaded checkpoint that answers an attribute; one that does not score would not be what is measured."""
    assert isinstance(backend, LocalBackend)
    checkpoint = backend._loaded[backend.card.checkpoint(attribute)]
    if checkpoint.decode != "score":
        raise RuntimeError(" ".join(checkpoint.notes))
    return checkpoint


def plain_of(checkpoint: Checkpoint) -> Plain:
    """The network of a checkpoint with the processor of its folder."""
    processor = transformers.AutoProcessor.from_pretrained(location(checkpoint.name), backend="pil")
    return Plain(checkpoint.family.model, processor)


def answer(backend: Backend, pictures: Pictures, questions: Sequence[Question], batch: int) -> None:
    """Ours, batch by batch."""
    for first in range(0, len(pictures), batch):
        backend.answer(pictures[first : first + batch], questions)


def work_of(backend: Backend, questions: Sequence[Question], picture: Image.Image) -> float:
    """FLOPs of ours for one picture: each checkpoint's tower once, and a pass for each prompt with its trie."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(checkpoint_of(backend, question.attribute.name).name, []).append(question)
    total = 0.0
    for members in groups.values():
        checkpoint = checkpoint_of(backend, members[0].attribute.name)
        prepared = checkpoint.prepare([picture])[0]
        prompts: dict[str, list[Question]] = {}
        for question in members:
            prompts.setdefault(question.context or question.text, []).append(question)
        passes = []
        for text, group in prompts.items():
            trie = checkpoint.trie(prepared, group)
            passes.append(Pass(len(checkpoint.ids(prepared, text)), trie.n_nodes, len(trie.scored_positions())))
        config = checkpoint.family.model.config
        total += picture_flops(config.vision_config, config.text_config, passes)
    return total


def disagreement(backend: Backend, plains: Sequence[Plain], pictures: Pictures, questions: Sequence[Question]) -> float:
    """The largest difference of a label's log-probability to teacher forcing; ``plains`` has one for each question."""
    table = backend.answer(pictures, questions)
    worst = 0.0
    for k, (plain, question) in enumerate(zip(plains, questions, strict=True)):
        want = plain.forced(pictures, [question])[0]
        got = torch.tensor([row[k].log_probs for row in table])
        worst = max(worst, float((got - want).abs().max()))
    return worst
