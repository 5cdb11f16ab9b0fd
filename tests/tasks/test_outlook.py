"""What a run would meet, told before it is made: counts, what has changed, and the rate of the last run."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends.cards import find
from facevlm.engines.facts import machine
from facevlm.faces.selection import Selection
from facevlm.store import asking, runs
from facevlm.tasks import outlook as outlook_task
from facevlm.tasks import sources
from facevlm.tasks.outlook import outlook


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    outlook_task._kept.clear()


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources.sample_faces(dataset_name)


def met(target: Any, *attributes: str, **more: Any) -> tuple[int, int, tuple[str, ...]]:
    told = outlook(target, find("demo"), list(attributes), prefix=more.pop("prefix", "demo"), **more)
    return told.faces, told.lacking, told.changed


def test_pictures_that_lack_an_answer_are_counted(faces: fo.Dataset) -> None:
    assert met(faces, "gender") == (96, 96, ())
    facevlm.apply(faces[:30], "demo", ["gender"], progress=False)
    assert met(faces, "gender") == (96, 66, ())
    assert met(faces[20:50], "gender") == (30, 20, ())
    assert met(faces, "gender", "age5") == (96, 96, ())
    assert met(faces, "gender", overwrite=True) == (96, 96, ())
    assert met(faces, "gender", prefix="other") == (96, 96, ())


def test_the_count_is_what_the_run_then_asks(faces: fo.Dataset) -> None:
    facevlm.apply(faces[:30], "demo", ["gender"], progress=False)
    facevlm.apply(faces[:10], "demo", ["age5"], progress=False)
    assert met(faces, "gender", "age5")[1] == facevlm.apply(faces, "demo", ["gender", "age5"], progress=False).asked
    outlook_task._kept.clear()
    assert met(faces, "gender", "age5") == (96, 0, ())


def test_other_words_are_a_change_that_the_run_would_refuse(faces: fo.Dataset) -> None:
    facevlm.apply(faces[:5], "demo", ["gender"], progress=False)
    words = {"gender": "man or woman?"}
    assert met(faces, "gender", prompts=words)[2] == ("gender",)
    assert met(faces, "gender", prompts=words, overwrite=True)[2] == ()
    with pytest.raises(facevlm.FacevlmError, match="another model or prompt"):
        facevlm.apply(faces, "demo", ["gender"], prompts=words, progress=False)


def test_faces_in_pictures_are_counted_one_by_one(dataset_name: str) -> None:
    groups = sources.sample_groups(dataset_name)
    chosen = Selection("faces")
    assert met(groups, "gender", faces=chosen) == (28, 28, ())
    done = facevlm.apply(groups[:3], "demo", ["gender"], faces="faces", progress=False).asked
    assert met(groups, "gender", faces=chosen) == (28, 28 - done, ())
    patches = groups.to_patches("faces")
    assert met(patches, "gender", faces=chosen) == (28, 28 - done, ())
    some = groups.filter_labels("faces", fo.ViewField("bounding_box")[2] > 0.1, only_matches=False)
    expected = asking.subjects(some, chosen)
    assert met(some, "gender", faces=chosen)[0] == len(expected.faces)


def test_the_rate_is_that_of_the_last_run_of_the_model_on_this_machine(faces: fo.Dataset) -> None:
    assert runs.rate(faces, "demo", machine()) is None
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    record = runs.read(faces, "facevlm_demo")
    assert runs.rate(faces, "demo", machine()) == pytest.approx(96 / record["seconds"])
    assert runs.rate(faces, "demo", "another") is None
    assert runs.rate(faces, "facescan", machine()) is None
