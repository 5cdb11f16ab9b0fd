"""Floating-point operations of a PaliGemma, counted from its shape; a multiplication and an addition are two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pass:
    """One pass of the decoder over one picture: tokens of the prefix, nodes behind it, positions with logits."""

    prefix: int
    nodes: int = 0
    kept: int = 0


def vision_flops(vision: Any) -> float:
    """SigLIP and the projector over one picture.

    With n patches of p pixels a side and c colours, width d, feed-forward width m, and projected width t: patches
    ``2n(cp²)d``; each layer ``2n(4d² + 2dm)`` for its matrices and ``4n²d`` for attention (queries by keys, weights by
    values); projector ``2ndt``.
    """
    n = (vision.image_size // vision.patch_size) ** 2
    d, m = vision.hidden_size, vision.intermediate_size
    patches = 2 * n * vision.num_channels * vision.patch_size**2 * d
    layer = 2 * n * (4 * d * d + 2 * d * m) + 4 * n * n * d
    return float(patches + vision.num_hidden_layers * layer + 2 * n * d * vision.projection_dim)


def decoder_flops(text: Any, tokens: int) -> float:
    """Gemma's layers over a sequence of ``tokens``, without logits.

    With n tokens, width d, h heads and k key-value heads of size s, and a gated feed-forward of width m: each layer
    ``2n(2dhs + 2dks + 3dm)`` for its matrices and ``4n²hs`` for attention. All of n² counts, since attention under a
    mask is computed as if there were none.
    """
    d, heads = text.hidden_size, text.num_attention_heads * text.head_dim
    keys = text.num_key_value_heads * text.head_dim
    matrices = 2 * d * heads + 2 * d * keys + 3 * d * text.intermediate_size
    return float(text.num_hidden_layers * (2 * tokens * matrices + 4 * tokens * tokens * heads))


def logit_flops(text: Any, positions: int) -> float:
    """Logits over the vocabulary at some positions: ``2nvd``."""
    return float(2 * positions * text.vocab_size * text.hidden_size)


def picture_flops(vision: Any, text: Any, passes: Sequence[Pass], towers: int = 1) -> float:
    """All that is asked about one picture: the vision tower ``towers`` times, and every pass of the decoder."""
    behind = sum(decoder_flops(text, p.prefix + p.nodes) + logit_flops(text, p.kept) for p in passes)
    return towers * vision_flops(vision) + behind
