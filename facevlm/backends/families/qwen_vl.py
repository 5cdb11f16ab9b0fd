"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: pictures of any shape as merged patches; positions count time, rows and columns.

Facts this file rests on (transformers 5): what the tower derives from the grids of pictures can be handed to it, by
arguments that begin with ``image_``; left to itself it asks the device for these numbers several times in each layer.
What the tower made of pictures is taken as ``mm_encoder_outputs``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import vision_utils

from facevlm.backends.families.base import Family, Ids, Tools
from facevlm.backends.families.layout import DeviceCache
from facevlm.backends.pixels import placed
from facevlm.backends.trie import LabelTrie

GRID = "image_grid_thw"


class QwenVL(Family):
    arguments = ("pixel_values", GRID)
    on_host = (GRID,)

    def __init__(self, model: Any, tools: Tools) -> None:
        super().__init__(model, tools)
        self._derived = DeviceCache[dict[str, Tensor]]()

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        merged = int(self.tools.image_processor.merge_size) ** 2
        return self.placeholder() * int(inputs[GRID][0].prod() // merged)

    def see(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the tower makes of the pictures, in place of the pictures."""
        grid = inputs[GRID]
        key = self.model.device, *self.shapes(inputs, len(grid))
        derived = self._derived.of(key, lambda: self._derive(grid))
        return {GRID: grid, "features": self.model.get_image_features(inputs["pixel_values"], grid, **derived)}

    def _derive(self, grid: Tensor) -> dict[str, Tensor]:
        """What the tower would derive from the grids, by the same functions, and on the device where it computes."""
        tower = self.model.model.visual
        merge = int(tower.spatial_merge_size)
        lengths = {"cu_seqlens": vision_utils.get_vision_cu_seqlens(grid)}
        found = {"position_ids": vision_utils.get_vision_position_ids(grid, merge)}
        if hasattr(tower, "window_size"):
            found["window_index"], lengths["cu_window_seqlens"] = vision_utils.get_vision_window_index(
                grid, merge, tower.window_size, tower.patch_size
            )
        if hasattr(tower, "num_grid_per_side"):
            found["interp_indices"], found["interp_weights"] = (
                vision_utils.get_vision_interpolation_indices_and_weights(
                    grid, tower.num_grid_per_side, tower.interpolation_mode, tower.interpolation_align_corners, merge
                )
            )
        # FlashAttention reads the lengths on the device; all others are called picture by picture, by the host.
        if "flash" in str(tower.config._attn_implementation):
            found, lengths = {**found, **lengths}, {}
        there = {name: placed(tensor, self.model.device) for name, tensor in found.items()}
        return {f"image_{name}": tensor for name, tensor in {**there, **lengths}.items()}

    def shapes(self, inputs: Mapping[str, Any], batch: int) -> Sequence[Hashable]:
        return [tuple(grid) for grid in inputs[GRID].tolist()]

    def fed(self, inputs: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        return {"input_ids": tokens, "mm_encoder_outputs": {"image": inputs["features"]}}

    def positions(self, ids: Tensor, real: Tensor, inputs: Mapping[str, Any], trie: LabelTrie) -> Tensor:
        """Time, row and column of every token, (3, batch, total); behind the picture all three run on together."""
        before, _ = self.model.model.get_rope_index(
            ids, image_grid_thw=inputs[GRID][: len(ids)], attention_mask=real.long(), **self.extras(ids, ids.shape[1])
        )
        start = before.masked_fill(~real, 0).amax((0, 2))[None, :, None] + 1
        behind = torch.tensor(trie.depths, dtype=torch.long) + start
        return torch.cat([before, behind.expand(3, -1, -1)], 2)

    def plain_log_prob(self, inputs: dict[str, Any], prompt: Ids, answer: Ids) -> float:
        return super().plain_log_prob(self._by_itself(inputs), prompt, answer)

    def generate_ids(self, inputs: dict[str, Any], prompts: Sequence[Ids], max_new_tokens: int) -> Tensor:
        return super().generate_ids(self._by_itself(inputs), prompts, max_new_tokens)

    def _by_itself(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As the model takes them that derives all by itself."""
        return {**inputs, GRID: placed(inputs[GRID], self.model.device)}

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.image_token).int()}
