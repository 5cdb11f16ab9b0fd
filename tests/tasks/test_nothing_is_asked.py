"""A question of which nothing can be seen is refused, wherever it is given, before anything is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends import Remote
from facevlm.backends.remote import templates
from facevlm.errors import InputError
from facevlm.types import Attribute
from tests.scripted import ScriptedBackend
from tests.tasks.test_provenance import always

BLANK = ["", "  ", "\n\t", "\u200b"]
HAT = Attribute("hat", ("yes", "no"), " ")


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize(
    "call",
    [
        lambda d, m, blank: facevlm.apply(d, m, ["gender"], prompts={"gender": blank}),
        lambda d, m, blank: facevlm.probe(d, m, ["gender"], prompts={"gender": blank}),
        lambda d, m, blank: facevlm.sensitivity(d, m, ["gender"], paraphrases={"gender": ["Man or woman?", blank]}),
        lambda d, m, blank: facevlm.batch.submit(
            d, "openai:m", ["gender"], prompts={"gender": blank}, base_url="http://127.0.0.1:9"
        ),
        lambda d, m, blank: facevlm.describe(d, "openai:m", ["gender"], who=blank, base_url="http://127.0.0.1:9"),
        lambda d, m, blank: facevlm.ask(d, blank),
    ],
    ids=["apply", "probe", "sensitivity", "batch", "describe", "ask"],
)
def test_blank_words(dataset: fo.Dataset, call: Callable[..., Any], blank: str) -> None:
    model = ScriptedBackend(always("Male"))
    with pytest.raises(InputError, match=r"(?s)Got .*expected"):
        call(dataset, model, blank)
    assert model.asked == 0
    assert dataset.list_runs() == []


def test_an_attribute_without_a_question(dataset: fo.Dataset) -> None:
    model = ScriptedBackend(always("yes"))
    with pytest.raises(InputError, match=r"Attribute 'hat': got no question"):
        facevlm.apply(dataset, model, [HAT])
    assert facevlm.apply(dataset, model, [HAT], prompts={"hat": "Is there a hat?"}, progress=False).asked == 10


@pytest.mark.parametrize("question", ["' '", "", "3"])
def test_a_wording_of_ones_own_without_a_question(tmp_path: Path, question: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"wordings:\n  mine:\n    gender: {question}\n")
    with pytest.raises(InputError, match=r"Wording 'mine': got .* for gender, expected a question"):
        templates.load(Remote(template=f"{path}#face", wording="mine"))
