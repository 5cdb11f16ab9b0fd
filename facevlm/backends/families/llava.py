"""LLaVA 1.5 and LLaVA-NeXT: CLIP tower, projector, any decoder. NeXT cuts pictures into tiles by their shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from facevlm.backends.families.base import Family, Tools


class Llava(Family):
    def __init__(self, model: Any, tools: Tools) -> None:
        super().__init__(model, tools)
        self._tokens = self._counted()

    def _counted(self) -> int:
        """As many tokens as the model makes of a picture: not every tower has one for the whole of it."""
        side = self.model.config.vision_config.image_size
        empty = torch.zeros(1, 3, side, side, dtype=self.model.dtype, device=self.model.device)
        with torch.inference_mode():
            return len(self.model.get_image_features(empty).pooler_output[0])

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        return self.placeholder() * self._tokens


class LlavaNext(Family):
    arguments = ("pixel_values", "image_sizes")
    on_host = ("image_sizes",)

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        """As many placeholders as the model makes of the picture: the model's own packing, run on empty features."""
        vision = self.model.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        empty = inputs["pixel_values"].new_zeros(inputs["pixel_values"].shape[1], patches, 1)
        packed, _ = self.model.pack_image_features(
            [empty], inputs["image_sizes"], vision_feature_select_strategy="default", image_newline=empty.new_zeros(1)
        )
        return self.placeholder() * len(packed[0])
