"""What is taken away while a run writes to it is said in one sentence, and nothing more is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as odm
import pytest
from PIL import Image

import facevlm
from facevlm.detection import DetectorInfo, FoundFace
from facevlm.errors import DatabaseError, TargetError
from facevlm.store import faults, runs
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain
from tests.servers.killing import distinct_pictures

COUNT, BATCH = 40, 4
Take = Callable[[fo.Dataset], Any]


@pytest.fixture
def dataset(dataset_name: str, tmp_path: Path) -> fo.Dataset:
    dataset = fo.Dataset(dataset_name, persistent=True)
    faces = fo.Detections(detections=[fo.Detection(label="face", bounding_box=[0.1, 0.1, 0.8, 0.8])])
    paths = distinct_pictures(tmp_path, COUNT, side=64)
    dataset.add_samples([fo.Sample(filepath=path, boxes=faces.copy()) for path in paths])
    return dataset


def collection(dataset: fo.Dataset) -> Any:
    return odm.get_db_conn()[dataset._sample_collection_name]


def drop_dataset(dataset: fo.Dataset) -> None:
    """As another process does, of which this one hears nothing."""
    collection(dataset).drop()
    odm.get_db_conn().datasets.delete_one({"_id": dataset._doc.id})


def drop_samples(dataset: fo.Dataset) -> None:
    collection(dataset).delete_many({})


def drop_fields(dataset: fo.Dataset) -> None:
    """All that are named after the prefix, as another process does."""
    ours = {"$pull": {"sample_fields": {"name": {"$regex": "^x_|^found$"}}}}
    odm.get_db_conn().datasets.update_one({"_id": dataset._doc.id}, ours)


def delete_in_this_process(dataset: fo.Dataset) -> None:
    dataset.delete()


class Taker:
    """Answers, and takes something away when the second batch is asked about."""

    def __init__(self, dataset: fo.Dataset, take: Take) -> None:
        self._dataset, self._take, self.asked = dataset, take, 0

    def __call__(self, image: Image.Image, question: Question) -> Reply:
        self.asked += 1
        if self.asked == BATCH + 1:
            self._take(self._dataset)
        return certain(question.attribute.labels[0], question)


def apply(dataset: fo.Dataset, take: Take, faces: str | None) -> int:
    answer = Taker(dataset, take)
    with pytest.raises(DatabaseError) as caught:
        facevlm.apply(
            dataset, ScriptedBackend(answer), ["gender"], faces=faces, prefix="x", batch_size=BATCH, chunk_size=BATCH,
            progress=False,
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert str(caught.value) in said(take)(dataset.name)
    return answer.asked


def said(take: Take) -> Callable[[str], list[str]]:
    gone = "Dataset '{}' was deleted while it was worked on, with all that was written to it. Nothing more is asked."
    field = (
        "Field 'x_gender' of dataset '{}' was deleted while it was written to. What is in other fields is kept; the "
        "same call declares it anew and asks what it lacks."
    )
    empty = "Dataset '{}' holds no sample any more: all were deleted while it was written to."
    sentences: dict[Take, str] = {drop_samples: empty, drop_fields: field}
    sentence = sentences.get(take, gone)
    # FiftyOne deletes the samples of a dataset first.
    either = [sentence, empty] if take is delete_in_this_process else [sentence]
    return lambda name: [one.format(name) for one in either]


@pytest.mark.parametrize("faces", [None, "boxes"], ids=["pictures", "faces"])
@pytest.mark.parametrize("take", [drop_dataset, delete_in_this_process, drop_samples, drop_fields])
def test_apply_stops_at_the_first_write_that_says_so(dataset: fo.Dataset, take: Take, faces: str | None) -> None:
    assert apply(dataset, take, faces) <= 4 * BATCH


def test_a_field_that_was_deleted_is_declared_anew_by_the_same_call(dataset: fo.Dataset) -> None:
    apply(dataset, drop_fields, None)
    assert runs.read(dataset, "facevlm_x")["status"] == "stopped"
    dataset.reload()
    again = facevlm.apply(
        dataset, ScriptedBackend(Taker(dataset, lambda _: None)), ["gender"], prefix="x", progress=False
    )
    assert again.outcomes == {"gender": {"ok": again.asked}}
    assert dataset.count("x_gender.label") == COUNT


@pytest.mark.parametrize("faces", [None, "boxes"], ids=["pictures", "faces"])
def test_samples_that_are_deleted_meanwhile_are_counted_and_the_rest_goes_on(
    dataset: fo.Dataset, faces: str | None
) -> None:
    ids = dataset.values("id")
    answer = Taker(dataset, lambda there: there.delete_samples(ids[-3:]))
    result = facevlm.apply(
        dataset, ScriptedBackend(answer), ["gender"], faces=faces, prefix="x", batch_size=BATCH, progress=False
    )
    assert (result.asked, result.gone, len(dataset)) == (COUNT, 3, COUNT - 3)
    assert "3 pictures were deleted from the dataset meanwhile; what came of them is not kept." in result.warnings
    path = "x_gender.label" if faces is None else "x_gender.detections.label"
    assert dataset.count(path) == COUNT - 3
    assert runs.read(dataset, "facevlm_x")["status"] == "done"


def test_sensitivity_counts_samples_that_are_deleted_meanwhile(dataset: fo.Dataset) -> None:
    dataset.set_values("side", ["left", "right"] * (COUNT // 2))
    ids = dataset.values("id")
    answer = Taker(dataset, lambda there: there.delete_samples(ids[:3]))
    (found,) = facevlm.sensitivity(
        dataset, ScriptedBackend(answer), ["gender"], prefix="x", groups=["side"], batch_size=BATCH, draws=9,
        progress=False,
    )  # fmt: skip
    assert (found.flips.n, found.unanswered) == (COUNT - 3, 0)
    assert [(one.group, one.n) for one in found.groups["side"]] == [("left", 18), ("right", 19)]
    assert found.notes[-1] == "3 pictures were deleted from the dataset meanwhile; what came of them is not kept."
    assert dataset.count(found.field) == COUNT - 3


class Nobody:
    """A detector that finds nobody, and takes something away when it is first asked."""

    def __init__(self, take: Callable[[], Any]) -> None:
        self.info, self._take = DetectorInfo("nobody", "1", "none"), take

    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        self._take()
        self._take = lambda: None
        return [[] for _ in images]


@pytest.mark.parametrize(
    ("take", "why"),
    [
        (drop_dataset, "was deleted while it was worked on"),
        (delete_in_this_process, "was deleted while it was worked on|holds no sample any more"),
        (drop_samples, "holds no sample any more"),
        (drop_fields, "Field 'found' of dataset '.*' was deleted"),
    ],
)
def test_detect_says_what_was_taken_away(dataset: fo.Dataset, take: Take, why: str) -> None:
    with pytest.raises(DatabaseError, match=why):
        facevlm.detect(dataset, "found", detector=Nobody(lambda: take(dataset)), progress=False)


def test_detect_counts_samples_that_are_deleted_meanwhile(dataset: fo.Dataset) -> None:
    detector = Nobody(lambda: dataset.delete_samples(dataset.values("id")[:1]))
    result = facevlm.detect(dataset, "found", detector=detector, progress=False)
    assert (result.asked, result.gone) == (COUNT, 1)
    assert result.warnings == ["1 picture was deleted from the dataset meanwhile; what came of it is not kept."]


def test_check_says_that_the_dataset_is_gone(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read = faults.write

    def take_and_write(*args: Any) -> Any:
        drop_dataset(dataset)
        return read(*args)

    monkeypatch.setattr(faults, "write", take_and_write)
    with pytest.raises(DatabaseError, match="was deleted"):
        facevlm.check(dataset, near=64, progress=False)


def delete_elsewhere(dataset: fo.Dataset) -> None:
    """As another process does, of which this one hears nothing."""
    samples = dataset._sample_collection_name
    odm.get_db_conn().datasets.delete_one({"name": dataset.name})
    odm.get_db_conn().drop_collection(samples)


VERBS: dict[str, Callable[[fo.Dataset], Any]] = {
    "apply": lambda d: facevlm.apply(d, "demo", ["gender"], progress=False),
    "ask": lambda d: facevlm.ask(d, "gender of all", model="demo", progress=False),
    "batch.cancel": facevlm.batch.cancel,
    "batch.collect": facevlm.batch.collect,
    "batch.overview": facevlm.batch.overview,
    "batch.prefixes": facevlm.batch.prefixes,
    "batch.status": facevlm.batch.status,
    "batch.submit": lambda d: facevlm.batch.submit(d, "demo", ["gender"]),
    "check": facevlm.check,
    "compare": lambda d: facevlm.compare(d, ["a", "b"]),
    "describe": lambda d: facevlm.describe(d, "openai:m", ["gender"]),
    "detect": facevlm.detect,
    "evaluate": facevlm.evaluate,
    "probe": lambda d: facevlm.probe(d, "demo", ["gender"]),
    "report": facevlm.report,
    "reproduce": lambda d: facevlm.paper.reproduce({"fairface": d}),
    "review": lambda d: facevlm.review(d, "gender"),
    "sensitivity": lambda d: facevlm.sensitivity(d, "demo", ["gender"]),
    "truth": lambda d: facevlm.truth(d, "/nowhere.csv"),
    "try_one": lambda d: facevlm.try_one(d, "demo", ["gender"]),
}


@pytest.mark.parametrize("delete", [delete_in_this_process, delete_elsewhere], ids=["here", "elsewhere"])
@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_every_verb_says_that_its_dataset_was_deleted(
    dataset: fo.Dataset, verb: Callable[[fo.Dataset], Any], delete: Take
) -> None:
    name = dataset.name
    delete(dataset)
    with pytest.raises(TargetError, match=f"'{name}' was deleted"):
        verb(dataset)


def test_a_report_is_of_what_another_process_evaluated(dataset: fo.Dataset, tmp_path: Path) -> None:
    dataset.set_values("gender", [fo.Classification(label="Male")] * len(dataset))
    facevlm.apply(dataset, "demo", ["gender"], progress=False)
    stale = odm.get_db_conn().datasets.find_one({"name": dataset.name}, {"last_modified_at": True})
    before = dict(dataset._doc.runs)
    facevlm.evaluate(dataset, draws=20)
    # As in a session that loaded the dataset before: it knows the runs of then.
    dataset._doc.runs.clear()
    dataset._doc.runs.update(before)
    dataset._doc.last_modified_at = (stale or {})["last_modified_at"]
    assert facevlm.report(dataset, tmp_path / "out")
