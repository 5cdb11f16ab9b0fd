"""A plain network beside a vision-language model: applied, compared, and what it is not for."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

import facevlm
from facevlm.errors import FacevlmError
from tests.backends.networks import network

LEVELS = [10 + 20 * k for k in range(10)]
CARD = {
    "input": {"size": 8, "scale": 1.0},
    "attributes": {
        "gender": {"output": "gender", "labels": ["Female", "Male"]},
        "age5": {"output": "age", "gives": "years", "factor": 0.4},
    },
}
WEIGHTS = np.array([[0.01, -0.01, 1 / 3], [0.01, -0.01, 1 / 3], [0.01, -0.01, 1 / 3]], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network that takes light pictures for women, and the lighter, the older."""
    return network(tmp_path / "by-light", CARD, weights=WEIGHTS, outputs=[("gender", 0, 2), ("age", 2, 3)])


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples(
        [
            fo.Sample(filepath=path, gender=fo.Classification(label="Female" if k % 3 else "Male"), age=level // 2)
            for k, (path, level) in enumerate(zip(pictures, LEVELS, strict=True))
        ],
        progress=False,
    )
    return made


def test_a_network_is_applied_and_compared_with_a_model_of_words(dataset: fo.Dataset, folder: Path) -> None:
    name = f"onnx:{folder}"
    by_network = facevlm.apply(dataset, name, ["gender", "age5"], batch_size=4, progress=False)
    assert by_network.outcomes == {"gender": {"ok": 10}, "age5": {"ok": 10}}
    assert dataset.values("by_light_gender.label") == ["Female"] * 10
    ages = dataset.values("by_light_age5.label")
    assert ages == [
        "0-9" if v < 10 else "10-19" if v < 20 else "20-39" if v < 40 else "40-59" if v < 60 else "More than 60"
        for v in (0.4 * level for level in LEVELS)
    ]
    assert all(value > 0.5 for value in dataset.values("by_light_gender.confidence"))
    assert dataset.values("by_light_age5.confidence") == [None] * 10
    facevlm.apply(dataset, "demo", ["gender", "age5"], progress=False)
    gender, age = facevlm.compare(dataset, ["demo", "by_light"], ["gender", "age5"])
    [pair] = gender.pairs
    said = dataset.values("demo_gender.label")
    assert (pair.a, pair.b, pair.n) == ("demo", "by_light", 10)
    assert pair.agreement == pytest.approx(sum(label == "Female" for label in said) / 10)
    assert age.pairs[0].n == 10
    record = dataset.get_run_info("facevlm_by_light").config
    assert [entry["checkpoint"] for entry in record.identity] == [str(folder)]
    assert facevlm.apply(dataset, name, ["gender", "age5"], progress=False).asked == 0


def test_another_network_in_the_folder_is_another_model(dataset: fo.Dataset, folder: Path) -> None:
    facevlm.apply(dataset, f"onnx:{folder}", ["gender"], progress=False)
    facevlm.unload()
    network(folder, CARD, weights=-WEIGHTS, outputs=[("gender", 0, 2), ("age", 2, 3)])
    with pytest.raises(FacevlmError, match="by_light"):
        facevlm.apply(dataset, f"onnx:{folder}", ["gender"], progress=False)
    facevlm.apply(dataset, f"onnx:{folder}", ["gender"], overwrite=True, progress=False)
    assert dataset.values("by_light_gender.label") == ["Male"] * 10


def test_a_single_face_is_tried(dataset: fo.Dataset, folder: Path) -> None:
    [gender] = facevlm.try_one(dataset, f"onnx:{folder}", ["gender"])
    assert gender.prediction.label == "Female"
    assert sum(gender.shares.values()) == pytest.approx(1.0)
    assert gender.text is None


def test_what_needs_words_says_so(dataset: fo.Dataset, folder: Path) -> None:
    name = f"onnx:{folder}"
    for call, said in (
        (lambda: facevlm.apply(dataset, name, ["race7"]), "answers age5, gender; got 'race7'"),
        (lambda: facevlm.apply(dataset, name, ["gender"], prompts={"gender": "who?"}), "asked nothing in words"),
        (lambda: facevlm.probe(dataset, name, ["gender"]), "says nothing in words"),
        (lambda: facevlm.sensitivity(dataset, name, ["gender"]), "asked nothing in words"),
        (lambda: facevlm.describe(dataset, name, ["gender"]), "onnx:"),
    ):
        with pytest.raises(FacevlmError, match=said):
            call()
