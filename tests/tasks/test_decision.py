"""Two ways from scores to a label, with a real untuned decoder: greedy token by token, and the most probable label."""

from __future__ import annotations

import fiftyone as fo
import pytest

import facevlm
from facevlm.errors import FacevlmWarning
from facevlm.store import runs
from facevlm.tasks import sources
from tests.backends import tiny

ATTRIBUTE, LABELS = "age5", ("0-9", "10-19", "20-39", "40-59", "More than 60")


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{tiny.paligemma(tmp_path_factory.mktemp('untuned'))}"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources.sample_faces(dataset_name)


def most_probable(dataset: fo.Dataset, field: str) -> list[str]:
    """By the stored log-probabilities, computed once more."""
    found = []
    for logits in dataset.values(f"{field}.logits"):
        shares = list(logits)
        found.append(LABELS[shares.index(max(shares))])
    return found


def test_both_ways_are_stored_counted_and_told_apart(faces: fo.Dataset, untuned: str) -> None:
    with pytest.warns(FacevlmWarning, match="greedy decoding takes another label"):
        facevlm.apply(faces, untuned, [ATTRIBUTE], prefix="usual", progress=False)
    result = facevlm.apply(faces, untuned, [ATTRIBUTE], prefix="greedy", decision="greedy", progress=False)
    usual, greedy = faces.values("usual_age5.label"), faces.values("greedy_age5.label")
    likeliest = most_probable(faces, "usual_age5")
    assert usual == likeliest
    differing = sum(a != b for a, b in zip(greedy, likeliest, strict=True))
    assert differing > 0
    for prefix in ("usual", "greedy"):
        assert runs.read(faces, runs.run_key(prefix))["differing"] == {ATTRIBUTE: differing}
    assert any(said.startswith(f"{ATTRIBUTE}: of {differing} of 96 answers") for said in result.warnings)
    assert [runs.read(faces, runs.run_key(p))["backend"]["decision"] for p in ("usual", "greedy")] == [
        "probable",
        "greedy",
    ]


def test_answers_decided_otherwise_are_not_taken_for_these(faces: fo.Dataset, untuned: str) -> None:
    few = faces.limit(4)
    facevlm.apply(few, untuned, [ATTRIBUTE], prefix="x", progress=False)
    with pytest.raises(facevlm.FacevlmError, match="overwrite"):
        facevlm.apply(faces, untuned, [ATTRIBUTE], prefix="x", decision="greedy", progress=False)
