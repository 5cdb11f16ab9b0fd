"""The shipped model against transformers itself, and what happens with checkpoints that are broken or out of reach."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Backend, Options, hub, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import MAX_NEW_TOKENS, Checkpoint
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.errors import ModelError
from facevlm.folders import ASSETS
from facevlm.types import Attribute, Question
from tests.backends import tiny
from tests.backends.forcing import Reference, open_reference

DEMO = ("gender", "race5", "age5", "emotion7")
PACKAGED = "package:demo_model"


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    return [Image.open(r.filepath).convert("RGB") for r in samples.read("single")[::8]]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return open_reference(ASSETS / "demo_model")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a family, built when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return functools.cache(lambda name: tiny.BUILDERS[name](root / name))


def checkpoint() -> Checkpoint:
    backend = open_backend("demo")
    assert isinstance(backend, LocalBackend)
    return backend._loaded[PACKAGED]


def asked(joint: bool) -> list[Question]:
    return questions_for(find("demo"), [get(name) for name in DEMO], joint=joint)


# The demo model


@pytest.mark.parametrize("joint", [True, False])
def test_scores_equal_teacher_forcing(faces: list[Image.Image], reference: Reference, joint: bool) -> None:
    questions = asked(joint)
    for image, replies in zip(faces, open_backend("demo").answer(faces[:3], questions), strict=False):
        for question, reply in zip(questions, replies, strict=True):
            assert reply.log_probs == pytest.approx(reference.log_probs(image, question), abs=1e-4)
            assert reply.choice == reference.chosen(image, question)


def test_batch_of_one_equals_batch_of_many(faces: list[Image.Image]) -> None:
    questions = asked(True)
    backend = open_backend("demo")
    for image, replies in zip(faces, backend.answer(faces, questions), strict=True):
        for one, many in zip(backend.answer([image], questions)[0], replies, strict=True):
            assert one.log_probs == pytest.approx(many.log_probs, abs=1e-4)
            assert one.choice == many.choice


def test_an_answer_does_not_depend_on_what_else_is_asked(faces: list[Image.Image]) -> None:
    backend, questions = open_backend("demo"), asked(True)
    together = backend.answer(faces[:4], questions)
    for k, question in enumerate(questions):
        for alone, row in zip(backend.answer(faces[:4], [question]), together, strict=True):
            assert alone[0].log_probs == pytest.approx(row[k].log_probs, abs=1e-4)


def test_greedy_choice_equals_generate(faces: list[Image.Image]) -> None:
    questions = asked(joint=False)
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


def test_generate_equals_the_model_card_loop(faces: list[Image.Image], reference: Reference) -> None:
    question = asked(joint=False)[3]
    said = open_backend("demo", Options(decode="generate")).answer(faces[:4], [question])
    want = [reference.generated([image], question.text, MAX_NEW_TOKENS)[0] for image in faces[:4]]
    assert [row[0].text for row in said] == want


def test_prompt_tokens_equal_the_processors(faces: list[Image.Image], reference: Reference) -> None:
    family = checkpoint().family
    picture = family.prepare(faces[0])
    for text in [*(q.text for q in asked(joint=False)), asked(joint=True)[0].context or ""]:
        assert list(family.ids(picture, text)) == reference.inputs(faces[:1], text)["input_ids"][0].tolist()


def test_pixels_equal_the_processors(faces: list[Image.Image], reference: Reference) -> None:
    sizes = [(64, 64), (224, 224), (50, 90), (301, 77)]
    images = [face.resize(size) for face, size in zip(faces, sizes, strict=False)]
    got = checkpoint().family.collate(checkpoint().prepare(images))["pixel_values"]
    assert (got - reference.inputs(images, "?")["pixel_values"]).abs().max() <= 2.5e-7


def test_coverage_is_a_probability_and_high_for_the_demo_model(faces: list[Image.Image]) -> None:
    for row in open_backend("demo").answer(faces, asked(True)):
        for reply in row:
            assert reply.log_probs is not None
            assert 0.9 < np.exp(reply.log_probs).sum() <= 1 + 1e-5


def test_models_stay_loaded() -> None:
    first: Backend = open_backend("demo")
    assert open_backend("demo") is first


def test_info_tells_runs_apart_without_a_path() -> None:
    info = open_backend("demo").info
    assert (info.model, info.decode, info.notes, info.device, info.dtype) == ("demo", "score", (), "cpu", "float32")
    assert list(info.identity) == [PACKAGED]
    assert len(info.identity[PACKAGED]) == 12
    assert str(ASSETS) not in json.dumps(info.identity)
    assert info.picture is not None
    assert (info.picture.width, info.picture.height) == (64, 64)
    assert {"torch", "transformers"} <= set(info.versions)


# Labels


@pytest.mark.parametrize("name", ["paligemma", "llava", "florence2"])
def test_labels_that_tokenise_alike_are_refused(
    name: str, folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    question = Question(Attribute("x", ("a", "b"), "which?"), "which?", (("same",), ("other", "same")))
    with pytest.raises(ModelError, match=r"x: 'a' and 'b' have the same tokens .* Give them different answer strings"):
        open_backend(f"hf:{folder(name)}").answer(faces[:1], [question])


def test_labels_that_differ_by_a_blank_are_refused_where_it_may_stand_before_an_answer(
    folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    question = Question(Attribute("x", ("a", "b"), "which?"), "which?", (("same",), (" same",)))
    with pytest.raises(ModelError, match="'a' and 'b' have the same tokens"):
        open_backend(f"hf:{folder('smolvlm')}").answer(faces[:1], [question])


@pytest.mark.parametrize("string", ["", "<eos>", "<image>"])
def test_an_answer_that_cannot_be_spelled_is_refused(
    string: str, folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    question = Question(Attribute("x", ("a", "b"), "which?"), "which?", (("a",), (string,)))
    with pytest.raises(ModelError, match=f"cannot spell the answer '{string}'"):
        open_backend(f"hf:{folder('paligemma')}").answer(faces[:1], [question])


# Folders


def without(*names: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return change


def holding(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def saying(name: str, **entries: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = json.loads((path / name).read_text()) | entries
        (path / name).write_text(json.dumps(data))

    return change


NO_TOKENIZER = without("tokenizer.json", "tokenizer_config.json")
TEXT_ONLY = json.dumps({"model_type": "gemma", "architectures": ["GemmaForCausalLM"]})
BROKEN = {
    "weights": ("paligemma", holding("model.safetensors", b"\x00" * 200), "weights"),
    "no weights": ("llava", without("model.safetensors"), "weights"),
    "config": ("qwen3_vl", holding("config.json", "{"), r"config\.json"),
    "text only": ("paligemma", holding("config.json", TEXT_ONLY), "type 'gemma', which takes no pictures"),
    "unknown type": ("paligemma", holding("config.json", '{"model_type": "nosuch"}'), "nosuch"),
    "no tokenizer": ("llava_next", NO_TOKENIZER, "tokenizer"),
    "no tokenizer, Qwen": ("qwen3_vl", NO_TOKENIZER, "tokenizer"),
    "no tokenizer, Gemma 3": ("gemma3", NO_TOKENIZER, "tokenizer"),
    "no tokenizer, Florence-2": ("florence2", NO_TOKENIZER, "tokenizer"),
    "no picture processor": ("internvl", without("preprocessor_config.json"), "image processor"),
    "picture processor": ("idefics3", holding("preprocessor_config.json", "{"), r"preprocessor_config\.json"),
    "no template": ("smolvlm", without("chat_template.jinja"), r"chat template.*chat_template\.jinja"),
    "template": ("llava", holding("chat_template.jinja", "{% for m in messages %}"), "chat template"),
    "template without a picture": ("llava", holding("chat_template.jinja", "USER:"), "0 placeholders '<image>'"),
    "more pictures' tokens": ("paligemma", saying("preprocessor_config.json", image_seq_length=9), "picture"),
    "larger pictures": ("paligemma", saying("preprocessor_config.json", size={"height": 48, "width": 48}), "picture"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_clear_error(case: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    name, change, named = BROKEN[case]
    path = tmp_path / "model"
    shutil.copytree(folder(name), path)
    change(path)
    with pytest.raises(ModelError, match=named) as caught:
        open_backend(f"hf:{path}")
    said = str(caught.value)
    assert re.search("[Ee]xpected ", said)
    assert "\n" not in said
    assert not re.search(r"[^.!?:;,] Expected ", said), "two sentences run into each other"


def test_a_checkpoint_without_a_template_cannot_be_asked_freely(folder: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(folder("llava"), path)
    (path / "chat_template.jinja").unlink()
    question = questions_for(find(f"hf:{path}"), [get("gender")])
    with pytest.raises(ModelError, match="has no chat template"):
        open_backend(f"hf:{path}", Options(decode="generate")).answer([Image.new("RGB", (9, 9))], question)


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        open_backend(f"hf:{tmp_path / 'nowhere'}")


def test_an_unreachable_hub_names_licence_and_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "getproxies", dict)
    with pytest.raises(ModelError, match=r"FaceScanPaliGemma.*paligemma-3b-pt-224.*hf auth login"):
        open_backend("facescan")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ModelError, match="Got device 'cuda:77'"):
        open_backend("demo", Options(device="cuda:77"))
