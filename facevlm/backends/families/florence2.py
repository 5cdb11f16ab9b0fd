"""Florence-2: DaViT tower and a BART encoder-decoder. Picture and prompt are encoded once, labels stand in the decoder.

Facts this file rests on (transformers 5): the processor writes ``<image> * N, <s>, prompt, </s>``; the decoder starts
with its start token, behind which generation forces the begin token; decoder positions are counted, not
given, so they are set by a hook on the position embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from facevlm.backends.families.base import Family, Ids, greedy
from facevlm.backends.families.layout import Layout
from facevlm.backends.pixels import placed
from facevlm.backends.trie import IntArray, LabelTrie


class Florence2(Family):
    fixed_pictures = True
    chat = False

    def render(self, text: str) -> str:
        return f"{self.placeholder()}{self.tokenizer.bos_token}{text}{self.tokenizer.eos_token}"

    def answers(self, text: str, rendered: str) -> tuple[Ids, ...]:
        return (self.answer_ids(text),)

    def split(self, ids: Ids) -> tuple[Ids, Ids]:
        """All of the prompt is encoded; what opens every answer is the token that generation forces."""
        return ids, self._forced()

    def _forced(self) -> Ids:
        forced = self.model.generation_config.forced_bos_token_id
        return () if forced is None else (int(forced),)

    def _start(self) -> int:
        return int(self.text_config.decoder_start_token_id)

    def see(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"features": self.model.get_image_features(inputs["pixel_values"]).pooler_output}

    def logits(self, inputs: dict[str, Any], prefixes: Sequence[Ids], trie: LabelTrie, keep: IntArray) -> Tensor:
        features = inputs["features"]
        ids, real = self.padded(prefixes)
        words = self.model.get_input_embeddings()(ids[:, features.shape[1] :]).to(features.dtype)
        encoder = self.model.get_encoder()
        encoded = encoder(inputs_embeds=torch.cat([features, words], 1), attention_mask=real.long())
        key = trie, keep.tobytes(), ids.device
        laid = self._layouts.of(key, lambda: self._behind(trie, keep))
        embedding = self.model.model.language_model.decoder.embed_positions
        hook = embedding.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "position_ids": laid.positions}), with_kwargs=True
        )
        try:
            output = self.model(
                encoder_outputs=encoded,
                attention_mask=real.long(),
                decoder_input_ids=laid.tokens.expand(len(ids), -1),
                decoder_attention_mask=laid.mask.expand(len(ids), -1, -1, -1),
                logits_to_keep=laid.keep,
                use_cache=False,
            )
        finally:
            hook.remove()
        found: Tensor = output.logits
        return found

    def _behind(self, trie: LabelTrie, keep: IntArray) -> Layout:
        """What the decoder is fed, the same for all pictures."""
        device = self.model.device
        tokens = placed(torch.tensor([[self._start(), *trie.tokens]]), device)
        depths = placed(torch.tensor([0, *(d + 1 for d in trie.depths)]), device)
        start = tokens[:, :1]
        seen = self.sight(start, torch.ones_like(start).bool(), trie)
        return Layout(tokens, self.additive(seen, 1), depths, placed(torch.from_numpy(keep), device))

    def plain_log_prob(self, inputs: dict[str, Any], prompt: Ids, answer: Ids) -> float:
        ids = torch.tensor([prompt], device=self.model.device)
        said = (*answer, self.ends[0])
        fed = torch.tensor([[self._start(), *self._forced(), *answer]], device=self.model.device)
        output = self.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=fed, use_cache=False, **inputs
        )
        table = output.logits[0, -len(said) :].float().log_softmax(-1)
        return float(table.gather(1, torch.tensor(said, device=table.device)[:, None]).sum())

    def generate_ids(self, inputs: dict[str, Any], prompts: Sequence[Ids], max_new_tokens: int) -> Tensor:
        ids, real = self.padded(prompts)
        # The decoder has learned so many positions and knows none beyond; its start takes one.
        most = min(max_new_tokens + len(self._forced()), self.model.config.text_config.max_position_embeddings - 1)
        out = self.model.generate(input_ids=ids, attention_mask=real.long(), **inputs, **greedy(most, self))
        new: Tensor = out[:, 1 + len(self._forced()) :]
        return new
