"""Plain networks through onnxruntime, against sums done here; and cards and networks from anybody."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto
from PIL import Image

import facevlm
from facevlm.attributes import define, get
from facevlm.backends import Backend, Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.errors import FacevlmError, InputError, ModelError
from facevlm.parsing import predict
from facevlm.types import Attribute, Face, Prediction, Reply
from tests.backends.networks import SIDE, matrix, network, told
from tests.project import section

FACE = Face("a", "a.jpg")
RACES = ["White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"]
AGES = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FAIRFACE = {
    "input": {"mean": MEAN, "std": STD},
    "attributes": {
        "race7": {"slice": [0, 7], "labels": RACES},
        "gender": {"slice": [7, 9], "labels": ["Male", "Female"]},
        "age9": {"slice": [9, 18], "labels": AGES},
    },
}
GENDER = {"attributes": {"gender": {"labels": ["Male", "Female"]}}}
PICTURES = [Image.new("RGB", size, colour) for size, colour in (((8, 8), (250, 40, 90)), ((31, 17), (10, 200, 60)))]


def opened(folder: Path, **options: Any) -> Backend:
    facevlm.unload()
    return open_backend(f"onnx:{folder}", Options(**options))


def asked(
    folder: Path, *attributes: Attribute, pictures: list[Image.Image] = PICTURES, **options: Any
) -> list[list[Reply]]:
    questions = questions_for(find(f"onnx:{folder}"), list(attributes))
    return opened(folder, **options).answer(pictures, questions)


def read(folder: Path, attribute: Attribute, pictures: list[Image.Image] = PICTURES) -> list[Prediction]:
    [question] = questions_for(find(f"onnx:{folder}"), [attribute])
    return [predict(FACE, question, row[0]) for row in asked(folder, attribute, pictures=pictures)]


def colour(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(picture.getpixel((0, 0)), dtype=np.float64)


def softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    grown = np.exp(values - values.max())
    return np.asarray(grown / grown.sum())


def approx(values: Any) -> Any:
    return pytest.approx(list(np.log(values)), abs=1e-4)


# What networks give


def test_the_eighteen_numbers_of_fairface_are_three_attributes(tmp_path: Path) -> None:
    weights = matrix(18)
    folder = network(tmp_path / "fairface", FAIRFACE, weights=weights)
    rows = asked(folder, get("gender"), get("race7"), get("age9"))
    for picture, row in zip(PICTURES, rows, strict=True):
        numbers = ((colour(picture) / 255 - MEAN) / STD) @ weights
        assert row[0].log_probs == approx(softmax(numbers[7:9]))
        order = [RACES.index(name) for name in ("Black", "East Asian", "Indian", "Latino_Hispanic")]
        assert row[1].log_probs[:4] == approx(softmax(numbers[:7])[order])  # type: ignore[index]
        assert row[2].log_probs == approx(softmax(numbers[9:]))
        made = predict(FACE, questions_for(find(f"onnx:{folder}"), [get("gender")])[0], row[0])
        assert (made.outcome, made.label) == ("ok", ["Male", "Female"][int(numbers[7:9].argmax())])
        assert made.coverage == pytest.approx(1.0)
        assert made.confidence == pytest.approx(softmax(numbers[7:9]).max(), abs=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_pictures_are_shown_as_the_card_says(layout: str, channels: str, tmp_path: Path) -> None:
    weights = matrix(2, len(channels))
    card = {**GENDER, "input": {"layout": layout, "channels": channels, "scale": 0.01, "mean": 0.3, "std": 2}}
    folder = network(tmp_path, card, weights=weights, layout=layout)
    for picture, [reply] in zip(PICTURES, asked(folder, get("gender")), strict=True):
        seen = colour(picture.convert("L") if channels == "L" else picture).reshape(-1)
        seen = seen[::-1] if channels == "BGR" else seen
        assert reply.log_probs == approx(softmax(((seen * 0.01 - 0.3) / 2) @ weights))


def test_a_network_of_whole_numbers_gets_the_pixels_themselves(tmp_path: Path) -> None:
    weights = matrix(2) / np.float32(255)
    folder = network(tmp_path, GENDER, weights=weights, kind=TensorProto.UINT8)
    for picture, [reply] in zip(PICTURES, asked(folder, get("gender")), strict=True):
        assert reply.log_probs == approx(softmax(colour(picture) @ weights))


def test_probabilities_are_taken_as_they_are(tmp_path: Path) -> None:
    weights = matrix(2)
    card = {"attributes": {"gender": {"labels": ["Female", "Male"], "gives": "probabilities"}}}
    folder = network(tmp_path, card, weights=weights, after=["Softmax"])
    for picture, [reply] in zip(PICTURES, asked(folder, get("gender")), strict=True):
        assert reply.log_probs == approx(softmax(colour(picture) / 255 @ weights)[::-1])


def test_several_of_its_labels_may_be_one(tmp_path: Path) -> None:
    weights = matrix(3)
    folder = network(tmp_path, {"attributes": {"gender": {"labels": ["Male", "man", "Female"]}}}, weights=weights)
    for picture, [reply] in zip(PICTURES, asked(folder, get("gender")), strict=True):
        shares = softmax(colour(picture) / 255 @ weights)
        assert reply.log_probs == approx([shares[0] + shares[1], shares[2]])


MIVOLO = {
    "attributes": {
        "gender": {"output": "both", "slice": [0, 2], "labels": ["Male", "Female"]},
        "age5": {"output": "both", "slice": [2, 3], "gives": "years", "factor": 10, "offset": 45},
    }
}


def test_an_age_in_years_is_the_label_of_its_group_without_a_probability(tmp_path: Path) -> None:
    weights = matrix(3)
    folder = network(tmp_path, MIVOLO, weights=weights, outputs=[("both", 0, 3), ("more", 1, 2)])
    for picture, made in zip(PICTURES, read(folder, get("age5")), strict=True):
        years = float((colour(picture) / 255 @ weights)[2]) * 10 + 45
        index = sum(years >= edge for edge in (0, 10, 20, 40, 60)) - 1
        assert (made.outcome, made.label, made.confidence) == ("ok", get("age5").labels[index], None)


@pytest.mark.parametrize(
    ("offset", "edges", "outcome", "said"),
    [
        (-3.0, [0, 10, 20, 40, 60], "ok", "0-9"),
        (9.99, [0, 10, 20, 40, 60], "ok", "0-9"),
        (10.0, [0, 10, 20, 40, 60], "ok", "10-19"),
        (96.0, [0, 10, 20, 40, 60], "ok", "More than 60"),
        (96.0, [0, 10, 20, 40, 60, 90], "unparsed", "96.0 years"),
        (3.0, [5, 10, 20, 40, 60], "unparsed", "3.0 years"),
        (1e6, [0, 10, 20, 40, 60], "failed", "see 'factor' and 'offset' in its card"),
    ],
)
def test_ages_at_the_edges_of_groups(offset: float, edges: list[int], outcome: str, said: str, tmp_path: Path) -> None:
    card = {"attributes": {"age5": {"gives": "years", "offset": offset, "edges": edges}}}
    folder = network(tmp_path, card, weights=np.zeros((3, 1), np.float32))
    made = read(folder, get("age5"))[0]
    assert made.outcome == outcome
    assert said in str(made.label or made.reason)


def test_a_number_for_each_year_is_summed_by_group(tmp_path: Path) -> None:
    weights = matrix(81)
    card = {"attributes": {"age5": {"edges": [0, 10, 20, 40, 60], "gives": "probabilities"}}}
    folder = network(tmp_path, card, weights=weights, after=["Softmax"])
    for picture, [reply] in zip(PICTURES, asked(folder, get("age5")), strict=True):
        shares = softmax(colour(picture) / 255 @ weights)
        assert reply.log_probs == approx(
            [shares[a:b].sum() for a, b in ((0, 10), (10, 20), (20, 40), (40, 60), (60, 81))]
        )


def test_years_in_no_group_are_not_covered(tmp_path: Path) -> None:
    card = {"attributes": {"age5": {"edges": [10, 20, 30, 40, 50], "gives": "logits"}}}
    folder = network(tmp_path, card, weights=np.zeros((3, 100), np.float32))
    assert read(folder, get("age5"))[0].coverage == pytest.approx(0.9)


def test_the_cards_of_the_documentation_fit_networks_of_their_shapes(tmp_path: Path) -> None:
    text = section("docs/models.md", "A plain network beside a VLM")
    cards = [
        yaml.safe_load(card) for part in text.split("```yaml\n")[1:] for card in part.split("```")[0].split("---\n")
    ]
    widths = (18, 3, 2, 81)
    for k, (card, width) in enumerate(zip(cards, widths, strict=True)):
        side = card["input"]["size"][0]
        after = ["Softmax"] if "probabilities" in str(card) else []
        folder = network(tmp_path / str(k), card, weights=matrix(width) / np.float32(9), side=side, after=after)
        for name in card["attributes"]:
            assert [made.outcome for made in read(folder, get(name))] == ["ok", "ok"]


# How it is asked


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("side", [SIDE, "s"])
def test_batches_of_any_kind_give_the_same(batch: int | str, side: int | str, tmp_path: Path) -> None:
    card = {**GENDER, "input": {"size": [SIDE, SIDE]}}
    many = [Image.new("RGB", (5 + k, 9), (k * 20, 90, 255 - k * 20)) for k in range(7)]
    alike = network(tmp_path / "alike", card, weights=matrix(2))
    folder = network(tmp_path / "other", card, weights=matrix(2), batch=batch, side=side)
    rows = asked(folder, get("gender"), pictures=many)
    assert [row[0].log_probs for row in rows] == [
        pytest.approx(asked(alike, get("gender"), pictures=[one])[0][0].log_probs, abs=1e-6) for one in many
    ]
    assert asked(folder, get("gender"), pictures=[]) == []


def test_a_batch_of_one_inside_is_found_out(tmp_path: Path) -> None:
    folder = network(tmp_path, GENDER, weights=matrix(2), inside=1)
    assert all(row[0].error is None for row in asked(folder, get("gender")))


def test_a_number_that_is_none_fails_alone(tmp_path: Path) -> None:
    weights = np.array([[1, 1], [0, 0], [0, 0]], np.float32)
    card = {**GENDER, "input": {"mean": 0.5}}
    folder = network(tmp_path, card, weights=weights, after=["Sqrt"])
    made = read(folder, get("gender"))
    assert (made[0].outcome, made[1].outcome) == ("ok", "failed")
    assert "the network gave nan for gender" in str(made[1].reason)


def test_it_is_known_by_its_file_and_its_card(tmp_path: Path) -> None:
    folder = network(tmp_path / "n", GENDER, weights=matrix(2))
    info = opened(folder).info
    [digest] = info.identity.values()
    assert (info.decode, info.dtype, info.device, info.decision) == ("score", "float", "cpu", "greedy")
    assert (info.picture and (info.picture.height, info.picture.width)) == (SIDE, SIDE)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert opened(folder).info.identity == info.identity
    assert opened(folder).info.stated == ({"checkpoint": str(folder), "licence": "mit"},)
    told(folder, {**GENDER, "input": {"channels": "BGR"}})
    assert opened(folder).info.identity != info.identity
    told(folder, GENDER)
    network(folder, GENDER, weights=matrix(2, seed=1))
    assert opened(folder).info.identity != info.identity
    assert digest


def test_a_card_of_json_is_read_too_and_says_the_margin(tmp_path: Path) -> None:
    folder = network(tmp_path, weights=matrix(2))
    told(folder, {**GENDER, "margin": 0.5, "licence": "CC BY 4.0", "file": "net.onnx"}, "facevlm.json")
    card = find(f"onnx:{folder}")
    assert (card.crop().margin, card.licence, card.answers("race7"), card.is_here()) == (0.5, "CC BY 4.0", False, True)
    card.check_here()
    assert asked(folder, get("gender"))[0][0].log_probs is not None


# From anybody

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no attributes": ({}, "got no attributes"),
    "no labels": ({"attributes": {"gender": {}}}, "gender: expected labels, one for each number"),
    "labels of years": ({"attributes": {"age5": {"gives": "years", "labels": ["a"]}}}, "age5: got labels for years"),
    "another width": (
        {"attributes": {"gender": {"labels": ["Male", "Female", "man"]}}},
        "its output has 2 numbers, expected 3 for gender",
    ),
    "a slice beyond": (
        {"attributes": {"gender": {"slice": [1, 3], "labels": ["Male", "Female"]}}},
        "its output has 2 numbers, expected 2 from 1 on for gender",
    ),
    "a slice of another width": (
        {"attributes": {"gender": {"slice": [0, 1], "labels": ["Male", "Female"]}}},
        "got a slice of 1 numbers, expected 2",
    ),
    "a strange slice": (
        {"attributes": {"gender": {"slice": "all", "labels": ["a"]}}},
        "slice: got a str, expected a list",
    ),
    "unknown keys": ({**GENDER, "attribute": 1}, "unknown keys attribute; known:"),
    "an unknown kind": ({"attributes": {"gender": {"labels": ["a"], "gives": "odds"}}}, "expected one of logits, prob"),
    "an unknown output": (
        {"attributes": {"gender": {"output": "x", "labels": ["Male", "Female"]}}},
        "its card has output 'x', expected one of scores",
    ),
    "an unknown input": ({**GENDER, "input": {"name": "x"}}, "it takes pixels, expected one input 'x'"),
    "another size": ({**GENDER, "input": {"size": 16}}, "its card says 16 x 16 pixels, expected 8 x 8"),
    "a huge size": ({**GENDER, "input": {"size": 10**9}}, "size: got 1000000000, expected height and width"),
    "a deviation of 0": ({**GENDER, "input": {"std": 0}}, "std: got 0, expected one number"),
    "two means": ({**GENDER, "input": {"mean": [1, 2]}}, "mean: got"),
    "a mean that is none": ({**GENDER, "input": {"mean": [math.nan] * 3}}, "mean: got nan, expected a number"),
    "other channels": (
        {**GENDER, "input": {"channels": "L"}},
        r"it takes 3 channels as NCHW, expected 1 \(L\)",
    ),
    "edges that fall": ({"attributes": {"age5": {"edges": [9, 3]}}}, "expected ages that rise"),
    "no probabilities": (
        {"attributes": {"gender": {"labels": ["Male", "Female"], "gives": "probabilities"}}},
        "its output for gender adds up to .*; expected 1, or 'gives: logits'",
    ),
    "another file": ({**GENDER, "file": "../x.onnx"}, "got '../x.onnx' beside it, expected one file"),
    "a file that is gone": ({**GENDER, "file": "x.onnx"}, "got 'x.onnx' beside it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_card_is_one_sentence(case: str, tmp_path: Path) -> None:
    card, said = WRONG[case]
    folder = network(tmp_path, card, weights=matrix(2))
    with pytest.raises(ModelError, match=said) as caught:
        opened(folder)
    assert "xpected" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[", "- a", "a: &a [*a]", "\x00", "input: 2024-13-45", "a" * 2**21])
def test_a_card_that_is_none_is_one_sentence(text: str, tmp_path: Path) -> None:
    folder = network(tmp_path, weights=matrix(2))
    (folder / "card.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"card\.yaml is not the card of a network") as caught:
        find(f"onnx:{folder}")
    assert "\n" not in str(caught.value)


def holding(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (holding("net.onnx", b"no network"), "cannot be opened as a network: .*Expected a file of the ONNX format"),
        (holding("net.onnx", b""), "cannot be opened as a network"),
        (holding("more.onnx", b""), r"got 2 files \*\.onnx beside it"),
        (lambda folder: (folder / "net.onnx").unlink(), r"got 0 files \*\.onnx"),
        (lambda folder: (folder / "card.yaml").unlink(), r"there is no card \(facevlm\.json or card\.yaml\)"),
    ],
)
def test_a_folder_that_is_none_of_a_network(change: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    folder = network(tmp_path, GENDER, weights=matrix(2))
    change(folder)
    with pytest.raises(ModelError, match=said):
        opened(folder)


@pytest.mark.parametrize("name", ["onnx:", "onnx:/nowhere/at/all"])
def test_no_folder_is_said(name: str) -> None:
    with pytest.raises((InputError, ModelError), match="expected"):
        open_backend(name)


def test_what_it_is_not_asked(tmp_path: Path) -> None:
    folder = network(tmp_path, GENDER, weights=matrix(2))
    name, backend = f"onnx:{folder}", opened(folder)
    other = define("gender", ["old", "young"], "how old?")
    for call, said in (
        (lambda: questions_for(find(name), [get("age5")]), f"Model '{name}' answers gender; got 'age5'"),
        (lambda: questions_for(find(name), [get("gender")], {"gender": "who?"}), "which is asked nothing in words"),
        (lambda: backend.check(questions_for(find(name), [other])), "The network's labels for gender are Male, Female"),  # type: ignore[attr-defined]
        (lambda: opened(folder, decode="generate"), "which has no words; expected 'score'"),
        (lambda: find(name, "org/adapter"), "takes no adapter"),
        (lambda: opened(folder, device="tpu"), "Got device 'tpu', which onnxruntime cannot use here; expected cpu"),
    ):
        with pytest.raises(FacevlmError, match=said):
            call()


def test_ages_need_edges(tmp_path: Path) -> None:
    own = define("generation", ["young", "old"], "how old?")
    card = {"attributes": {"generation": {"gives": "years"}}}
    folder = network(tmp_path, card, weights=matrix(1))
    with pytest.raises(ModelError, match=r"begin at ages that are not known\. Expected 'edges' in the card"):
        asked(folder, own)


def test_without_onnxruntime_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = network(tmp_path, GENDER, weights=matrix(2))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=r'Run: pip install "facevlm\[onnx\]"'):
        opened(folder)
