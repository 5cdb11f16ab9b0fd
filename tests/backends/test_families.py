"""Every family against transformers itself: scores, prompts, free answers; small checkpoints with random weights."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from PIL import Image

from facevlm.attributes import define, get
from facevlm.backends import Options, families, load_class
from facevlm.backends.cards import Card, find, questions_for
from facevlm.backends.checkpoint import MAX_NEW_TOKENS, Checkpoint
from facevlm.backends.families import chat, gemma3, paligemma
from facevlm.backends.families.base import Family
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.errors import InputError, ModelError
from facevlm.types import Question, Reply
from tests.backends import tiny
from tests.backends.forcing import PROCESSORS, Reference, open_reference, processor_of, teach

pytestmark = pytest.mark.contract

GOLDEN = Path(__file__).parents[1] / "golden" / "families.json"
YEARS = define(
    "years",
    ["below", "more than 60", "more than 60 years", "60"],
    "how old is the person?",
    aliases={"below": ["below 60"], "60": ["sixty", "sixty years"]},
)
ATTRIBUTES = [get("gender"), get("race5"), get("age5"), YEARS]
SIZES = ((224, 224), (150, 60), (60, 180))
COLOURS = {"below": (220, 30, 30), "more than 60": (30, 200, 40), "more than 60 years": (30, 40, 220)}
PAN_AND_SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 16,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.0,
}


@dataclass(frozen=True, repr=False)
class Subject:
    """A checkpoint of one family, as the backend and as transformers open it."""

    name: str
    folder: Path
    backend: LocalBackend
    reference: Reference

    @property
    def checkpoint(self) -> Checkpoint:
        return self.backend._loaded[str(self.folder)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a family, built when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return functools.cache(lambda name: tiny.BUILDERS[name](root / name))


@pytest.fixture(scope="module", params=list(tiny.BUILDERS))
def subject(request: pytest.FixtureRequest, folder: Callable[[str], Path]) -> Subject:
    return opened(request.param, folder(request.param))


@pytest.fixture(scope="session")
def free(folder: Callable[[str], Path]) -> Callable[[str], LocalBackend]:
    """A family's checkpoint that answers as text, opened when it is first asked for."""
    return functools.cache(lambda name: LocalBackend(card_of(folder(name)), Options(decode="generate")))


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    """Faces in pictures of several shapes."""
    records = samples.read("single")[::24]
    return [Image.open(r.filepath).convert("RGB").resize(s) for r, s in zip(records, SIZES, strict=False)]


def opened(name: str, path: Path) -> Subject:
    return Subject(name, path, LocalBackend(card_of(path), Options()), open_reference(path))


def card_of(path: Path) -> Card:
    return find(f"hf:{path}")


def asked(path: Path) -> list[Question]:
    """Four attributes, each in a prompt of its own, then two that share a prompt and stand behind cues."""
    tuned = {a.name: a.question for a in ATTRIBUTES} if path.name == "florence2" else None
    alone = questions_for(card_of(path), ATTRIBUTES, tuned)
    shared = [
        Question(a, a.question, tuple((label,) for label in a.labels), "describe the person", f"{a.name} ")
        for a in (get("gender"), YEARS)
    ]
    return [*alone, *shared]


def copied(source: Path, target: Path, **config: Any) -> Path:
    """A copy of a checkpoint folder with other entries in its decoder's configuration."""
    shutil.copytree(source, target)
    data = json.loads((source / "config.json").read_text())
    data["text_config"].update(config)
    (target / "config.json").write_text(json.dumps(data))
    return target


def assert_same(got: Sequence[Sequence[Reply]], want: Sequence[Sequence[Reply]]) -> None:
    for got_row, want_row in zip(got, want, strict=True):
        for one, other in zip(got_row, want_row, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
            assert one.choice == other.choice


def assert_exact(subject: Subject, images: Sequence[Image.Image], questions: Sequence[Question]) -> None:
    for image, replies in zip(images, subject.backend.answer(images, questions), strict=True):
        for question, reply in zip(questions, replies, strict=True):
            assert reply.log_probs == pytest.approx(subject.reference.log_probs(image, question), abs=1e-4)
            assert reply.choice == subject.reference.chosen(image, question)


# Scores


def test_scores_equal_teacher_forcing(subject: Subject, faces: list[Image.Image]) -> None:
    assert (subject.backend.info.decode, subject.backend.info.notes) == ("score", ())
    assert_exact(subject, faces, asked(subject.folder))


def test_scores_follow_the_picture(subject: Subject, faces: list[Image.Image]) -> None:
    """Else nothing here would notice a picture that was left out."""
    first, *others = (row[0].log_probs for row in subject.backend.answer(faces, asked(subject.folder)[:1]))
    assert first is not None
    assert all(other != pytest.approx(first, abs=5e-3) for other in others)


def test_a_batch_equals_pictures_one_by_one(subject: Subject, faces: list[Image.Image]) -> None:
    questions, many = (
        asked(subject.folder),
        [*faces, faces[0].resize((64, 64)), faces[1].resize((20, 90)), *faces[::-1]],
    )
    assert_same(
        subject.backend.answer(many, questions), [subject.backend.answer([image], questions)[0] for image in many]
    )


def test_asking_alone_equals_asking_together(subject: Subject, faces: list[Image.Image]) -> None:
    questions = asked(subject.folder)
    alone = [subject.backend.answer(faces, [question]) for question in questions]
    assert_same(
        subject.backend.answer(faces, questions), [[column[row][0] for column in alone] for row in range(len(faces))]
    )


def test_bfloat16_is_close_to_float32(subject: Subject, faces: list[Image.Image]) -> None:
    short = LocalBackend(card_of(subject.folder), Options(dtype="bfloat16"))
    questions = asked(subject.folder)
    assert (short.info.dtype, short.info.decode) == ("bfloat16", "score")
    whole = subject.backend.answer(faces, questions)
    for short_row, row in zip(short.answer(faces, questions), whole, strict=True):
        for got, want in zip(short_row, row, strict=True):
            assert got.log_probs == pytest.approx(want.log_probs, abs=0.2, rel=0.02)


def test_eager_attention_scores_alike(subject: Subject, faces: list[Image.Image]) -> None:
    eager = LocalBackend(card_of(subject.folder), Options(attention="eager"))
    assert eager.info.decode == "score"
    questions = asked(subject.folder)
    assert_same(eager.answer(faces, questions), subject.backend.answer(faces, questions))


# Prompts and pictures


def test_prompts_and_pictures_equal_the_processors(subject: Subject, faces: list[Image.Image]) -> None:
    family = subject.checkpoint.family
    for image in [*faces, Image.new("RGB", (33, 31), (9, 80, 200))]:
        prepared = family.prepare(image)
        arguments = family.collate([prepared])
        for question in asked(subject.folder):
            want = subject.reference.inputs([image], question.text)
            assert list(family.ids(prepared, question.text)) == want["input_ids"][0].tolist()
            assert set(arguments) == set(want) - {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
            if subject.reference.processor.chat_template:
                assert want["input_ids"][0].tolist() == subject.reference.chatted(image, question.text)
            for name, tensor in arguments.items():
                torch.testing.assert_close(tensor, want[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smolvlm", {"do_image_splitting": False}),
        ("qwen3_vl", {"size": {"shortest_edge": 32 * 32, "longest_edge": 48 * 48}}),
        ("internvl", {"crop_to_patches": False}),
        ("internvl", {"max_patches": 2}),
        ("gemma3", PAN_AND_SCAN),
    ],
)
def test_options_for_pictures_change_pictures_and_prompts_alike(
    name: str, options: dict[str, Any], folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    path = folder(name)
    backend = LocalBackend(replace(card_of(path), images=options), Options())
    reference = replace(open_reference(path), options=options)
    assert backend.info.decode == "score"
    assert_exact(Subject(name, path, backend, reference), faces, asked(path)[:1])
    plain = LocalBackend(card_of(path), Options()).answer(faces, asked(path)[:1])
    assert plain[0][0].log_probs != pytest.approx(backend.answer(faces, asked(path)[:1])[0][0].log_probs, abs=1e-3)


def test_answers_are_spelled_as_the_tokenizer_goes_on_behind_the_prompt(
    subject: Subject, faces: list[Image.Image]
) -> None:
    family, text = subject.checkpoint.family, asked(subject.folder)[0].text
    for answer in ("Male", "More than 60", "20-39", "Latinx or Hispanic"):
        goes_on = {subject.reference.written(faces[0], text, lead + answer) for lead in ("", " ")}
        assert goes_on & set(family.answers(answer, family.render(text)))


# Free answers


def test_generate_equals_transformers_own(
    subject: Subject, faces: list[Image.Image], free: Callable[[str], LocalBackend]
) -> None:
    backend = free(subject.name)
    for question in asked(subject.folder)[:2]:
        together = subject.reference.generated(faces, question.text, MAX_NEW_TOKENS)
        alone = [subject.reference.generated([image], question.text, MAX_NEW_TOKENS)[0] for image in faces]
        assert [row[0].text for row in backend.answer(faces, [question])] == together
        assert [backend.answer([image], [question])[0][0].text for image in faces] == alone


def test_greedy_choice_equals_generate_where_the_model_says_labels(
    subject: Subject, faces: list[Image.Image], tmp_path: Path
) -> None:
    question = asked(subject.folder)[3]
    lessons = {said: Image.new("RGB", size, COLOURS[said]) for said, size in zip(COLOURS, SIZES, strict=True)}
    card = card_of(teach(subject.folder, tmp_path / "taught", question.text, lessons, steps=90))
    images = [*lessons.values(), *(image.resize((96, 64)) for image in lessons.values()), *faces]
    scored = LocalBackend(card, Options()).answer(images, [question])
    said = [row[0].text for row in LocalBackend(card, Options(decode="generate")).answer(images, [question])]
    assert said[: len(lessons)] == list(lessons)
    owners = {form: label for label, forms in enumerate(question.surface_forms) for form in forms}
    compared = [(row[0].choice, owners[text]) for text, row in zip(said, scored, strict=True) if text in owners]
    assert len(compared) >= len(lessons)
    assert all(choice == label for choice, label in compared)


# What the check at load finds


def family_class(name: str) -> type[Family]:
    found: type[Family] = load_class(families.family_of("paligemma" if name == "paligemma2" else name).path)
    return found


def ahead(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Every token sees every other."""
    return lambda *args: torch.ones_like(original(*args))


def apart(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Answers count on from one position too far."""

    def shifted(family: Family, ids: torch.Tensor, real: torch.Tensor, inputs: Any, trie: Any) -> torch.Tensor:
        found = original(family, ids, real, inputs, trie)
        behind = torch.arange(found.shape[-1]) >= ids.shape[1]
        return found + behind

    return shifted


WRONG = {"sight": ahead, "positions": apart}
# Florence-2's decoder counts by itself, so that there are no positions to get wrong.
MISREAD = [(n, m) for n in tiny.BUILDERS for m in WRONG if (n, m) != ("florence2", "positions")]


@pytest.mark.parametrize(("name", "method"), MISREAD)
def test_a_checkpoint_whose_scores_do_not_hold_answers_as_text(
    name: str,
    method: str,
    folder: Callable[[str], Path],
    free: Callable[[str], LocalBackend],
    faces: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, plain = family_class(name), free(name)
    monkeypatch.setattr(kind, method, WRONG[method](getattr(kind, method)))
    assert_falls_back(folder(name), plain, faces)


@pytest.mark.parametrize(("name", "kind"), [("paligemma", paligemma.PaliGemma), ("gemma3", gemma3.Gemma3)])
def test_a_picture_that_is_read_one_way_only_is_noticed(
    name: str,
    kind: type[Family],
    folder: Callable[[str], Path],
    free: Callable[[str], LocalBackend],
    faces: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = free(name)
    monkeypatch.setattr(kind, "prefix_sight", Family.prefix_sight)
    assert_falls_back(folder(name), plain, faces)


def assert_falls_back(path: Path, free: LocalBackend, faces: list[Image.Image]) -> None:
    backend = LocalBackend(card_of(path), Options())
    assert backend.info.decode == "generate"
    assert len(backend.info.notes) == 1
    assert "differ from those of its own forward pass" in backend.info.notes[0]
    questions = asked(path)[:2]
    assert free.info.notes == ()
    replies = backend.answer(faces, questions)
    assert replies == free.answer(faces, questions)
    assert all(reply.text is not None and reply.log_probs is None for row in replies for reply in row)


def test_more_tokens_than_the_model_looks_back_are_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    path = copied(folder("llava_next"), tmp_path / "near", sliding_window=16)
    with pytest.raises(ModelError, match=r"more than the 16 this model looks back.*Use decode='generate'"):
        LocalBackend(card_of(path), Options())
    assert LocalBackend(card_of(path), Options(decode="generate")).info.decode == "generate"


def test_bounded_logits_are_scored_as_the_model_bounds_them(tmp_path: Path, faces: list[Image.Image]) -> None:
    path = tiny.paligemma(tmp_path / "model", "gemma2", final_logit_softcapping=2.0, attn_logit_softcapping=1.0)
    subject = opened("paligemma2", path)
    assert subject.backend.info.decode == "score"
    assert_exact(subject, faces, asked(path)[:1])


def test_a_tower_without_a_token_for_the_whole_picture(tmp_path: Path, faces: list[Image.Image]) -> None:
    """LLaVA models on SigLIP take all of its tokens, as many as there are patches."""
    subject = opened("llava", tiny.llava(tmp_path / "llava", "siglip_vision_model", "full"))
    assert subject.backend.info.decode == "score"
    assert_exact(subject, faces, asked(subject.folder)[:1])


@pytest.mark.parametrize("name", ["paligemma", "internvl"])
def test_a_free_answer_that_holds_a_picture_token_does_not_end_the_check(
    name: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models with random weights, and models that were tuned badly, say such things."""
    kind = family_class(name)
    monkeypatch.setattr(kind, "generate_ids", lambda family, *_: torch.tensor([[7, family.image_token, 7]]))
    assert LocalBackend(card_of(folder(name)), Options()).info.decode == "score"


# Families that have no file here


@pytest.fixture
def generic(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], LocalBackend]:
    """Opens a checkpoint as one of an unknown family, with a composite processor in its folder.

    Gemma 3's decoder looks back over all of the prompt here: the generic scorer takes no other. The composite
    processors that want a video processor cannot be read from a folder without torchvision, so they are handed over.
    """

    def through_chat(name: str) -> LocalBackend:
        monkeypatch.delitem(families.FAMILIES, name)
        path = copied(folder(name), tmp_path / name, **({"sliding_window": 4096} if name == "gemma3" else {}))
        if PROCESSORS[name][1].get("video_processor"):
            monkeypatch.setattr(tf.AutoProcessor, "from_pretrained", lambda source, **_: processor_of(Path(source)))
        else:
            processor_of(path).save_pretrained(path)
        return LocalBackend(card_of(path), Options())

    return through_chat


@pytest.mark.parametrize("name", ["llava", "llava_next", "idefics3", "smolvlm", "internvl"])
def test_an_unknown_family_scores_like_its_own(
    name: str, generic: Callable[[str], LocalBackend], folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    questions = asked(folder(name))
    want = LocalBackend(card_of(folder(name)), Options())
    got = generic(name)
    assert (got.info.decode, got.info.notes) == ("score", ())
    assert_same(got.answer(faces, questions), want.answer(faces, questions))
    assert_same(
        [got.answer([image], questions)[0] for image in faces], [want.answer([image], questions)[0] for image in faces]
    )


@pytest.mark.parametrize("name", ["gemma3", "qwen2_5_vl", "qwen3_vl"])
def test_an_unknown_family_that_does_not_read_from_left_to_right_answers_as_text(
    name: str, generic: Callable[[str], LocalBackend], folder: Callable[[str], Path], faces: list[Image.Image]
) -> None:
    backend = generic(name)
    assert backend.info.decode == "generate"
    assert "differ from those of its own forward pass" in backend.info.notes[0]
    question = asked(folder(name))[0]
    want = open_reference(Path(backend.card.checkpoints["*"])).generated(faces, question.text, MAX_NEW_TOKENS)
    assert [row[0].text for row in backend.answer(faces, [question])] == want


@pytest.mark.parametrize("error", [TypeError, ValueError, RuntimeError, IndexError])
def test_an_unknown_family_that_cannot_be_scored_at_all_answers_as_text(
    error: type[Exception], generic: Callable[[str], LocalBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every model takes positions, or a mask of ours."""

    def refused(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise error("got an unexpected mask")

    monkeypatch.setattr(chat.Chat, "logits", refused)
    backend = generic("llava")
    assert backend.info.decode == "generate"
    assert len(backend.info.notes) == 1


# What a family cannot do


def test_a_family_that_was_tuned_for_tasks_wants_prompts(folder: Callable[[str], Path], tmp_path: Path) -> None:
    card, gender = card_of(folder("florence2")), get("gender")
    with pytest.raises(InputError, match=r"(?s)Florence-2.*facevlm\.json.*prompts=\{'gender'"):
        questions_for(card, [gender])
    [question] = questions_for(card, [gender], {"gender": "man or woman?"})
    [[reply]] = LocalBackend(card, Options()).answer([Image.new("RGB", (50, 40))], [question])
    assert reply.log_probs is not None
    shutil.copytree(folder("florence2"), tmp_path / "tuned")
    (tmp_path / "tuned" / "facevlm.json").write_text(json.dumps({"questions": {"gender": "man or woman?"}}))
    assert questions_for(card_of(tmp_path / "tuned"), [gender]) == [question]


def test_families_are_as_they_were(
    subject: Subject, faces: list[Image.Image], free: Callable[[str], LocalBackend], request: pytest.FixtureRequest
) -> None:
    """The same numbers in every supported release; --update-golden writes them."""
    question = asked(subject.folder)[0]
    said = free(subject.name).answer(faces[:2], [question])
    scored = subject.backend.answer(faces[:2], [question])
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}
    if request.config.getoption("--update-golden"):
        golden[subject.name] = [
            {"text": free[0].text, "log_probs": [round(value, 3) for value in row[0].log_probs or ()]}
            for free, row in zip(said, scored, strict=True)
        ]
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for answered, row, want in zip(said, scored, golden[subject.name], strict=True):
        assert answered[0].text == want["text"]
        assert row[0].log_probs == pytest.approx(want["log_probs"], abs=2e-3)
