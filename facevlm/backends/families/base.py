"""What every family shares: pictures and words in, logits out, for models whose decoder reads from left to right.

A family says how a picture becomes arguments of the model and tokens of the prompt, and what may see what. The
defaults fit a chat model: a picture, then the question, then the answer, each token seeing what stands
before it. For such a model all questions about a picture share the tokens up to the picture's last, and
everything behind, questions and answers alike, is scored in one forward pass.

Facts this file rests on (transformers 5): an additive float mask of rank 4 is taken as it is; ``logits_to_keep`` takes
the positions whose logits are wanted; positions are explicit, so padding on the left changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from facevlm.backends import PictureSpec
from facevlm.backends.families.layout import DeviceCache, Layout
from facevlm.backends.pixels import Pixels, fixed_size, placed, to_device
from facevlm.backends.trie import IntArray, LabelTrie
from facevlm.errors import ModelError

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Tools:
    """What stands beside the weights: image processor, tokenizer, chat template; options for the image processor."""

    image_processor: Any
    tokenizer: Any
    chat_template: str | None = None
    processor: Any = None
    image_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """One picture as the model takes it: arrays by argument name, and the text that stands for it in a prompt."""

    inputs: Mapping[str, Any]
    text: str
    image: Image


class Family:
    """Prompts, pictures and logits of one loaded checkpoint. Subclasses change what differs."""

    first_position = 0
    fixed_pictures = False
    chat = True
    """Whether prompts are those of a chat, which the tokenizer opens with its begin token."""

    def __init__(self, model: Any, tools: Tools) -> None:
        self.model, self.tools = model, tools
        self.tokenizer = tools.tokenizer
        self.text_config = model.config.get_text_config()
        self.image_token = int(getattr(model.config, "image_token_id", -1))
        self.ends = self._end_tokens()
        self._layouts = DeviceCache[Layout]()
        spec = fixed_size(tools.image_processor) if self.fixed_pictures and not tools.image_options else None
        self._pixels = Pixels(tools.image_processor, spec, model.dtype) if spec else None
        if self._pixels and not self._pixels.agree():
            self._pixels = None

    @property
    def picture(self) -> PictureSpec | None:
        """The one size at which pictures are taken, or None where it follows each picture's own size."""
        return self._pixels.spec if self._pixels else None

    def _end_tokens(self) -> Ids:
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        found = configured if configured is not None else self.tokenizer.eos_token_id
        ends = tuple(found) if isinstance(found, (list, tuple)) else (found,)
        if not ends or any(e is None for e in ends):
            raise ModelError("This model names no end token, so the end of an answer cannot be scored.")
        return tuple(int(e) for e in ends)

    # Pictures

    def picture_text(self, inputs: Mapping[str, Any]) -> str:
        """The text that stands for one picture in a prompt, from what the image processor returned for it."""
        return self.placeholder() * int(self.tools.image_processor.image_seq_length)

    def prepare(self, image: Image) -> Prepared:
        """One RGB picture of any size as the model takes it; free of the model, so threads may call it."""
        if self._pixels:
            return Prepared({}, self.picture_text({}), self._pixels.fit(image))
        found = self.tools.image_processor(images=[image], return_tensors="pt", **self.tools.image_options)
        return Prepared(dict(found), self.picture_text(found), image)

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        """The model's arguments for several pictures, on its device."""
        if self._pixels:
            return {"pixel_values": self._pixels.stack([p.image for p in batch], self.model.device)}
        names = [name for name in batch[0].inputs if name in self.arguments]
        joined = {name: self.join([p.inputs[name] for p in batch]) for name in names}
        device, dtype = self.model.device, self.model.dtype
        return {name: t if name in self.on_host else to_device(t, device, dtype) for name, t in joined.items()}

    arguments: tuple[str, ...] = ("pixel_values",)
    on_host: tuple[str, ...] = ()
    """Arguments that the model reads as numbers: they stay in the host's memory, which need not wait for them."""

    @staticmethod
    def join(parts: Sequence[Tensor]) -> Tensor:
        """One tensor of the pictures' own, padded with zeros behind where their shapes differ."""
        shape = [max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True)]
        if all(list(p.shape[1:]) == shape for p in parts):
            return torch.cat(list(parts))
        whole = parts[0].new_zeros((sum(len(p) for p in parts), *shape))
        start = 0
        for part in parts:
            corner = (slice(start, start + len(part)), *(slice(0, n) for n in part.shape[1:]))
            whole[corner] = part
            start += len(part)
        return whole

    def see(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Do once what all prompts about these pictures share, where that is more than nothing."""
        return inputs

    def pooled(self, batch: Sequence[Prepared]) -> Tensor:
        """Whole pictures as the decoder is shown them, float32 (batch, width): the mean of each one's tokens."""
        # Only pictures of one size have as many tokens each; others come one by one.
        several = [batch] if self._pixels else [[picture] for picture in batch]
        found = [self._features(part) for part in several]
        return torch.cat(found)

    def _features(self, batch: Sequence[Prepared]) -> Tensor:
        output = self.model.get_image_features(**self.collate(batch)).pooler_output
        tokens = output if isinstance(output, Tensor) else torch.cat(list(output))
        return tokens.float().reshape(len(batch), -1, tokens.shape[-1]).mean(1)

    # Words

    def placeholder(self) -> str:
        """The mark in a rendered prompt that the picture's text takes the place of."""
        return str(self.tokenizer.convert_ids_to_tokens(self.image_token))

    def render(self, text: str) -> str:
        """The prompt around a question, with one placeholder for the picture, up to where the answer begins."""
        if not self.tools.chat_template:
            raise ModelError(
                "This checkpoint has no chat template, so it is not known how it wants to be asked. Expected "
                "chat_template.jinja or chat_template.json in its folder."
            )
        content = [{"type": "image"}, {"type": "text", "text": text}]
        rendered: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.tools.chat_template,
            add_generation_prompt=True,
            tokenize=False,
        )
        if rendered.count(self.placeholder()) != 1:
            raise ModelError(
                f"The chat template of this checkpoint writes {rendered.count(self.placeholder())} placeholders "
                f"'{self.placeholder()}' for one picture, expected one."
            )
        return rendered

    def ids(self, picture: Prepared, text: str) -> Ids:
        """All tokens of a prompt about a picture, as the model's own processor writes them."""
        return self._encode_prompt(self.render(text).replace(self.placeholder(), picture.text))

    def _encode_prompt(self, rendered: str) -> Ids:
        begin = self.tokenizer.bos_token
        written = not self.chat or (begin is not None and rendered.startswith(begin))
        return tuple(self.tokenizer(rendered, add_special_tokens=not written)["input_ids"])

    def split(self, ids: Ids) -> tuple[Ids, Ids]:
        """The tokens that all questions share, and those of this question, which see what stands before them."""
        if self.image_token not in ids:
            raise ModelError("The prompt of this model holds no picture.")
        cut = len(ids) - ids[::-1].index(self.image_token)
        return ids[:cut], ids[cut:]

    def answers(self, text: str, rendered: str) -> tuple[Ids, ...]:
        """The token sequences that spell an answer behind a prompt, without the end token.

        Behind a blank or a line end there is one; elsewhere a model may begin with a blank or without.
        """
        leads = ("",) if not rendered or rendered[-1].isspace() else ("", " ")
        return tuple(dict.fromkeys(self.answer_ids(lead + text) for lead in leads))

    def answer_ids(self, text: str) -> Ids:
        """Token ids of an answer without the end token.

        Raises :class:`~facevlm.errors.ModelError` where the tokenizer cannot spell it.
        """
        ids = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        strange = {self.tokenizer.unk_token_id, self.image_token, *self.ends}
        if not ids or strange & set(ids) or max(ids) >= int(self.text_config.vocab_size):
            raise ModelError(f"The model's tokenizer cannot spell the answer '{text}': got tokens {ids}.")
        return ids

    # Passes

    def logits(self, inputs: dict[str, Any], prefixes: Sequence[Ids], trie: LabelTrie, keep: IntArray) -> Tensor:
        """Logits (batch, len(keep), vocabulary) at trie positions ``keep``; 0 is the prefix's last token."""
        laid = self.layout(inputs, prefixes, trie, keep)
        output = self.model(
            **self.fed(inputs, laid.tokens),
            attention_mask=laid.mask,
            position_ids=laid.positions,
            logits_to_keep=laid.keep,
            use_cache=False,
        )
        found: Tensor = output.logits
        return found

    def layout(self, inputs: dict[str, Any], prefixes: Sequence[Ids], trie: LabelTrie, keep: IntArray) -> Layout:
        """What a pass is fed beside pictures; where all of these are written alike it is made once, and kept."""
        shapes = self.shapes(inputs, len(prefixes))
        if any(prefix != prefixes[0] for prefix in prefixes) or any(shape != shapes[0] for shape in shapes):
            return self._laid(inputs, prefixes, trie, keep)
        key = trie, keep.tobytes(), self.model.device, prefixes[0], shapes[0]
        return self._layouts.of(key, lambda: self._laid(inputs, prefixes[:1], trie, keep)).over(len(prefixes))

    def shapes(self, inputs: Mapping[str, Any], batch: int) -> Sequence[Hashable]:
        """For each picture what, beside its tokens, its positions follow from."""
        return [None] * batch

    def _laid(self, inputs: dict[str, Any], prefixes: Sequence[Ids], trie: LabelTrie, keep: IntArray) -> Layout:
        ids, real = self._rows(prefixes)
        positions = placed(self.positions(ids, real, inputs, trie), self.model.device)
        width, whole = ids.shape[1], all(len(row) == ids.shape[1] for row in prefixes)
        ids, real = placed(ids, self.model.device), placed(real[:1] if whole else real, self.model.device)
        nodes = placed(torch.tensor(trie.tokens, dtype=torch.long), ids.device).expand(len(ids), -1)
        kept = placed(torch.from_numpy(keep + (width - 1)), ids.device)
        return Layout(torch.cat([ids, nodes], 1), self.mask(ids, real, trie), positions, kept)

    def fed(self, inputs: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        """The model's arguments for pictures and the tokens of prefix and nodes."""
        return {"input_ids": tokens, **inputs}

    def padded(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Token ids (batch, longest) filled up on the left, and which of them are real; on the model's device."""
        ids, real = self._rows(rows)
        return placed(ids, self.model.device), placed(real, self.model.device)

    def _rows(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        width = max(len(row) for row in rows)
        fill = self.tokenizer.pad_token_id
        fill = self.ends[0] if fill is None or fill == self.image_token else fill
        ids = torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])
        real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
        return ids, real

    def prefix_sight(self, ids: Tensor) -> Tensor:
        """Who sees whom among the prefix's tokens, padding aside: (batch or 1, n, n)."""
        n = ids.shape[1]
        return torch.ones(1, n, n, dtype=torch.bool, device=ids.device).tril()

    def sight(self, ids: Tensor, real: Tensor, trie: LabelTrie) -> Tensor:
        """Who sees whom, (batch or 1, total, total): nodes see the prefix and their ancestors.

        ``real`` is (batch or 1, n): one row where nothing is padded.
        """
        n = ids.shape[1]
        total = n + trie.n_nodes
        among = self.prefix_sight(ids) & real[:, None, :]
        seen = torch.zeros(len(among), total, total, dtype=torch.bool, device=ids.device)
        seen[:, :n, :n] = among
        seen[:, n:, :n] = real[:, None, :]
        seen[:, n:, n:] = placed(torch.from_numpy(trie.visible()), ids.device)
        seen.diagonal(dim1=1, dim2=2).fill_(True)
        return seen

    def mask(self, ids: Tensor, real: Tensor, trie: LabelTrie) -> Any:
        """The attention mask as the model takes it; by default additive, of shape (batch, 1, total, total)."""
        window = getattr(self.text_config, "sliding_window", None)
        longest = ids.shape[1] + max(trie.depths, default=0) + 1
        if window and getattr(self.text_config, "use_sliding_window", True) and longest > window:
            raise ModelError(
                f"Picture and prompt are {longest} tokens, more than the {window} this model looks back, which the "
                "scorer does not follow. Use decode='generate' or smaller pictures."
            )
        return self.additive(self.sight(ids, real, trie), len(ids))

    def additive(self, seen: Tensor, batch: int) -> Tensor:
        """Zero where a token sees another, the lowest number elsewhere."""
        dtype = self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
        return mask[:, None].expand(batch, -1, -1, -1)

    def positions(self, ids: Tensor, real: Tensor, inputs: Mapping[str, Any], trie: LabelTrie) -> Tensor:
        """Position ids of prefix and nodes, shape (batch, total), where ``ids`` are: in the host's memory at first."""
        counted = (real.long().cumsum(1) - 1).clamp_min(0)
        behind = placed(torch.tensor(trie.depths, dtype=torch.long), ids.device) + counted[:, -1:] + 1
        return torch.cat([counted, behind], 1) + self.first_position

    def extras(self, ids: Tensor, n_prompt: int) -> dict[str, Tensor]:
        """Arguments beside tokens and pictures that the model's own pass wants; the prompt is ``n_prompt`` long."""
        return {}

    def plain_log_prob(self, inputs: dict[str, Any], prompt: Ids, answer: Ids) -> float:
        """Log-probability of one answer and the first end token, by the model's own forward pass over one picture."""
        said = (*answer, self.ends[0])
        ids = torch.tensor([[*prompt, *said]], device=self.model.device)
        output = self.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            **inputs,
            **self.extras(ids, len(prompt)),
        )
        table = output.logits[0, -len(said) - 1 : -1].float().log_softmax(-1)
        return float(table.gather(1, torch.tensor(said, device=table.device)[:, None]).sum())

    def generate_ids(self, inputs: dict[str, Any], prompts: Sequence[Ids], max_new_tokens: int) -> Tensor:
        """Tokens (batch, new) of free greedy answers: no beams, no penalties, no sampling."""
        ids, real = self.padded(prompts)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=real.long(),
            **inputs,
            **self.extras(ids, ids.shape[1]),
            **greedy(max_new_tokens, self),
        )
        new: Tensor = out[:, ids.shape[1] :]
        return new

    def decode(self, tokens: Tensor) -> list[str]:
        said: Sequence[str] = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [answer.strip() for answer in said]

    def spell(self, tokens: Tensor) -> list[tuple[str, bool]]:
        """Answers up to their end token with all special tokens before it, and whether they came to that end."""
        rows = [list(itertools.takewhile(lambda token: token not in self.ends, row)) for row in tokens.tolist()]
        said: Sequence[str] = self.tokenizer.batch_decode(rows, skip_special_tokens=False)
        return [(text.strip(), len(row) < tokens.shape[1]) for text, row in zip(said, rows, strict=True)]


def greedy(max_new_tokens: int, family: Family) -> dict[str, Any]:
    """Arguments of ``generate`` that switch off what a checkpoint's generation config may have switched on."""
    fill = family.tokenizer.pad_token_id
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "num_beams": 1,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "pad_token_id": family.ends[0] if fill is None else fill,
    }


def edge_log_probs(logits: Tensor, trie: LabelTrie, keep: IntArray) -> Tensor:
    """Natural-log probability of every edge, float32 (batch, n_edges), from logits at positions ``keep``."""
    spread = _spread(logits)
    at, token = _edges_of(trie, keep, logits.device)
    return logits[:, at, token].float() - spread[:, at]


_edges: WeakKeyDictionary[LabelTrie, dict[Hashable, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def _edges_of(trie: LabelTrie, keep: IntArray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which of the logits' rows, and which of their numbers, each edge is; put on a device once for each trie."""
    known, key = _edges.setdefault(trie, {}), (device, keep.tobytes())
    if key not in known:
        # Tensors made in inference mode could not be saved for a backward pass later on.
        with torch.inference_mode(False):
            at = torch.from_numpy(np.searchsorted(keep, trie.edge_position))
            known[key] = placed(at, device), placed(torch.from_numpy(trie.edge_token), device)
    return known[key]


def _spread(logits: Tensor) -> Tensor:
    """Logarithm of the sum over the vocabulary, float32 (batch, positions), a slice of ``SLICE`` logits at a time: a
    copy of all in float32, and their exponentials, would take more memory than the pass itself."""
    rows, step = logits.flatten(0, 1), max(1, SLICE // logits.shape[-1])
    parts = [rows[first : first + step].float().logsumexp(-1) for first in range(0, len(rows), step)]
    return torch.cat(parts).view(logits.shape[:2])


SLICE = 2**24
