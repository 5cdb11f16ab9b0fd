"""Training through FiftyOne's executor: the form, progress with loss and figures, stopping, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from fiftyone.operators.executor import ExecutionError

import facevlm
from facevlm.datasets import samples
from facevlm.store import samples as records
from tests.backends import tiny
from tests.operators.test_verbs import STOP, URI, errors, execute, form, sent

TRAIN = URI + "train_face_attribute_model"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.paligemma(tmp_path_factory.mktemp("train-operator") / "base"))


@pytest.fixture(scope="module")
def faces() -> Iterator[fo.Dataset]:
    name = "test-train-operator"
    if fo.dataset_exists(name):
        fo.delete_dataset(name)
    yield records.build_singles(name, samples.read("single")[:40])
    fo.delete_dataset(name)


def asked(base: str, folder: Path, **more: Any) -> dict[str, Any]:
    told = {"model": "other", "checkpoint": base, "attributes": ["gender"], "folder": str(folder)}
    return {**told, "epochs": 2.0, "batch": 16, "learning_rate": 1e-3, **more}


def test_the_form_offers_fields_of_true_labels_and_says_what_is_wrong(
    faces: fo.Dataset, base: str, tmp_path: Path
) -> None:
    shown = form(TRAIN, faces, **asked(base, tmp_path / "out"))
    assert errors(shown) == {}
    assert shown["truth_gender"]["default"] == "gender"
    assert "15 % of the faces choose the epoch" in shown["plan"]["view"]["label"]
    assert "Choose an attribute" in errors(form(TRAIN, faces, model="demo"))["attributes"]
    assert "'/no/such'" in errors(form(TRAIN, faces, **asked("/no/such", tmp_path)))["checkpoint"]
    wrong = errors(form(TRAIN, faces, **asked(base, tmp_path, truth_gender="race")))["truth_gender"]
    assert "which no label set of 'gender' (gender) knows" in wrong
    assert "whole path" in errors(form(TRAIN, faces, **{**asked(base, tmp_path), "folder": "here"}))["folder"]


def test_what_is_learnt_is_told_and_opened_by_apply(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    told: list[str] = []
    steps = sent(TRAIN, faces, lambda step: told.append(str(step)), **asked(base, tmp_path / "out", groups=["race"]))
    text = steps[-1]["params"]["results"]["summary"].replace("\\", "")
    assert "| group | n | accuracy before | after |" in text
    assert "race: " in text
    assert f"hf:{tmp_path / 'out'}" in text
    assert any(" steps" in one or "Asking the" in one for one in told)
    done = facevlm.apply(faces.limit(2), f"hf:{tmp_path / 'out'}", ["gender"], prefix="tuned", progress=False)
    assert done.outcomes == {"gender": {"ok": 2}}
    # The same form again learns nothing anew.
    assert text.partition("Faces left out")[0] in execute(
        TRAIN, faces, **asked(base, tmp_path / "out", groups=["race"])
    ).replace("\\", "")


def test_stopped_it_keeps_its_saves_and_goes_on(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    told: list[Any] = []

    def stop_once(step: Any) -> None:
        if " steps, loss" in str(step) and not told:
            thread = threading.Thread(target=lambda: told.append(sent(STOP, faces)))
            thread.start()
            thread.join()

    params = asked(base, tmp_path / "out", epochs=60.0)
    last = sent(TRAIN, faces, stop_once, **params)[-1]
    assert last["params"]["outputs"]["view"]["label"] == "Train a face attribute model: stopped"
    assert "What was learnt up to the last save is kept" in str(last)
    assert not (tmp_path / "out" / "README.md").exists()
    assert threading.active_count() == len([t for t in threading.enumerate() if t.name != "facevlm-train"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"attributes": []}, "attribute"),
        ({"epochs": 0.0}, "epochs"),
        ({"method": "all"}, "method"),
        ({"truth_gender": "nowhere"}, "nowhere"),
        ({"faces": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    faces: fo.Dataset, base: str, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ExecutionError, match=said):
        execute(TRAIN, faces, **asked(base, tmp_path / "out", **more))
    assert not (tmp_path / "out").exists()
