"""LLaVA 1.5 and LLaVA-NeXT: CLIP tower, projector, any decoder. NeXT cuts pictures into tiles by their shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facevlm.backends.families.base import Family


class Llava(Family):
    def _patches(self) -> int:
        vision = self.model.config.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        whole = self.model.config.vision_feature_select_strategy == "full"
        return self.placeholder() * (self._patches() + (1 if whole else 0))


class LlavaNext(Llava):
    arguments = ("pixel_values", "image_sizes")

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        """As many placeholders as the model makes of the picture: the model's own packing, run on empty features."""
        patches = self._patches()
        tiles = inputs["pixel_values"].shape[1]
        empty = inputs["pixel_values"].new_zeros(tiles, patches, 1)
        packed, _ = self.model.pack_image_features(
            [empty], inputs["image_sizes"], vision_feature_select_strategy="default", image_newline=empty.new_zeros(1)
        )
        return self.placeholder() * len(packed[0])
