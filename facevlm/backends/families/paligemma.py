"""PaliGemma 1 and 2: SigLIP tower, projector, Gemma decoder. The prompt sees itself both ways.

Facts this file rests on (transformers 5): the processor writes ``<image> * N, <bos>, prompt, newline``; positions count
from 1; picture tokens attend to the prompt, so prompts share the features up to the projector and no
more; the forward pass without ``token_type_ids`` would let the answer see itself ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from facevlm.backends.families.base import Family, Ids, Prepared
from facevlm.backends.trie import IntArray, LabelTrie


class PaliGemma(Family):
    first_position = 1
    fixed_pictures = True

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        return self.placeholder() * int(self.tools.image_processor.image_seq_length)

    def render(self, text: str) -> str:
        return f"{self.placeholder()}{self.tokenizer.bos_token}{text}\n"

    def ids(self, picture: Prepared, text: str) -> Ids:
        rendered = self.render(text).replace(self.placeholder(), picture.text)
        return tuple(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])

    def split(self, ids: Ids) -> tuple[Ids, Ids]:
        return ids, ()

    def see(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The projected picture tokens (batch, n, hidden) in place of the pictures."""
        return {"features": self.model.get_image_features(inputs["pixel_values"]).pooler_output}

    def prefix_sight(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        return torch.ones(1, n, n, dtype=torch.bool, device=ids.device)

    def logits(self, inputs: dict[str, Any], prefixes: Sequence[Ids], trie: LabelTrie, keep: IntArray) -> Tensor:
        features = inputs["features"]
        ids, real = self.padded(prefixes)
        words = torch.cat([ids[0, features.shape[1] :], torch.tensor(trie.tokens, dtype=torch.long, device=ids.device)])
        written = self.model.get_input_embeddings()(words).to(features.dtype).expand(len(ids), -1, -1)
        output = self.model(
            inputs_embeds=torch.cat([features, written], 1),
            attention_mask=self.mask(ids, real, trie),
            position_ids=self.positions(ids, real, inputs, trie),
            logits_to_keep=torch.from_numpy(keep).to(ids.device) + (ids.shape[1] - 1),
            use_cache=False,
        )
        found: Tensor = output.logits
        return found

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        return {
            "token_type_ids": (torch.arange(ids.shape[1], device=ids.device) >= n_prompt).long().expand(len(ids), -1)
        }
