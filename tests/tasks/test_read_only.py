"""A field that may not be written is refused before a model is asked or anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.errors import FieldError
from facevlm.store import correcting, inspection, results
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain


def first(image: Image.Image, question: Question) -> Reply:
    return certain(question.attribute.labels[0], question)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Labelled, searched, evaluated and corrected once, so that every field is there."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures[:4]], progress=False)
    made.set_values("gender", [fo.Classification(label=x) for x in ["Male", "Female"] * 2])
    facevlm.apply(made, ScriptedBackend(first), ["gender"], prefix="t", progress=False)
    facevlm.detect(made, "found", detector="haar", progress=False)
    facevlm.check(made)
    facevlm.evaluate(made, prefix="t", draws=20)
    correct(made)
    return made


def correct(dataset: fo.Dataset) -> None:
    found = inspection.inspect(dataset, results.load(dataset, "t_eval"), "gender")
    correcting.correct(found, dataset.values("id")[:1], "Female")


def lock(dataset: fo.Dataset, name: str) -> None:
    field = dataset.get_field(name)
    field.read_only = True
    field.save()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("t_gender", None),
        ("t_gender.outcome", None),
        ("found", lambda d: facevlm.detect(d, "found", detector="haar", overwrite=True, progress=False)),
        ("facevlm_check", facevlm.check),
        ("t_eval_gender", lambda d: facevlm.evaluate(d, prefix="t", draws=20)),
        ("gender_corrected", correct),
    ],
)
def test_a_read_only_field_is_refused_before_anything_is_asked(
    dataset: fo.Dataset, name: str, call: Callable[[fo.Dataset], Any] | None
) -> None:
    lock(dataset, name)
    before = list(dataset.iter_samples()), dataset.list_runs()
    model = ScriptedBackend(first)

    def ask(target: fo.Dataset) -> None:
        facevlm.apply(target, model, ["gender"], prefix="t", overwrite=True, progress=False)

    with pytest.raises(
        FieldError, match=f"Field '{name}' of dataset '.*' is read-only, expected one that may be written"
    ):
        (call or ask)(dataset)
    assert model.asked == 0
    assert [sample.to_dict() for sample in before[0]] == [sample.to_dict() for sample in dataset.iter_samples()]
    assert dataset.list_runs() == before[1]
