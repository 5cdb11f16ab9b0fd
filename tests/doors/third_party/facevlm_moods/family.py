"""VipLLaVA: CLIP tower without its token for the whole picture, several of its layers, projector, Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facevlm.backends.families.base import Family


class VipLlava(Family):
    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        vision = self.model.config.vision_config
        return self.placeholder() * (vision.image_size // vision.patch_size) ** 2
