"""Gemma 3: SigLIP tower with pooled tokens; a picture's tokens see each other both ways, some layers look back a way.

The processor's text for a picture: two line ends, begin mark, N soft tokens, end mark, two line ends; with pan and
scan, words around it and around its crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facevlm.backends.families.base import Family
from facevlm.backends.trie import LabelTrie


class Gemma3(Family):
    fixed_pictures = True

    def placeholder(self) -> str:
        return str(self.tokenizer.boi_token)

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        soft = self.tokenizer.image_token * int(self.model.config.mm_tokens_per_image)
        whole = f"\n\n{self.tokenizer.boi_token}{soft}{self.tokenizer.eoi_token}\n\n"
        crops = int(inputs["num_crops"][0]) if "num_crops" in inputs else 0
        if not crops:
            return whole
        lead, link = "Here is the original image", "and here are some crops to help you see better"
        return f"{lead} {whole} {link} {' '.join([whole] * crops)}"

    def _same_picture(self, ids: Tensor) -> Tensor:
        """Which tokens stand for the same picture, (batch, n, n); a crop is a picture of its own."""
        picture = ids == self.image_token
        begins = picture & ~torch.nn.functional.pad(picture[:, :-1], (1, 0))
        number = begins.cumsum(1)
        return (number[:, :, None] == number[:, None, :]) & picture[:, :, None] & picture[:, None, :]

    def prefix_sight(self, ids: Tensor) -> Tensor:
        """Left to right, and both ways inside a picture."""
        return super().prefix_sight(ids) | self._same_picture(ids)

    def mask(self, ids: Tensor, real: Tensor, trie: LabelTrie) -> Any:
        """One mask for layers that look at all, one for those with a window."""
        seen = self.sight(ids, real, trie)
        at = self.positions(ids, real, {}, trie)
        near = (at[:, :, None] - at[:, None, :]).abs() < int(self.text_config.sliding_window)
        near = near | torch.nn.functional.pad(self._same_picture(ids), (0, trie.n_nodes, 0, trie.n_nodes))
        return {
            "full_attention": self.additive(seen, len(ids)),
            "sliding_attention": self.additive(seen & near, len(ids)),
        }

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {"token_type_ids": (ids == self.image_token).long()}
