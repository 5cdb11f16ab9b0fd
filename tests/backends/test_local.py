"""The scorer against transformers itself: the shipped model and a random one of the same architecture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facevlm.attributes import define, get
from facevlm.backends import Backend, Options, local, open_backend, paligemma
from facevlm.backends.cards import ASSETS, find, questions_for
from facevlm.backends.local import Checkpoint, LocalBackend, halving
from facevlm.datasets import samples
from facevlm.errors import ModelError
from facevlm.types import Attribute, Question, Reply
from tools.demo_model.model import build, processor, save
from tools.demo_model.tower import tower_config

DEMO = ("gender", "race5", "age5", "emotion7")
LONG = define(
    "hair",
    ["short", "short and dark", "long", "long and fair hair", "none"],
    "what is the hair of the person?",
    aliases={"none": ["bald", "no hair at all"]},
)


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    return [Image.open(r.filepath).convert("RGB") for r in samples.read("single")[::8]]


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PaliGemma with random weights large enough for its answers to differ."""
    folder = tmp_path_factory.mktemp("random")
    model = build(tower_config(64, 2, 2, 128), 2, 64, 128, proc := processor())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    save(model, proc, folder)
    (folder / "facevlm.json").unlink()
    return folder


@pytest.fixture(params=["demo", "random"])
def model(request: pytest.FixtureRequest, random_folder: Path) -> str:
    return "demo" if request.param == "demo" else f"hf:{random_folder}"


def checkpoint_of(model: str, question: Question) -> Checkpoint:
    backend = open_backend(model)
    assert isinstance(backend, LocalBackend)
    return backend._checkpoint(backend.card.checkpoint(question.attribute.name))


def asked(model: str, joint: bool) -> list[Question]:
    attributes = [get(name) for name in DEMO]
    if model != "demo":
        attributes.append(LONG)
    return questions_for(find(model), attributes, joint=joint)


def forced(checkpoint: Checkpoint, image: Image.Image, question: Question) -> list[float]:
    """Log-probability of every label by one plain forward pass per answer string, nothing shared."""
    family, labels = checkpoint.family, []
    inputs = family.processor(
        text=["<image>" + (question.context or question.text)], images=[image], return_tensors="pt"
    )
    prefix = inputs["input_ids"][0]
    cue = list(family.answer_ids(question.cue)) if question.cue else []
    for forms in question.surface_forms:
        totals = []
        for ids in {family.answer_ids(form) for form in forms}:
            answer = [*ids, family.end_token]
            tokens = torch.cat([prefix, torch.tensor(cue + answer)])[None]
            types = torch.cat([torch.zeros_like(prefix), torch.ones(len(cue + answer), dtype=torch.long)])[None]
            with torch.inference_mode():
                logits = family.model(
                    input_ids=tokens,
                    pixel_values=inputs["pixel_values"],
                    attention_mask=torch.ones_like(tokens),
                    token_type_ids=types,
                ).logits[0]
            start = len(prefix) + len(cue) - 1
            said = logits[start : start + len(answer)].log_softmax(-1)
            totals.append(float(said[torch.arange(len(answer)), torch.tensor(answer)].sum()))
        labels.append(float(np.logaddexp.reduce(totals)))
    return labels


@pytest.mark.parametrize("joint", [True, False])
def test_scores_equal_teacher_forcing(model: str, faces: list[Image.Image], joint: bool) -> None:
    questions = asked(model, joint)
    table = open_backend(model).answer(faces[:3], questions)
    for image, replies in zip(faces, table, strict=False):
        for question, reply in zip(questions, replies, strict=True):
            want = forced(checkpoint_of(model, question), image, question)
            assert reply.log_probs == pytest.approx(want, abs=1e-4)


def test_batch_of_one_equals_batch_of_many(model: str, faces: list[Image.Image]) -> None:
    questions = asked(model, True)
    backend = open_backend(model)
    together = backend.answer(faces, questions)
    for image, replies in zip(faces, together, strict=True):
        for one, many in zip(backend.answer([image], questions)[0], replies, strict=True):
            assert one.log_probs == pytest.approx(many.log_probs, abs=1e-4)
            assert one.choice == many.choice


def test_an_answer_does_not_depend_on_what_else_is_asked(faces: list[Image.Image]) -> None:
    backend, questions = open_backend("demo"), asked("demo", True)
    together = backend.answer(faces[:4], questions)
    for k, question in enumerate(questions):
        for alone, row in zip(backend.answer(faces[:4], [question]), together, strict=True):
            assert alone[0].log_probs == pytest.approx(row[k].log_probs, abs=1e-4)


def test_greedy_choice_equals_generate(faces: list[Image.Image]) -> None:
    questions = asked("demo", joint=False)
    scored = open_backend("demo").answer(faces, questions)
    said = open_backend("demo", Options(decode="generate")).answer(faces, questions)
    compared = 0
    for score_row, text_row in zip(scored, said, strict=True):
        for question, score, text in zip(questions, score_row, text_row, strict=True):
            for label, forms in enumerate(question.surface_forms):
                if text.text in forms:
                    compared += 1
                    assert score.choice == label
    assert compared == len(faces) * len(questions)


def test_generate_equals_the_model_card_loop(faces: list[Image.Image]) -> None:
    question = asked("demo", joint=False)[3]
    family = checkpoint_of("demo", question).family
    said = open_backend("demo", Options(decode="generate")).answer(faces[:4], [question])
    for image, row in zip(faces[:4], said, strict=True):
        inputs = family.processor(text=["<image>" + question.text], images=[image], return_tensors="pt")
        with torch.inference_mode():
            out = family.model.generate(**{k: v for k, v in inputs.items() if k != "labels"}, max_length=500)
        cut = out[0, inputs["input_ids"].shape[1] :]
        assert row[0].text == family.tokenizer.decode(cut, skip_special_tokens=True).strip()


def test_prompt_tokens_equal_the_processors(model: str, faces: list[Image.Image]) -> None:
    for question in asked(model, joint=False):
        family = checkpoint_of(model, question).family
        ids = family.processor(text=["<image>" + question.text], images=[faces[0]], return_tensors="pt")["input_ids"][0]
        assert ids[: family.n_image].tolist() == [family.image_token] * family.n_image
        assert ids[family.n_image :].tolist() == family.prompt_ids(question.text).tolist()


def test_pixels_equal_the_processors(faces: list[Image.Image]) -> None:
    question = asked("demo", True)[0]
    checkpoint = checkpoint_of("demo", question)
    sizes = [(64, 64), (224, 224), (50, 90), (301, 77)]
    images = [face.resize(size) for face, size in zip(faces, sizes, strict=False)]
    want = checkpoint.family.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    assert (checkpoint.pixels(images) - want).abs().max() <= 2.5e-7


def test_coverage_is_a_probability_and_high_for_the_demo_model(faces: list[Image.Image]) -> None:
    for row in open_backend("demo").answer(faces, asked("demo", True)):
        for reply in row:
            assert reply.log_probs is not None
            assert 0.9 < np.exp(reply.log_probs).sum() <= 1 + 1e-5


def test_labels_that_tokenise_alike_are_refused(random_folder: Path, faces: list[Image.Image]) -> None:
    attribute = Attribute("x", ("a", "b"), "which?")
    question = Question(attribute, "which?", (("same",), ("same",)))
    with pytest.raises(ModelError, match=r"'a' and 'b' have the same tokens"):
        open_backend(f"hf:{random_folder}").answer(faces[:1], [question])


def halves(fits: int, calls: list[int], error: type[Exception]) -> list[list[Reply]]:
    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        calls.append(len(images))
        if len(images) > fits:
            raise error("not enough memory: you tried to allocate")
        return [[Reply(text=str(image.width))] for image in images]

    return halving(call, [Image.new("RGB", (k + 1, 1)) for k in range(20)])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_and_keeps_what_is_done(error: type[Exception]) -> None:
    calls: list[int] = []
    replies = halves(6, calls, error)
    assert [r[0].text for r in replies] == [str(k + 1) for k in range(20)]
    assert calls == [20, 10, 5, 5, 5, 5]


def test_out_of_memory_with_one_picture_is_an_error() -> None:
    with pytest.raises(ModelError, match="single picture"):
        halves(0, [], torch.OutOfMemoryError)


def test_other_errors_are_not_taken_for_memory() -> None:
    def call(images: Sequence[Image.Image]) -> list[list[Reply]]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(call, [Image.new("RGB", (1, 1))])


def broken(source: Path, target: Path, change: str) -> str:
    shutil.copytree(source, target)
    if change == "weights":
        (target / "model.safetensors").write_bytes(b"\x00" * 200)
    elif change == "processor":
        (target / "processor_config.json").unlink()
    elif change == "text-only":
        (target / "config.json").write_text(json.dumps({"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}))
    else:
        (target / "config.json").write_text("{")
    return f"hf:{target}"


@pytest.mark.parametrize("change", ["weights", "processor", "config", "text-only"])
def test_a_broken_folder_is_one_clear_error(random_folder: Path, tmp_path: Path, change: str) -> None:
    name = broken(random_folder, tmp_path / "model", change)
    with pytest.raises(ModelError, match=r"Expected|expected"):
        open_backend(name)


def test_scores_that_disagree_with_the_models_own_are_refused(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = paligemma.PaliGemma._mask
    monkeypatch.setattr(paligemma.PaliGemma, "_mask", staticmethod(lambda *args: torch.zeros_like(whole(*args))))
    with pytest.raises(ModelError, match="do not agree with its own forward pass"):
        LocalBackend(find(f"hf:{random_folder}"), Options())
    LocalBackend(find(f"hf:{random_folder}"), Options(decode="generate"))


def test_an_unreachable_hub_names_licence_and_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(local, "getproxies", dict)
    with pytest.raises(ModelError, match=r"paligemma-3b-pt-224.*hf auth login"):
        open_backend("facescan")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ModelError, match="Got device 'cuda:77'"):
        open_backend("demo", Options(device="cuda:77"))


def test_models_stay_loaded() -> None:
    first: Backend = open_backend("demo")
    assert open_backend("demo") is first


def test_info_tells_runs_apart_without_a_path() -> None:
    info = open_backend("demo").info
    assert info.model == "demo"
    assert list(info.identity) == ["package:demo_model"]
    assert len(info.identity["package:demo_model"]) == 12
    assert str(ASSETS) not in json.dumps(info.identity)
