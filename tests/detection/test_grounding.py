"""Answers with places: golden strings, two tiny checkpoints against transformers, and a model played by a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facevlm.backends import BackendInfo, Options, open_backend
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.detection import DETECTORS, Explaining, Looked, Search, look, open_detector
from facevlm.detection.grounding import DIALECTS, Grounder, read
from facevlm.errors import FacevlmError, InputError, ModelError, UnknownName
from facevlm.types import Reply
from tests.backends import tiny
from tests.backends.forcing import processor_of

LONG = 24
BUILD = {"paligemma": tiny.paligemma, "florence2": tiny.florence2}
GOLDEN = {
    "paligemma": "<loc0256><loc0128><loc0512><loc0384> face ; <loc0000><loc0512><loc1023><loc1023> face",
    "florence2": "human face<loc_128><loc_256><loc_384><loc_512><loc_0><loc_500><loc_999><loc_999>",
}


class Scripted:
    """A model at the boundary that says what a test tells it to; keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.info = BackendInfo("scripted", {"scripted": "1"}, "cpu", "none", "generate")
        self._replies, self.asked = replies, [""]

    def spell(self, images: Sequence[Image.Image], text: str, max_new_tokens: int) -> list[Reply]:
        self.asked.append(text)
        return [reply for _, reply in zip(images, self._replies, strict=True)]


def said(text: str, family: str = "paligemma", phrase: str = "face", *, cut_off: bool = False) -> Looked:
    return read(Reply(text=text, malformed=cut_off), DIALECTS[family], phrase)


def boxes(seen: Looked) -> list[tuple[float, ...]]:
    return [face.box_xywh_rel for face in seen.faces]


def test_paligemma_says_top_left_bottom_right_in_1024ths() -> None:
    seen = said(GOLDEN["paligemma"])
    assert boxes(seen) == [(0.125, 0.25, 0.25, 0.25), (0.5, 0.0, 1023 / 1024 - 0.5, 1023 / 1024)]
    assert (seen.outcome, seen.reason, seen.text) == ("ok", None, GOLDEN["paligemma"])
    assert [(f.confidence, f.landmarks_xy_rel) for f in seen.faces] == [(None, None)] * 2


def test_florence_reads_as_transformers_does(tmp_path: Path) -> None:
    processor = processor_of(tiny.florence2(tmp_path, places=True))
    size = (2000, 1000)
    parser = processor.post_processor.parse_description_with_bboxes_from_text_and_spans
    want = parser(f"</s><s>{GOLDEN['florence2']}</s>", image_size=size)
    seen = said(GOLDEN["florence2"], "florence2", "human face")
    got = [[int(v) for v in (x * 2000, y * 1000, (x + w) * 2000, (y + h) * 1000)] for x, y, w, h in boxes(seen)]
    assert len(got) == len(want) == 2
    assert np.abs(np.array(got) - [one["bbox"] for one in want]).max() <= 1
    assert processor._construct_prompts("<OPEN_VOCABULARY_DETECTION>human face") == [
        DIALECTS["florence2"].prompt.format(phrase="human face")
    ]


@pytest.mark.parametrize("family", BUILD)
def test_an_empty_answer_is_no_face(family: str) -> None:
    assert said("", family) == Looked((), "no_face", "no face was found", "")


@pytest.mark.parametrize(
    ("family", "text", "reason"),
    [
        ("paligemma", "there is no face", "cannot be read: 'there is no face'"),
        ("paligemma", "<loc0256><loc0128><loc0512> face", "cannot be read"),
        ("paligemma", "<loc0256><loc0128><loc0512><loc0384><loc0001> face", "cannot be read"),
        ("paligemma", "<loc0256><loc0128><loc0512><loc1024> face", "cannot be read"),
        ("paligemma", "<loc0512><loc0128><loc0256><loc0384> face", "cannot be read"),
        ("paligemma", "<loc0256><loc0128><loc0256><loc0384> face", "cannot be read"),
        ("paligemma", "<loc0256><loc0128><loc0512><loc0384>", "cannot be read"),
        ("paligemma", "<loc0256><loc0128><loc0512><loc0384> cat", "names something else: 'cat'"),
        ("florence2", "face", "cannot be read: 'face'"),
        ("florence2", "face<loc_1><loc_2><loc_3>", "cannot be read"),
        ("florence2", "face<loc_1><loc_2><loc_30><loc_40><loc_5>", "cannot be read"),
        ("florence2", "face<loc_30><loc_2><loc_1><loc_40>", "cannot be read"),
        ("florence2", "<loc_1><loc_2><loc_30><loc_40>", "cannot be read"),
        ("florence2", "face<poly><loc_1><loc_2><loc_30><loc_40></poly>", "cannot be read"),
        ("florence2", "cat<loc_1><loc_2><loc_30><loc_40>", "names something else: 'cat'"),
    ],
)
def test_what_cannot_be_read_is_said_and_no_box_is_made_of_it(family: str, text: str, reason: str) -> None:
    seen = said(text, family)
    assert (seen.outcome, seen.faces, seen.text) == ("unparsed", (), text)
    assert reason in (seen.reason or "")


def test_whole_places_of_a_damaged_answer_are_kept_and_the_rest_is_told() -> None:
    whole = "<loc0256><loc0128><loc0512><loc0384> face"
    seen = said(f"{whole} ; {whole} ; <loc0001><loc0002>", cut_off=True)
    assert (boxes(seen), seen.outcome) == ([(0.125, 0.25, 0.25, 0.25)], "ok")
    assert seen.reason == "2 of the answer's parts left out; the first cannot be read: '<loc0001><loc0002>'"
    assert said("", cut_off=True).outcome == "unparsed"
    assert len(said("x" * 500).reason or "") < 200


def test_a_phrase_may_lose_its_article() -> None:
    phrase = "The person wearing a head scarf"
    seen = said("person wearing head scarf<loc_100><loc_200><loc_300><loc_400>", "florence2", phrase)
    assert boxes(seen)[0] == pytest.approx((0.1005, 0.2005, 0.2, 0.2))


TOKENS = st.sampled_from(
    ["<loc0001>", "<loc0900>", "<loc_1>", "<loc_900>", "<s>", "<loc_", "face", "cat", ";", " ", "<"]
)


@given(st.lists(TOKENS, max_size=30).map("".join), st.sampled_from(list(BUILD)), st.booleans())
def test_any_answer_ends_as_an_outcome(text: str, family: str, cut_off: bool) -> None:
    seen = said(text, family, cut_off=cut_off)
    assert (seen.outcome == "ok") == bool(seen.faces)
    assert seen.outcome == "ok" or seen.reason
    for x, y, w, h in boxes(seen):
        assert x >= 0 <= y
        assert w > 0 < h
        assert x + w < 1 > y + h


def test_faces_and_phrases_are_asked_for_in_the_families_own_words() -> None:
    picture = Image.new("RGB", (1024, 512))
    model = Scripted(Reply(text=GOLDEN["paligemma"]))
    detector = Grounder("paligemma", backend=model)
    assert isinstance(detector, Explaining)
    assert len(detector.detect([picture])[0]) == 2
    assert detector.ground([picture], "  the man in a hat ") == [[]]
    assert model.asked[1:] == ["detect face", "detect the man in a hat"]
    florence = Scripted(Reply(text=GOLDEN["florence2"]))
    assert len(Grounder("florence-2", backend=florence).detect([picture])[0]) == 2
    assert florence.asked[1:] == ["Locate human face in the image."]
    assert detector.look([]) == []


def test_every_picture_has_its_own_outcome() -> None:
    replies = [Reply(text=GOLDEN["paligemma"]), Reply(text=""), Reply(text="what?"), Reply(error="lost")]
    pictures = [Image.new("RGB", (1024, 512))] * 4
    seen = look(Grounder("paligemma", backend=Scripted(*replies)), pictures)
    assert [one.outcome for one in seen] == ["ok", "no_face", "unparsed", "failed"]
    assert seen[3].reason == "lost"


def test_size_and_number_can_be_limited_and_are_part_of_the_identity() -> None:
    picture = Image.new("RGB", (1024, 512))

    def searched(**options: Any) -> tuple[list[tuple[float, ...]], str]:
        detector = Grounder("paligemma", Search(**options), backend=Scripted(Reply(text=GOLDEN["paligemma"])))
        return boxes(detector.look([picture])[0]), detector.info.identity

    (every, usual), (one, fewer), (large, larger) = searched(), searched(max_faces=1), searched(min_face_px=129)
    assert (one, large) == (every[:1], every[1:])
    assert len({usual, fewer, larger}) == 3
    assert searched()[1] == usual
    assert searched(min_face_px=4000)[0] == []


@pytest.mark.parametrize("phrase", ["", "  ", "a ; b", "<loc0001>", "two\nlines"])
def test_phrases_that_would_change_the_question_are_refused(phrase: str) -> None:
    with pytest.raises(InputError, match="expected a few words"):
        Grounder("paligemma", backend=Scripted()).ground([Image.new("RGB", (8, 8))], phrase)


@pytest.mark.parametrize(
    ("model", "search", "error", "message"),
    [
        ("paligemma", Search(tiles="on"), InputError, "looks at a picture as a whole"),
        ("paligemma", Search(min_confidence=0.5), InputError, "gives no confidences"),
        ("llava-next", Search(), ModelError, "does not answer with places.*'llava_next'"),
        ("facescan", Search(), ModelError, "expected one checkpoint"),
        ("gpt-4o", Search(), ModelError, "does not answer with places"),
        ("paligema", Search(), UnknownName, "Did you mean"),
    ],
)
def test_models_and_searches_that_do_not_fit_are_refused(
    model: str, search: Search, error: type[FacevlmError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Grounder(model, search)


@pytest.mark.parametrize(("family", "name"), [("paligemma", "paligemma"), ("florence2", "florence-2")])
def test_a_checkpoint_is_asked_as_transformers_asks_it(family: str, name: str, tmp_path: Path) -> None:
    folder = BUILD[family](tmp_path, places=True)
    pictures = [Image.open(r.filepath).convert("RGB") for r in samples.read("group")[:3]]
    detector = open_detector(name, Search(weights=f"hf:{folder}"))
    assert name in DETECTORS
    assert isinstance(detector, Grounder)
    backend = open_backend(f"hf:{folder}")
    assert isinstance(backend, LocalBackend)
    prompt = DIALECTS[family].prompt.format(phrase=DIALECTS[family].face)
    got = backend.spell(pictures, prompt, LONG)
    assert [reply.text for reply in got] == [generated(folder, family, picture, prompt) for picture in pictures]
    assert any("<loc" in (reply.text or "") for reply in got)
    seen = Grounder(f"hf:{folder}", options=Options(dtype="float32"), max_new_tokens=LONG).look(pictures)
    assert [one.text for one in seen] == [reply.text for reply in got]
    assert all(one.outcome in ("ok", "unparsed", "no_face") for one in seen)
    assert "neither confidence nor landmarks" in detector.info.notes[-1]
    written = backend._loaded[str(folder)].family
    ids = [*written.tokenizer(GOLDEN[family], add_special_tokens=False)["input_ids"], written.ends[0]]
    padded = torch.tensor([[*ids, written.tokenizer.pad_token_id], [*ids[:-1], *ids[:2]]])
    (whole, ended), (_, also) = written.spell(padded)
    assert (whole, ended, also) == (GOLDEN[family], True, False)


def test_an_answer_without_end_stops_where_the_decoder_has_no_positions(tmp_path: Path) -> None:
    """The tiny decoder has 256 of them, and 512 tokens are allowed."""
    grounder = Grounder(f"hf:{tiny.florence2(tmp_path, places=True)}", options=Options(dtype="float32"))
    [seen] = grounder.look([Image.new("RGB", (64, 64), (200, 90, 30))])
    assert seen.outcome == "unparsed"
    assert "of the answer's parts left out" in (seen.reason or "")


def generated(folder: Path, family: str, picture: Image.Image, prompt: str) -> str:
    """What transformers' own processor and model make of a prompt, special tokens kept, up to the end token."""
    processor = processor_of(folder)
    model = tf.AutoModelForImageTextToText.from_pretrained(folder).eval()
    text = f"<image>{prompt}" if family == "paligemma" else prompt
    inputs = processor(text=text, images=picture, return_tensors="pt")
    inputs = {k: v for k, v in inputs.items() if k != "labels"}
    forced = int(family == "florence2")
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "no_repeat_ngram_size": 0}
    if forced:
        options["early_stopping"] = False
    out = model.generate(**inputs, max_new_tokens=LONG + forced, **options)[0]
    new = out[1 + forced :] if forced else out[inputs["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(new[: LONG + forced])).split(processor.tokenizer.eos_token)[0].strip()
