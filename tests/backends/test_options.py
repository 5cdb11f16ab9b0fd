"""What can be chosen when a model is loaded: numbers, kernels, quantisation, pictures."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from facevlm.attributes import get
from facevlm.backends import Options, weights
from facevlm.backends.cards import Card, find, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.errors import ModelError
from tests.backends import tiny

QUANTIZED = all(importlib.util.find_spec(package) for package in ("bitsandbytes", "accelerate"))


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    return [Image.open(r.filepath).convert("RGB") for r in samples.read("single")[::24]]


def scores(card: Card, options: Options, faces: list[Image.Image]) -> list[float]:
    questions = questions_for(card, [get("gender"), get("race5")])
    rows = LocalBackend(card, options).answer(faces, questions)
    return [value for row in rows for reply in row for value in reply.log_probs or ()]


@pytest.mark.parametrize("options", [Options(attention="eager"), Options(dtype="bfloat16"), Options(dtype="float16")])
def test_kernels_and_numbers_change_little(faces: list[Image.Image], options: Options) -> None:
    tolerance = 1e-4 if options.attention else 0.2
    assert scores(find("demo"), options, faces) == pytest.approx(scores(find("demo"), Options(), faces), abs=tolerance)


def test_tower_projector_and_decoder_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling itself takes a minute and is measured by benchmarks/options.py; here it is a pass-through."""
    seen: list[str | None] = []

    def compiled(call: object, *, mode: str | None, dynamic: bool | None) -> object:
        seen.append(mode)
        return call

    monkeypatch.setattr(torch, "compile", compiled)
    card = find(f"hf:{tiny.paligemma(tmp_path)}")
    for mode, passed in (("max-autotune-no-cudagraphs", "max-autotune-no-cudagraphs"), ("default", None)):
        seen.clear()
        LocalBackend(card, Options(compile=mode))
        assert seen == [passed] * 3


@pytest.mark.skipif(not QUANTIZED, reason="needs facevlm[quantize]")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantised_weights_answer_alike(faces: list[Image.Image], bits: str) -> None:
    assert scores(find("demo"), Options(quantize=bits), faces) == pytest.approx(
        scores(find("demo"), Options(), faces), abs=0.7
    )


def test_quantising_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"bitsandbytes and accelerate.*pip install 'facevlm\[quantize\]'"):
        LocalBackend(find("demo"), Options(quantize="4bit"))


@pytest.mark.parametrize(
    ("quantize", "device", "dtype"),
    [
        (None, "cpu", torch.float32),
        (None, "cuda", torch.bfloat16),
        (None, "mps", torch.bfloat16),
        ("8bit", "cuda", torch.bfloat16),
        ("8bit", "cpu", torch.bfloat16),
        ("4bit", "cpu", torch.bfloat16),
    ],
)
def test_the_type_of_numbers_follows_device_and_weights(quantize: str | None, device: str, dtype: torch.dtype) -> None:
    assert weights.pick_dtype(Options(quantize=quantize), torch.device(device)) == dtype
    assert weights.pick_dtype(Options(quantize=quantize, dtype="float32"), torch.device(device)) == torch.float32


def test_flash_attention_is_for_the_tower_alone() -> None:
    wanted = weights._attention(Options(attention="flash_attention_2"))["attn_implementation"]
    assert wanted == {"vision_config": "flash_attention_2"}


@pytest.mark.parametrize(
    ("build", "images", "fewer"),
    [
        (tiny.smolvlm, {"do_image_splitting": False}, 4),
        (tiny.qwen3_vl, {"size": {"shortest_edge": 256, "longest_edge": 1024}}, 4),
    ],
)
def test_options_for_the_image_processor_reach_it(
    faces: list[Image.Image], tmp_path: Path, build: object, images: dict[str, object], fewer: int
) -> None:
    assert callable(build)
    card = find(f"hf:{build(tmp_path)}")
    counts = []
    for chosen in (card, replace(card, images=images)):
        backend = LocalBackend(chosen, Options())
        checkpoint = backend._loaded[str(tmp_path)]
        assert backend.info.decode == "score"
        assert all(
            reply.log_probs for row in backend.answer(faces, questions_for(card, [get("gender")])) for reply in row
        )
        picture = checkpoint.family.prepare(faces[0])
        counts.append(checkpoint.family.ids(picture, "who?").count(checkpoint.family.image_token))
    assert counts[1] * fewer <= counts[0]


def test_smolvlm_does_not_enlarge_pictures_before_it_shrinks_them(faces: list[Image.Image]) -> None:
    """As the published processor, whose sizes are these, has it; the model takes 384 x 384 either way."""
    processor = SmolVLMImageProcessorPil(size={"longest_edge": 1536}, max_image_size={"longest_edge": 384})
    widest: list[int] = []
    resize = processor.resize

    def seen(*args: Any, **kwargs: Any) -> Any:
        out = resize(*args, **kwargs)
        widest.append(max(out.shape[-2:]))
        return out

    processor.resize = seen
    plain, chosen = {"do_image_splitting": False}, find("smolvlm").images
    want, got = (processor(images=[faces[0]], return_tensors="pt", **o)["pixel_values"] for o in (plain, chosen))
    assert want.shape == got.shape
    assert (want - got).abs().mean() < 0.02
    assert widest == [1536, 384, 384, 384]


def test_bytes_of_weights_are_counted_from_the_files(tmp_path: Path) -> None:
    folder = tiny.paligemma(tmp_path)
    stored = (folder / "model.safetensors").stat().st_size
    whole = weights.weight_bytes(str(folder), torch.float32, None)
    assert 0.9 * stored < whole <= stored
    assert weights.weight_bytes(str(folder), torch.bfloat16, None) == whole // 2
    assert weights.weight_bytes("org/not-here", torch.float32, None) == 0


def test_bytes_of_weights_that_cannot_be_read_are_not_known(tmp_path: Path) -> None:
    folder = tiny.paligemma(tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken} and more")
    assert weights.weight_bytes(str(folder), torch.float32, None) == 0


@pytest.mark.skipif(not QUANTIZED, reason="needs facevlm[quantize]")
@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantised_weights_are_counted_as_they_lie_in_memory(tmp_path: Path, quantize: str) -> None:
    folder = tiny.paligemma(tmp_path)
    model = weights.load(find(f"hf:{folder}"), str(folder), Options(quantize=quantize))[0].model
    held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    counted = weights.weight_bytes(str(folder), torch.bfloat16, quantize)
    assert counted == pytest.approx(held, rel=0.15)
    assert counted < weights.weight_bytes(str(folder), torch.bfloat16, None)


@pytest.mark.skipif(not QUANTIZED, reason="needs facevlm[quantize]")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_checkpoint_that_is_stored_quantised_opens_by_itself(
    faces: list[Image.Image], tmp_path: Path, bits: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, stored = tiny.paligemma(tmp_path / "plain"), tmp_path / bits
    shutil.copytree(folder, stored, ignore=shutil.ignore_patterns("*.safetensors"))
    options = Options(quantize=bits)
    asked = LocalBackend(find(f"hf:{folder}"), options)
    asked._loaded[str(folder)].family.model.save_pretrained(stored)
    card = find(f"hf:{stored}")
    backend = LocalBackend(card, Options())
    assert (backend.info.decode, backend.info.dtype) == ("score", "bfloat16")
    questions = questions_for(card, [get("gender")])
    assert backend.answer(faces[:2], questions) == asked.answer(faces[:2], questions)
    assert "inputs will be cast" not in caplog.text
    held = weights.weight_bytes(str(stored), torch.bfloat16, None)
    assert held == pytest.approx(weights.weight_bytes(str(folder), torch.bfloat16, bits), rel=0.15)


def test_attention_that_a_model_cannot_use_is_named(tmp_path: Path) -> None:
    """Gemma 2, the decoder of PaliGemma 2, caps its attention scores, which sdpa cannot."""
    card = find(f"hf:{tiny.paligemma2(tmp_path)}")
    if not transformers.Gemma2ForCausalLM._supports_sdpa:
        with pytest.raises(ModelError, match=r"Got attention='sdpa', which model .* cannot use"):
            LocalBackend(card, Options(attention="sdpa"))
    assert LocalBackend(card, Options(attention="eager")).info.decode == "score"
