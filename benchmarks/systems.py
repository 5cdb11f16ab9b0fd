"""Ways to ask a PaliGemma about faces: those of model cards, by transformers alone, and ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
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

    def answer_length(self, question: Question) -> int:
        """Tokens of a question's answer, the mean over its labels, and the end token."""
        lengths = [len(self.words(forms[0])) for forms in question.surface_forms]
        return round(statistics.mean(lengths)) + 1

    def words(self, text: str) -> list[int]:
        """Token ids of a piece of an answer."""
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def generate(self, pictures: Pictures, question: Question) -> list[str]:
        """Free greedy answers of exactly the usual length: random weights never stop, trained ones would about there."""
        inputs = self.inputs(pictures, question.text)
        length = self.answer_length(question)
        with torch.inference_mode():
            out = self.network.generate(**inputs, min_new_tokens=length, max_new_tokens=length, do_sample=False)
        said = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(said, skip_special_tokens=True)]

    def forced(self, pictures: Pictures, questions: Sequence[Question]) -> list[Tensor]:
        """Log-probabilities (pictures, labels) of each question: one sequence for each picture and answer.

        Pixels and vision tower are done once for each picture, as anybody would; mask and positions are the model's own.
        """
        with torch.inference_mode():
            pixels = self.inputs(pictures, questions[0].text)["pixel_values"]
            features = self.network.get_image_features(pixels).pooler_output
            return [self._forced(features, question) for question in questions]

    def _forced(self, features: Tensor, question: Question) -> Tensor:
        device = features.device
        prompt = self._prompt(question.context or question.text)[features.shape[1] :].to(device)
        cue = self.words(question.cue) if question.cue else []
        owners = [label for label, forms in enumerate(question.surface_forms) for _ in forms]
        forms = [self.words(form) for forms in question.surface_forms for form in forms]
        end = self.network.generation_config.eos_token_id
        width = len(cue) + max(map(len, forms)) + 1
        said = torch.tensor([[*cue, *form, end] + [end] * (width - len(cue) - len(form) - 1) for form in forms])
        real = torch.tensor([[True] * (len(cue) + len(form) + 1) for form in forms]) if _even(forms) else _real(
            [len(cue) + len(form) + 1 for form in forms], width
        )
        said, real = said.to(device), real.to(device)
        counted = real.clone()
        counted[:, : len(cue)] = False
        step = max(1, ROWS // len(forms))
        parts = [self._totals(features[i : i + step], prompt, said, real, counted) for i in range(0, len(features), step)]
        totals = torch.cat(parts)
        labels = range(len(question.surface_forms))
        chosen = [[k for k, owner in enumerate(owners) if owner == label] for label in labels]
        return torch.stack([totals[:, rows].logsumexp(1) for rows in chosen], 1).cpu()
