"""The PaliGemma family: SigLIP tower, projector, Gemma decoder. The prefix sees itself both ways.

Facts this file rests on (transformers 5): the processor writes ``<image> * N, <bos>, prompt, newline``; positions
count from 1; picture tokens attend to the prompt, so features are shared between prompts only up to
the projector; an additive float mask of rank 4 is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from facevlm.backends.trie import LabelTrie
from facevlm.errors import ModelError

FIRST_POSITION = 1


class PaliGemma:
    """Prompts, features and logits of one loaded PaliGemma checkpoint."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.tokenizer = processor.tokenizer
        self.end_token = int(self.tokenizer.eos_token_id)
        self.image_token = int(model.config.image_token_id)
        self.n_image = int(processor.image_seq_length if hasattr(processor, "image_seq_length") else 0) or int(
            processor.image_processor.image_seq_length
        )

    def prompt_ids(self, text: str) -> Tensor:
        """Token ids of the prefix behind the picture tokens, shape (n,): begin token, prompt, newline."""
        return torch.tensor(self._encode(f"{self.tokenizer.bos_token}{text}\n"))

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer as the processor tokenises a suffix, without the end token."""
        ids = tuple(self._encode(text))
        unknown = self.tokenizer.unk_token_id
        vocabulary = int(self.model.config.text_config.vocab_size)
        if not ids or unknown in ids or self.end_token in ids or max(ids) >= vocabulary:
            raise ModelError(f"The model's tokenizer cannot spell the answer '{text}': got tokens {ids}.")
        return ids

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def features(self, pixels: Tensor) -> Tensor:
        """Projected picture tokens, shape (batch, n_image, hidden): the part that prompts share."""
        found = self.model.get_image_features(pixels).pooler_output
        if not isinstance(found, Tensor):
            raise ModelError(f"Expected picture features as a tensor, got {type(found).__name__}.")
        return found

    def edge_log_probs(self, features: Tensor, prompt: Tensor, trie: LabelTrie) -> Tensor:
        """Natural-log probability of every edge of the trie, float32 of shape (batch, n_edges)."""
        device, batch = features.device, len(features)
        embed = self.model.get_input_embeddings()
        tokens = torch.cat([prompt, torch.tensor(trie.tokens, dtype=torch.long)]).to(device)
        written = embed(tokens).to(features.dtype).expand(batch, -1, -1)
        prefix = self.n_image + len(prompt)
        total = prefix + trie.n_nodes
        output = self.model(
            inputs_embeds=torch.cat([features, written], 1),
            attention_mask=self._mask(prefix, trie, written.dtype, device).expand(batch, 1, total, total),
            position_ids=self._positions(prefix, trie, device).expand(batch, -1),
            logits_to_keep=torch.arange(prefix - 1, total, device=device),
            use_cache=False,
        )
        logits = output.logits.float()
        spread = logits.logsumexp(-1)
        at = torch.from_numpy(trie.edge_position).to(device)
        picked = logits[:, at, torch.from_numpy(trie.edge_token).to(device)]
        scored: Tensor = picked - spread[:, at]
        return scored

    @staticmethod
    def _mask(prefix: int, trie: LabelTrie, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Additive mask (1, 1, total, total): prefix among itself, nodes on prefix and ancestors."""
        total = prefix + trie.n_nodes
        allowed = torch.zeros(total, total, dtype=torch.bool)
        allowed[:, :prefix] = True
        allowed[prefix:, prefix:] = torch.from_numpy(trie.visible())
        mask = torch.zeros(total, total, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
        return mask[None, None].to(device)

    @staticmethod
    def _positions(prefix: int, trie: LabelTrie, device: torch.device) -> Tensor:
        behind = torch.tensor(trie.depths, dtype=torch.long) + prefix
        return (torch.cat([torch.arange(prefix), behind]) + FIRST_POSITION)[None].to(device)

    def plain_log_prob(self, pixels: Tensor, prompt: Tensor, answer: tuple[int, ...]) -> Tensor:
        """Log-probability of one answer and its end token by the model's own forward pass, shape (batch,)."""
        said = torch.tensor([*answer, self.end_token])
        ids = torch.cat([torch.full((self.n_image,), self.image_token), prompt, said]).to(pixels.device)
        types = (torch.arange(len(ids), device=pixels.device) >= len(ids) - len(said)).long()
        batch = (len(pixels), -1)
        ids, types = ids.expand(batch), types.expand(batch)
        output = self.model(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=torch.ones_like(ids),
            token_type_ids=types,
            use_cache=False,
        )
        table = output.logits[:, -len(said) - 1 : -1].float().log_softmax(-1)
        total: Tensor = table.gather(2, said.to(pixels.device).expand(batch)[..., None]).sum((1, 2))
        return total

    def generate(self, pixels: Tensor, text: str, max_new_tokens: int) -> list[str]:
        """Greedy free answers, as the model card's loop gives them, one per picture."""
        batch = len(pixels)
        ids = torch.cat([torch.full((self.n_image,), self.image_token), self.prompt_ids(text)]).to(pixels.device)
        ids = ids.expand(batch, -1)
        out = self.model.generate(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=torch.ones_like(ids),
            token_type_ids=torch.zeros_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        said: Sequence[str] = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [answer.strip() for answer in said]
