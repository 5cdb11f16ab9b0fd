"""Any image-text-to-text model with a chat template, through its own processor: for families that have no file here.

Nothing is known about such a model, so its processor writes tokens and pictures, one picture at a time, and
the scorer's check at load decides whether reading from left to right fits it; else it generates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL.Image import Image
from torch import Tensor

from facevlm.backends.families.base import Family, Ids, Prepared
from facevlm.backends.pixels import to_device
from facevlm.errors import ModelError

TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


class Chat(Family):
    def prepare(self, image: Image) -> Prepared:
        found = self._process(self.render("?"), image)
        return Prepared({k: v for k, v in found.items() if k not in TOKENS}, "", image)

    def _process(self, rendered: str, image: Image) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.tools.processor(
            text=[rendered], images=[image], return_tensors="pt", **self.tools.image_options
        )
        return found

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        joined = {name: self.join([p.inputs[name] for p in batch]) for name in batch[0].inputs}
        return {name: to_device(t, self.model.device, self.model.dtype) for name, t in joined.items()}

    def placeholder(self) -> str:
        mark = getattr(self.tools.processor, "image_token", None) or super().placeholder()
        if not isinstance(mark, str):
            raise ModelError("The processor of this model does not say which token stands for a picture.")
        return mark

    def ids(self, picture: Prepared, text: str) -> Ids:
        return tuple(self._process(self.render(text), picture.image)["input_ids"][0].tolist())

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        wanted = getattr(self.tools.processor, "model_input_names", ())
        if "mm_token_type_ids" in wanted:
            return {"mm_token_type_ids": (ids == self.image_token).int()}
        if "token_type_ids" in wanted:
            return {"token_type_ids": (ids == self.image_token).long()}
        return {}
