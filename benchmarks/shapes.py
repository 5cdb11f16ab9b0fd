"""Checkpoints to measure: the shipped demo model, and PaliGemmas of random weights with its prompts and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    SiglipVisionConfig,
)

from facevlm.backends.cards import ANY, Card, find, location
from tools.demo_model.model import processor, save

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
SMALL = "small"
SIDE, PATCH = 224, 14
VISION: Mapping[str, Mapping[str, int]] = {
    "mid": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
    "paligemma-3b": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
    },
}
TEXT: Mapping[str, Mapping[str, int]] = {
    "mid": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 1,
        "head_dim": 32,
    },
    "paligemma-3b": {
        "vocab_size": 257216,
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
    },
}
SIZES = (SMALL, *VISION)


@dataclass(frozen=True)
class Checkpoints:
    """The name of a model with one checkpoint for all attributes, and a card with one for each.

    ``alike``: these four hold the same weights.
    """

    model: str
    four: Card
    alike: bool


def configuration(size: str, proc: PaliGemmaProcessor, layers: int | None = None) -> PaliGemmaConfig:
    """The shape of a size, in both halves cut to ``layers``; its words are those of the processor."""
    cut = {} if layers is None else {"num_hidden_layers": layers}
    words = proc.tokenizer
    image_token = words.convert_tokens_to_ids("<image>")
    width = TEXT[size]["hidden_size"]
    vision = SiglipVisionConfig(
        **{**VISION[size], **cut}, image_size=SIDE, patch_size=PATCH, vision_use_head=False, projection_dim=width
    )
    text = GemmaConfig(
        **{"vocab_size": image_token + 1, **TEXT[size], **cut},
        max_position_embeddings=512,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_index=image_token, projection_dim=width, hidden_size=width
    )
    config.image_token_id = image_token
    return config


def write(config: PaliGemmaConfig, proc: PaliGemmaProcessor, seed: int, folder: Path, device: torch.device) -> None:
    """A checkpoint of random weights, drawn on the device in the type of numbers in which it is saved."""
    torch.manual_seed(seed)
    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    save(model, proc, folder)


def make(size: str, folder: Path, device: torch.device, layers: int | None = None) -> Checkpoints:
    """The checkpoints of a size. Of the largest one is written, and four names lead to it, which are loaded apart."""
    paths = [folder / f"checkpoint-{number}" for number in range(len(ATTRIBUTES))]
    alike = size == "paligemma-3b"
    if size == SMALL:
        paths[0] = Path(location(find("demo").checkpoints[ANY]))
        config, proc = AutoConfig.from_pretrained(paths[0]), processor()
    else:
        proc = processor(SIDE, PATCH)
        config = configuration(size, proc, layers)
        write(config, proc, 0, paths[0], device)
    for seed, path in enumerate(paths[1:], 1):
        if alike:
            path.symlink_to(paths[0])
        else:
            write(config, proc, seed, path, device)
    model = "demo" if size == SMALL else f"hf:{paths[0]}"
    one = find(model)
    four = Card(
        f"four checkpoints of size {size}",
        dict(zip(ATTRIBUTES, map(str, paths), strict=True)),
        questions=one.questions,
        forms=one.forms,
        model_type="paligemma",
    )
    return Checkpoints(model, four, alike)
