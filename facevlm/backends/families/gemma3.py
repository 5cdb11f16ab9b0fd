"""Gemma 3: SigLIP tower with pooled tokens; a picture's tokens see each other both ways, some layers look back a way.

The processor's text for a picture: two line ends, begin mark, N soft tokens, end mark, two line ends.
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
        return f"\n\n{self.tokenizer.boi_token}{soft}{self.tokenizer.eoi_token}\n\n"

    def prefix_sight(self, ids: Tensor) -> Tensor:
        """Left to right, and both ways inside the picture; there is one picture."""
        picture = ids == self.image_token
        return super().prefix_sight(ids) | (picture[:, :, None] & picture[:, None, :])

    def mask(self, ids: Tensor, real: Tensor, trie: LabelTrie) -> Any:
        """One mask for layers that look at all, one for those with a window."""
        seen = self.sight(ids, real, trie)
        at = self.positions(ids, real, {}, trie)
        picture = torch.nn.functional.pad(ids == self.image_token, (0, trie.n_nodes))
        near = (at[:, :, None] - at[:, None, :]).abs() < int(self.text_config.sliding_window)
        near |= picture[:, :, None] & picture[:, None, :]
        return {
            "full_attention": self.additive(seen, len(ids)),
            "sliding_attention": self.additive(seen & near, len(ids)),
        }

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {"token_type_ids": (ids == self.image_token).long()}
