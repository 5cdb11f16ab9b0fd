"""Idefics3 and SmolVLM: a picture is cut into rows and columns of tiles, then comes as a whole, each behind a mark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facevlm.backends.families.base import Family, Tools


class Idefics3(Family):
    arguments = ("pixel_values", "pixel_attention_mask")

    def __init__(self, model: Any, tools: Tools) -> None:
        options = {**tools.image_options, "return_row_col_info": True}
        super().__init__(model, Tools(tools.image_processor, tools.tokenizer, tools.chat_template, None, options))

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        mark, soft = "<fake_token_around_image>", self.placeholder() * int(self.model.model.image_seq_len)
        rows, columns = int(inputs["rows"][0][0]), int(inputs["cols"][0][0])
        tiles = "".join(
            "".join(f"{mark}<row_{r}_col_{c}>{soft}" for c in range(1, columns + 1)) + "\n" for r in range(1, rows + 1)
        )
        return f"{tiles}{chr(10) if tiles else ''}{mark}<global-img>{soft}{mark}"
