"""The demo's evaluation as a file, in which any change of model, scoring or tables shows; --update-golden writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

import facevlm
from facevlm import report, sources

GOLDEN = Path(__file__).parent / "golden" / "demo_evaluation.txt"
ATTRIBUTES = ["gender", "age5", "race5", "emotion7"]


def test_the_demos_evaluation_is_as_it_was(dataset_name: str, request: pytest.FixtureRequest) -> None:
    dataset = sources.sample_faces(dataset_name)
    facevlm.apply(dataset, "demo", ATTRIBUTES, progress=False)
    text = report.text(facevlm.evaluate(dataset, ATTRIBUTES).evaluations)
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
