"""Small checkpoints of every family, built from a config with random weights, as folders that save_pretrained wrote.

Tokenizers are learned here from a few sentences, in the form of the family's own; chat templates say
what the published checkpoints' say for one question about one picture.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

WIDTH = 64
GAIN = 1.5
EMBEDDING = 0.1
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CORPUS = [
    "what is the gender of the person in the image? Male Female male female man woman",
    "what is the race of the person in the image? White Black Asian Indian Others",
    "what is the age group of the person in the image? 0-9 10-19 20-39 40-59 More than 60",
    "what is the emotion of the person in the image? neutral happy sad surprise fear disgust anger",
    "Choose from the words. Answer with the chosen words only. user assistant User Assistant model",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}PICTURE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _learned(byte_level: bool, size: int = 420) -> tuple[dict[str, int], list[tuple[str, str]]]:
    bpe = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>"))
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else [chr(c) for c in range(33, 127)] + ["▁", "\n"]
    if byte_level:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        bpe.normalizer = normalizers.Replace(" ", "▁")
        bpe.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(CORPUS * 3, trainer)
    learned = json.loads(bpe.to_str())["model"]
    return learned["vocab"], [tuple(m) for m in learned["merges"]]


def _tokenizer(kind: str, special: dict[str, str], first: list[str], **kwargs: Any) -> Any:
    """A tokenizer of class ``kind`` with ``first`` as its lowest ids and named special tokens behind the rest."""
    byte_level = kind not in ("GemmaTokenizer", "LlamaTokenizer")
    vocab, merges = _learned(byte_level)
    words = [*first, *sorted(vocab, key=vocab.get)]  # type: ignore[arg-type]
    if not byte_level:
        kwargs["add_bos_token"] = True
        words = [*first, *(f"<0x{b:02X}>" for b in range(256)), *words[len(first) :]]
    table = {word: k for k, word in enumerate(dict.fromkeys(words))}
    return getattr(tf, kind)(vocab=table, merges=merges, extra_special_tokens=special, **kwargs)


def _qwen_words(extra: dict[str, str]) -> Any:
    tokenizer = _tokenizer("Qwen2Tokenizer", extra, ["<|endoftext|>"], pad_token="<|endoftext|>")
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}, replace_extra_special_tokens=False
    )
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def _text(tokenizer: Any, **kwargs: Any) -> dict[str, Any]:
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **kwargs,
    }


def _fill(model: Any) -> None:
    """Weights drawn by name, so that they do not depend on the order in which a release of transformers makes them.

    Matrices keep the size of what passes through them and a little more, so that pictures come through to the answer.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim > 1 and "embed" not in name:
                parameter.copy_(noise * GAIN / parameter[0].numel() ** 0.5)
            elif parameter.ndim > 1:
                parameter.copy_(noise * EMBEDDING)
            else:
                parameter.copy_(float((parameter == 1).all()) + noise * 0.1)


def _finish(
    folder: Path, config: Any, tokenizer: Any, pictures: Any, template: str | None, ends: Sequence[str] = ()
) -> Path:
    """``ends`` are the tokens that end an answer, where there are others than the tokenizer's own."""
    model = tf.AutoModelForImageTextToText.from_config(config)
    _fill(model)
    found = [tokenizer.convert_tokens_to_ids(end) for end in ends]
    model.generation_config.eos_token_id = found or tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    if template:
        tokenizer.chat_template = template
    tf.utils.logging.disable_progress_bar()
    for part in (model, tokenizer, pictures):
        part.save_pretrained(folder)
    return folder


def paligemma(folder: Path, text: str = "gemma", *, places: bool = False, **caps: float) -> Path:
    """``places`` adds the tokens of the published one for places.

    ``caps`` are Gemma 2's bounds of logits, off unless given: not every supported release applies them here.
    """
    tokenizer = _tokenizer("GemmaTokenizer", {"image_token": "<image>"}, ["<pad>", "<eos>", "<bos>", "<unk>"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    tokenizer.add_tokens([f"<loc{k:04}>" for k in range(1024)] if places else [])
    off = {} if text == "gemma" else {"final_logit_softcapping": None, "attn_logit_softcapping": None}
    config = tf.PaliGemmaConfig(
        vision_config={
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            "projection_dim": WIDTH,
        },
        text_config=_text(tokenizer, head_dim=16, model_type=text, **{**off, **caps}),
        image_token_index=image,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    config.image_token_id = image
    pictures = SiglipImageProcessorPil(
        size={"height": 32, "width": 32}, image_seq_length=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=3
    )
    return _finish(folder, config, tokenizer, pictures, None)


def paligemma2(folder: Path) -> Path:
    return paligemma(folder, "gemma2")


def llava(folder: Path, tower: str = "clip_vision_model", features: str = "default") -> Path:
    """``features`` says which of the tower's tokens are taken; CLIP's has one more than there are patches."""
    return _llava(folder, tf.LlavaConfig, tower, vision_feature_layer=-1, vision_feature_select_strategy=features)


def vipllava(folder: Path) -> Path:
    """A family that has no file here: LLaVA on two layers of its tower."""
    return _llava(folder, tf.VipLlavaConfig, "clip_vision_model", vision_feature_layer=[-2, -1])


def _llava(folder: Path, config_class: Any, tower: str, **features: Any) -> Path:
    tokenizer = _tokenizer("LlamaTokenizer", {"image_token": "<image>"}, ["<unk>", "<s>", "</s>"], pad_token="</s>")
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = config_class(
        vision_config={
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
            "model_type": tower,
        },
        text_config={**_text(tokenizer), "model_type": "llama"},
        image_token_index=image,
        **features,
    )
    config.image_token_id = image
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    template = (
        "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}"
        "<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    )
    return _finish(folder, config, tokenizer, pictures, template)


def llava_next(folder: Path) -> Path:
    tokenizer = _tokenizer("LlamaTokenizer", {"image_token": "<image>"}, ["<unk>", "<s>", "</s>"], pad_token="</s>")
    image = tokenizer.convert_tokens_to_ids("<image>")
    pinpoints = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = tf.LlavaNextConfig(
        vision_config={
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
            "model_type": "clip_vision_model",
        },
        text_config={**_text(tokenizer, sliding_window=None), "model_type": "mistral"},
        image_token_index=image,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
    )
    config.image_token_id = image
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
    )
    template = (
        "{% for m in messages %}[INST] {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}"
        "{{ c['text'] }}{% endif %}{% endfor %} [/INST]{% endfor %}"
    )
    return _finish(folder, config, tokenizer, pictures, template)


QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_TOKENS = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    return {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in QWEN_TOKENS.items()}


def qwen2_vl(folder: Path) -> Path:
    tokenizer = _qwen_words(QWEN_TOKENS)
    config = tf.Qwen2VLConfig(
        text_config=_text(
            tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
        ),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "patch_size": 8},
        **_qwen_ids(tokenizer),
    )
    pictures = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 16 * 16, "longest_edge": 96 * 96})
    return _finish(folder, config, tokenizer, pictures, CHATML.replace("PICTURE", QWEN_PICTURE))


def qwen2_5_vl(folder: Path) -> Path:
    tokenizer = _qwen_words(QWEN_TOKENS)
    config = tf.Qwen2_5_VLConfig(
        text_config=_text(
            tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "patch_size": 8,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        **_qwen_ids(tokenizer),
    )
    pictures = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 16 * 16, "longest_edge": 96 * 96})
    template = CHATML.replace("PICTURE", QWEN_PICTURE)
    return _finish(folder, config, tokenizer, pictures, template, ["<|im_end|>", "<|endoftext|>"])


def qwen3_vl(folder: Path) -> Path:
    tokenizer = _qwen_words(QWEN_TOKENS)
    config = tf.Qwen3VLConfig(
        text_config=_text(
            tokenizer,
            head_dim=16,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "patch_size": 8,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_ids(tokenizer),
    )
    pictures = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 16 * 16, "longest_edge": 96 * 96})
    return _finish(folder, config, tokenizer, pictures, CHATML.replace("PICTURE", QWEN_PICTURE))


SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _idefics(folder: Path, config_class: Any, pictures: Any) -> Path:
    names = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|im_start|>"]
    tokenizer = _tokenizer("GPT2Tokenizer", {"image_token": "<image>"}, ["<|endoftext|>"], pad_token="<|endoftext|>")
    rows = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    tokenizer.add_special_tokens({"additional_special_tokens": [*names, *rows]}, replace_extra_special_tokens=False)
    tokenizer.eos_token = "<end_of_utterance>"
    config = config_class(
        vision_config={**VISION, "image_size": 32, "patch_size": 4},
        text_config={**_text(tokenizer), "model_type": "llama"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _finish(folder, config, tokenizer, pictures, SMOL_TEMPLATE)


def idefics3(folder: Path) -> Path:
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    return _idefics(folder, tf.Idefics3Config, Idefics3ImageProcessorPil(**sizes))


def smolvlm(folder: Path) -> Path:
    sizes = {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}}
    return _idefics(folder, tf.SmolVLMConfig, SmolVLMImageProcessorPil(**sizes))


def gemma3(folder: Path) -> Path:
    special = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = _tokenizer("GemmaTokenizer", special, ["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}, replace_extra_special_tokens=False
    )
    ids = {f"{k.split('_')[0]}_token_index": tokenizer.convert_tokens_to_ids(v) for k, v in special.items()}
    config = tf.Gemma3Config(
        vision_config={
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
        },
        text_config=_text(
            tokenizer, head_dim=16, sliding_window=12, layer_types=["sliding_attention", "full_attention"]
        ),
        mm_tokens_per_image=4,
        **ids,
    )
    pictures = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    template = (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    return _finish(folder, config, tokenizer, pictures, template, ["<eos>", "<end_of_turn>"])


def internvl(folder: Path) -> Path:
    special = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = _qwen_words(special)
    config = tf.InternVLConfig(
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [8, 8], "model_type": "internvl_vision"},
        text_config={**_text(tokenizer), "model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    pictures = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4)
    return _finish(folder, config, tokenizer, pictures, CHATML.replace("PICTURE", "<IMG_CONTEXT>\n"))


def florence2(folder: Path, *, places: bool = False) -> Path:
    """``places`` adds the tokens of the published one for places, which are special there."""
    tokenizer = _tokenizer("RobertaTokenizer", {"image_token": "<image>"}, ["<s>", "<pad>", "</s>", "<unk>"])
    if places:
        tokenizer.add_tokens([f"<loc_{k}>" for k in range(1000)], special_tokens=True)
    config = tf.Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": WIDTH,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "max_position_embeddings": 256,
            "decoder_start_token_id": 2,
            "forced_bos_token_id": 0,
        },
        vision_config={
            "embed_dim": [8, 16, 16, 32],
            "num_heads": [1, 2, 2, 4],
            "num_groups": [1, 2, 2, 4],
            "depths": [1, 1, 1, 1],
            "window_size": 4,
            "projection_dim": WIDTH,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    config.is_encoder_decoder = True
    pictures = CLIPImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False, resample=3)
    pictures.image_seq_length = 5
    folder = _finish(folder, config, tokenizer, pictures, None)
    path = folder / "generation_config.json"
    data = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {
                **data,
                "forced_bos_token_id": 0,
                "decoder_start_token_id": 2,
                "bos_token_id": 0,
                "pad_token_id": 1,
                "num_beams": 3,
                "no_repeat_ngram_size": 3,
                "early_stopping": True,
            }
        )
    )
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    build.__name__: build
    for build in (
        paligemma,
        paligemma2,
        llava,
        llava_next,
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        idefics3,
        smolvlm,
        gemma3,
        internvl,
        florence2,
    )
}
