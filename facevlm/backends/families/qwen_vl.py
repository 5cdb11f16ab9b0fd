"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: pictures of any shape as merged patches; positions count time, rows and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facevlm.backends.families.base import Family
from facevlm.backends.trie import LabelTrie


class QwenVL(Family):
    arguments = ("pixel_values", "image_grid_thw")

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        merged = int(self.tools.image_processor.merge_size) ** 2
        return self.placeholder() * int(inputs["image_grid_thw"][0].prod() // merged)

    def positions(self, ids: Tensor, real: Tensor, inputs: Mapping[str, Any], trie: LabelTrie) -> Tensor:
        """Time, row and column of every token, (3, batch, total); behind the picture all three run on together."""
        before, _ = self.model.model.get_rope_index(
            ids, image_grid_thw=inputs["image_grid_thw"], attention_mask=real.long(), **self.extras(ids, ids.shape[1])
        )
        start = before.masked_fill(~real, 0).amax((0, 2))[None, :, None] + 1
        behind = torch.tensor(trie.depths, dtype=torch.long, device=ids.device) + start
        return torch.cat([before, behind.expand(3, -1, -1)], 2)

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.image_token).int()}
