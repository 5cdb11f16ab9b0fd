"""The benchmark of local models: FLOPs against known figures and PyTorch's own counter, one run with few pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import local
from benchmarks.flops import Pass, decoder_flops, logit_flops, picture_flops, vision_flops
from benchmarks.shapes import ATTRIBUTES, configuration
from facevlm.backends import Options
from facevlm.backends.cards import find
from facevlm.backends.local import LocalBackend
from tools.demo_model.model import processor


def test_flops_of_paligemma_3b() -> None:
    config = configuration("paligemma-3b", processor())
    vision, prefix = vision_flops(config.vision_config), decoder_flops(config.text_config, 269)
    assert vision == pytest.approx(0.22e12, rel=0.01)
    assert prefix == pytest.approx(1.08e12, rel=0.01)
    assert picture_flops(config.vision_config, config.text_config, [Pass(269)]) == pytest.approx(1.30e12, rel=0.01)
    assert logit_flops(config.text_config, 269) == pytest.approx(0.28e12, rel=0.02)


def test_flops_are_those_that_pytorch_counts() -> None:
    """Eager attention: PyTorch counts its matrix products one by one."""
    backend = LocalBackend(find("demo"), Options(device="cpu", attention="eager"))
    family = backend._loaded["package:demo_model"].family
    tokens, kept = 70, 3
    with torch.inference_mode(), FlopCounterMode(display=False) as vision:
        features = family.see({"pixel_values": torch.zeros(1, 3, 64, 64)})["features"]
    ids = torch.full((1, tokens - features.shape[1]), 5)
    embeds = torch.cat([features, family.model.get_input_embeddings()(ids)], 1)
    with torch.inference_mode(), FlopCounterMode(display=False) as decoder:
        family.model(inputs_embeds=embeds, logits_to_keep=kept, use_cache=False)
    config = family.model.config
    assert vision.get_total_flops() == vision_flops(config.vision_config)
    expected = decoder_flops(config.text_config, tokens) + logit_flops(config.text_config, kept)
    assert decoder.get_total_flops() == expected


def test_one_run_measures_every_system_and_all_compute_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    local.main(["--device", "cpu", "--pictures", "2", "--rounds", "1", "--batch", "2", "--profile"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"name", "date", "machine", "device", "n", "rounds", "pictures per second", "ratios", "roofline"} <= set(
        result
    )
    everything = {
        local.LOOP, local.BATCHED, local.FORCED, local.FOUR, local.SEPARATE, local.JOINT,
        local.APPLY_MODEL, local.APPLY_SEPARATE, local.APPLY_JOINT,
    }  # fmt: skip
    rates = result["pictures per second"]
    assert {group: set(found) for group, found in rates.items()} == {
        "1 attribute": everything - {local.FOUR},
        "4 attributes": everything,
    }
    assert all(rate > 0 for found in rates.values() for rate in found.values())
    gaps = result["largest difference to teacher forcing"]
    assert set(gaps) == {local.FOUR, local.SEPARATE, local.JOINT}
    assert max(gaps.values()) < 1e-4
    assert set(result["tokens generated"]) == set(ATTRIBUTES)
    assert sum(result["profile"].values()) == pytest.approx(1, abs=0.01)
    shares = result["roofline"]["share of the bound"]
    assert set(shares["4 attributes"]) == everything - {local.LOOP, local.BATCHED, local.FORCED, local.APPLY_MODEL}
    assert f"{local.JOINT} / {local.LOOP}" in result["ratios"]["4 attributes"]
