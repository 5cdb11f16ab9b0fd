"""InternVL: a picture is cut into as many square tiles as suit its shape, and comes as a whole where it was cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facevlm.backends.families.base import Family, Tools


class InternVL(Family):
    def __init__(self, model: Any, tools: Tools) -> None:
        options = {"crop_to_patches": True, **tools.image_options}
        super().__init__(model, Tools(tools.image_processor, tools.tokenizer, tools.chat_template, None, options))

    def placeholder(self) -> str:
        return str(self.tokenizer.context_image_token)

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        soft = self.placeholder() * (int(self.model.config.image_seq_length) * len(inputs["pixel_values"]))
        return f"{self.tokenizer.start_image_token}{soft}{self.tokenizer.end_image_token}"
