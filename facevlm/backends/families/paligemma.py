"""PaliGemma 1 and 2: SigLIP tower, projector, Gemma decoder. The prompt sees itself both ways.

Facts this file rests on (transformers 5): the processor writes ``<image> * N, <bos>, prompt, newline``; positions count
from 1; picture tokens attend to the prompt, so prompts share the features up to the projector and no
more; the forward pass without ``token_type_ids`` would let the answer see itself ahead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from facevlm.backends.families.base import Family, Ids


class PaliGemma(Family):
    first_position = 1
    fixed_pictures = True
    chat = False

    def render(self, text: str) -> str:
        return f"{self.placeholder()}{self.tokenizer.bos_token}{text}\n"

    def split(self, ids: Ids) -> tuple[Ids, Ids]:
        return ids, ()

    def see(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The projected picture tokens (batch, n, hidden) in place of the pictures."""
        return {"features": self.model.get_image_features(inputs["pixel_values"]).pooler_output}

    def prefix_sight(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        return torch.ones(1, n, n, dtype=torch.bool, device=ids.device)

    def fed(self, inputs: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        """Projected pictures and embedded words, in place of picture tokens and pictures."""
        features = inputs["features"]
        written = self.model.get_input_embeddings()(tokens[:, features.shape[1] :])
        return {"inputs_embeds": torch.cat([features, written.to(features.dtype)], 1)}

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {
            "token_type_ids": (torch.arange(ids.shape[1], device=ids.device) >= n_prompt).long().expand(len(ids), -1)
        }
