"""The demo model's shape: tokenizer, processor, configuration and card."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaTokenizer,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from facevlm.backends import cards
from tools.demo_model.faces import ATTRIBUTES, SIZE

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
CONTEXT = "what are the gender, race, age group and emotion of the person in the image?"
QUESTIONS = {
    "gender": "what is the gender of the person in the image?",
    "race5": "what is the race of the person in the image?",
    "age5": "what is the age group of the person in the image?",
    "emotion7": "what is the emotion of the person in the image?",
}
CUES = {"gender": "gender ", "race5": "race ", "age5": "age ", "emotion7": "emotion "}
CARD = cards.Card(
    name="demo",
    checkpoints={cards.ANY: "package:demo_model"},
    questions=QUESTIONS,
    forms={name: {label: (label,) for label in labels} for name, labels in ATTRIBUTES.items()},
    joint=cards.Joint(CONTEXT, CUES),
)
"""How the model is asked, in training and afterwards."""


def tokenizer() -> GemmaTokenizer:
    """Byte-fallback BPE in Gemma's form, learned from the prompts and answers, with printable ASCII as its base."""
    corpus = [*QUESTIONS.values(), CONTEXT, *CUES.values(), *(v for labels in ATTRIBUTES.values() for v in labels)]
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        min_frequency=1,
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus * 4, trainer)
    learned = json.loads(bpe.to_str())["model"]
    words = [*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *sorted(learned["vocab"], key=learned["vocab"].get)]
    vocabulary = {word: k for k, word in enumerate(dict.fromkeys(words))}
    merges = [tuple(m) for m in learned["merges"]]
    return GemmaTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens={"image_token": "<image>"})


def processor(size: int = SIZE, patch: int = 8) -> PaliGemmaProcessor:
    """Pictures of ``size`` pixels cut into patches, and the tokenizer."""
    side = {"height": size, "width": size}
    pictures = SiglipImageProcessorPil(
        size=side, image_seq_length=(size // patch) ** 2, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=3
    )
    return PaliGemmaProcessor(pictures, tokenizer())


def build(
    vision: SiglipVisionConfig, layers: int, width: int, mlp: int, proc: PaliGemmaProcessor
) -> PaliGemmaForConditionalGeneration:
    """A fresh model; its vocabulary leaves out the 1,152 location tokens that the processor adds and never uses."""
    words = proc.tokenizer
    image_token = words.convert_tokens_to_ids("<image>")
    text = GemmaConfig(
        vocab_size=image_token + 1,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_index=image_token, projection_dim=width, hidden_size=width
    )
    config.image_token_id = image_token
    torch.manual_seed(3)
    return PaliGemmaForConditionalGeneration(config)


def save(model: PaliGemmaForConditionalGeneration, proc: PaliGemmaProcessor, folder: Path) -> None:
    """Weights in bfloat16, processor, and the card that tells how to ask."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    proc.save_pretrained(folder)
    cards.save(folder, CARD)
    logging.info("saved to %s", folder)
