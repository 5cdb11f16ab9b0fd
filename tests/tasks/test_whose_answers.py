"""Whose answers a field holds is decided by the stamps on them: with the record of the run gone nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as odm
import pytest
from PIL import Image

import facevlm
from facevlm.errors import FieldError
from facevlm.store import runs
from facevlm.tasks import batch as batch_task
from facevlm.tasks import sources
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend
from tests.tasks.test_batch import dataset, provider, submit
from tests.tasks.test_provenance import always, apply, evaluate

__all__ = ["dataset", "provider"]
FOREIGN = "hold predictions of another model or prompt for gender: of {}"


def delete_elsewhere(dataset: fo.Dataset, key: str) -> None:
    """As another process does, of which this one hears nothing."""
    [stored] = odm.get_db_conn().datasets.find({"_id": dataset._doc.id}, {"runs": True})
    odm.get_db_conn().runs.delete_one({"_id": stored["runs"][key]})
    odm.get_db_conn().datasets.update_one({"_id": dataset._doc.id}, {"$unset": {f"runs.{key}": True}})


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources.sample_groups(dataset_name)


@pytest.mark.parametrize("faces", [None, "faces"], ids=["pictures", "faces"])
@pytest.mark.parametrize(
    "change", [{"prompts": {"gender": "is it raining?"}}, {"name": "beta"}], ids=["prompt", "model"]
)
def test_answers_without_a_record_are_not_overwritten(
    groups: fo.Dataset, faces: str | None, change: dict[str, Any]
) -> None:
    def ask(name: str = "alpha", **more: Any) -> Any:
        return apply(groups, "Male", name, faces=faces, **more)

    ask()
    groups.delete_run("facevlm_t")
    path = "t_gender.run" if faces is None else "t_gender.detections.run"
    before = groups.values(path)
    with pytest.raises(FieldError, match=FOREIGN.format("a model that no record names")):
        ask(**change)
    assert groups.values(path) == before
    assert not groups.has_run("facevlm_t")
    ask(overwrite=True, **change)
    assert not set(map(str, groups.values(path))) & set(map(str, before))


def test_a_run_that_replaced_a_part_does_not_replace_the_rest(dataset: fo.Dataset) -> None:
    apply(dataset, "Male", "alpha")
    apply(dataset[:3], "Female", "beta", overwrite=True)
    with pytest.raises(FieldError, match=FOREIGN.format("alpha")):
        apply(dataset, "Female", "beta")
    with pytest.raises(FieldError, match=FOREIGN.format("beta")):
        apply(dataset, "Male", "alpha")
    assert apply(dataset[:3], "Female", "beta").asked == 0, "nothing would be lost"
    assert Counter(dataset.values("t_gender.label")) == {"Male": 7, "Female": 3}


def test_a_field_that_was_deleted_holds_nobodys_answers(dataset: fo.Dataset) -> None:
    apply(dataset, "Male", "alpha")
    dataset.delete_sample_field("t_gender")
    assert apply(dataset, "Female", "beta").asked == 10


def test_answers_without_a_stamp_are_somebodys_too(dataset: fo.Dataset) -> None:
    apply(dataset, "Male", "alpha")
    dataset.set_values("t_gender.run", [None] * 10)
    with pytest.raises(FieldError, match=FOREIGN.format("a model that no record names")):
        apply(dataset, "Male", "alpha")


def test_the_same_call_writes_a_record_that_was_deleted(dataset: fo.Dataset) -> None:
    dataset.set_values("gender", [fo.Classification(label=x) for x in ["Male", "Female"] * 5])
    apply(dataset, "Male", "alpha")
    dataset.delete_run("facevlm_t")
    assert apply(dataset, "Male", "alpha").asked == 0
    record = runs.read(dataset, "facevlm_t")
    assert (record["status"], record["outcomes"], record["backend"]["model"]) == (
        "done",
        {"gender": {"ok": 10}},
        "alpha",
    )
    assert evaluate(dataset).answered_by["gender"]["model"] == "alpha"
    facevlm.detect(dataset, "found", detector="haar", progress=False)
    dataset.delete_run("facevlm_detect_found")
    facevlm.detect(dataset, "found", detector="haar", progress=False)
    assert runs.read(dataset, "facevlm_detect_found")["detector"]["name"] == "haar"


@pytest.mark.parametrize("delete", [delete_elsewhere, lambda d, key: d.delete_run(key)], ids=["elsewhere", "here"])
@pytest.mark.parametrize("faces", [None, "faces"], ids=["pictures", "faces"])
def test_a_record_that_is_deleted_in_mid_run_is_there_at_its_end(
    groups: fo.Dataset, faces: str | None, delete: Callable[[fo.Dataset, str], None]
) -> None:
    asked = Counter[str]()

    def answer(image: Image.Image, question: Question) -> Reply:
        asked["faces"] += 1
        if asked["faces"] == 3:
            delete(groups, "facevlm_t")
        return always("Male")(image, question)

    made = facevlm.apply(
        groups, ScriptedBackend(answer, "alpha"), ["gender"], prefix="t", faces=faces, batch_size=2, progress=False
    )
    assert made.outcomes == {"gender": {"ok": made.asked}}
    groups.reload()
    record = runs.read(groups, "facevlm_t")
    assert (record["status"], record["backend"]["model"], record["asked"]) == ("done", "alpha", made.asked)
    assert apply(groups, "Male", "alpha", faces=faces).asked == 0, "of the same mark as before"


def test_wordings_whose_records_are_gone_are_not_asked_anew(dataset: fo.Dataset) -> None:
    def ask(name: str, target: Any = dataset) -> Any:
        words = {"gender": ["Man or woman?"]}
        backend = ScriptedBackend(always("Male"), name)
        return backend, facevlm.sensitivity(target, backend, "gender", prefix="s", paraphrases=words, progress=False)

    ask("alpha")
    for key in dataset.list_runs():
        dataset.delete_run(key)
    with pytest.raises(FieldError, match=FOREIGN.format("a model that no record names")):
        ask("beta")
    backend, _ = ask("alpha")
    assert backend.asked == 0
    assert {"facevlm_s_w0", "facevlm_s_w1"} <= set(dataset.list_runs())


def test_a_batch_does_not_replace_what_was_answered_since(dataset: fo.Dataset, provider: Any) -> None:
    submit(dataset, provider)
    with pytest.raises(FieldError, match=FOREIGN.format("openai:m")):
        apply(dataset, "Male", "alpha", prefix="b")
    apply(dataset, "Male", "alpha", prefix="b", overwrite=True)
    dataset.delete_run("facevlm_b")
    with pytest.raises(
        FieldError, match="Since the batches of prefix 'b' were handed in, a model that no record names"
    ):
        batch_task.collect(dataset)
    assert set(dataset.values("b_gender.label")) == {"Male"}
    assert batch_task.collect(dataset, overwrite=True).outcomes["gender"] == {"ok": 10}
    assert dataset.values("b_gender.label") == ["Male", "Female"] * 5
    record = runs.read(dataset, "facevlm_b")
    assert (record["status"], record["prefix"], set(record["questions"])) == ("done", "b", {"gender", "age5"})
    assert record["backend"]["model"] == "openai:m"


def test_a_batch_that_is_to_overwrite_does(dataset: fo.Dataset, provider: Any) -> None:
    apply(dataset, "Male", "alpha", prefix="b")
    with pytest.raises(FieldError, match=FOREIGN.format("alpha")):
        submit(dataset, provider)
    submit(dataset, provider, overwrite=True)
    assert batch_task.collect(dataset).outcomes["gender"] == {"ok": 10}
