"""What facevlm stores is what FiftyOne can hold: declared anew, exported, imported, counted, and read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import pytest
from fiftyone import ViewField as F
from fiftyone.server import aggregations, lightning
from PIL import Image

import facevlm
from facevlm.detection import DetectorInfo, FoundFace
from facevlm.store import correcting, inspection, results
from facevlm.tasks import sources
from facevlm.types import Question, Reply
from tests.datasets import layouts
from tests.scripted import ScriptedBackend, certain
from tests.servers.onlooker import Onlooker
from tests.servers.server import running
from tests.store import on_faces

NAMES = ("gender", "age5")
TRUTH = {"gender": "faces.detections.gender", "age5": "faces.detections.age"}
Await = Callable[[Coroutine[Any, Any, Any]], Any]


class Everywhere:
    """Finds the same face with five points in every picture, as a detector with landmarks does."""

    info = DetectorInfo("everywhere", "1", "none")

    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        points = ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.4, 0.6), (0.6, 0.6))
        return [[FoundFace((0.25, 0.2, 0.5, 0.6), 0.9, points)] for _ in images]


def first(image: Image.Image, question: Question) -> Reply:
    return certain(question.attribute.labels[0], question)


def model() -> ScriptedBackend:
    return ScriptedBackend(first)


@pytest.fixture(scope="module")
def await_() -> Iterator[Await]:
    """Runs what FiftyOne's server runs, in one loop, to which its connection belongs."""
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


def on_pictures(name: str, pictures: list[str], folder: Path) -> fo.Dataset:
    """One face a picture: found, asked as a picture and as a box, evaluated, checked, corrected, asked by wordings."""
    made = fo.Dataset(name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures[:4]], progress=False)
    made.set_values("gender", [fo.Classification(label=x) for x in ["Male", "Female"] * 2])
    facevlm.detect(made, "found", detector=Everywhere(), quality=True, progress=False)
    facevlm.apply(made, model(), ["gender"], prefix="t", progress=False)
    facevlm.apply(made, model(), ["gender", "age5"], faces="found", prefix="f", progress=False)
    facevlm.evaluate(made, prefix="t", draws=20)
    facevlm.check(made)
    facevlm.sensitivity(made, model(), ["gender"], draws=20, progress=False)
    inspected = inspection.inspect(made, results.load(made, "t_eval"), "gender")
    correcting.correct(inspected, made.values("id")[:1], "Female")
    return made


def on_groups(name: str, pictures: list[str], folder: Path) -> fo.Dataset:
    """Several faces a picture: described by a server, asked in words, evaluated face by face."""
    made = sources.sample_groups(name)
    on_faces.store(made, "m", on_faces.answers(made, NAMES))
    with running(Onlooker.of(made, NAMES)) as server:
        facevlm.describe(
            made,
            "openai:m",
            NAMES,
            free=["clothing"],
            faces="faces",
            prefix="t",
            base_url=server.base_url,
            progress=False,
        )
    facevlm.ask(made, "race of the happy women", progress=False)
    facevlm.detect(made, "found", detector=Everywhere(), quality=True, progress=False)
    facevlm.evaluate(made, NAMES, prefix="t", ground_truth=TRUTH, faces="faces", draws=20)
    return made


def loaded(name: str, pictures: list[str], folder: Path) -> fo.Dataset:
    """A data set with boxes, landmarks and numbers, read from disk and asked."""
    made = facevlm.datasets.load("affectnet", layouts.affectnet_lists(folder), dataset_name=name)
    facevlm.apply(made, model(), ["gender"], prefix="t", progress=False)
    facevlm.apply(made, model(), ["gender"], faces="faces", prefix="f", progress=False)
    return made


@pytest.fixture(params=[on_pictures, on_groups, loaded], ids=lambda build: build.__name__)
def full(request: pytest.FixtureRequest, dataset_name: str, pictures: list[str], tmp_path: Path) -> fo.Dataset:
    """Datasets in which together every verb that stores something has stored it."""
    made: fo.Dataset = request.param(dataset_name, pictures, tmp_path / "source")
    return made


def counted_by_the_app(dataset: fo.Dataset, await_: Await) -> None:
    """Ask for every path what the sidebar asks for, in both of its ways; each is answered as the schema says."""
    paths = [path for path in dataset.get_field_schema(flat=True) if path != "metadata"]
    form: dict[str, Any] = {
        "filters": None,
        "slices": None,
        "group_id": None,
        "index": None,
        "mixed": False,
        "slice": None,
        "view": [],
    }
    empty: dict[str, Any] = {"extended_stages": [], "hidden_labels": [], "sample_ids": []}
    asked = aggregations.AggregationForm(dataset=dataset.name, paths=["", *paths], **form, **empty)
    answers = await_(aggregations.aggregate_resolver(asked))
    assert [answer.path for answer in answers] == ["", *paths]
    for answer in answers:
        numbers = [getattr(answer, name, None) for name in ("min", "max")]
        assert all(isinstance(number, (int, float, type(None))) for number in numbers), (answer.path, numbers)
        values = [value["value"] if isinstance(value, dict) else value.value for value in _values(answer)]
        assert all(isinstance(value, str) for value in values), (answer.path, values)
    swift = [path for path in paths if type(dataset.get_field(path)) in LEAVES]
    info: Any = SimpleNamespace(context=SimpleNamespace(db=foo.get_async_db_conn()))
    inputs = [lightning.LightningPathInput(path=path) for path in swift]
    found = await_(lightning.lightning_resolver(lightning.LightningInput(dataset=dataset.name, paths=inputs), info))
    assert [one.path for one in found] == swift
    for one in found:
        numbers = [getattr(one, name, None) for name in ("min", "max")]
        assert not any(isinstance(number, (list, str, dict)) for number in numbers), (one.path, numbers)


LEAVES = {fo.BooleanField, fo.FloatField, fo.IntField, fo.StringField}


def _values(answer: Any) -> list[Any]:
    return getattr(answer, "values", None) or []


def works_again(dataset: fo.Dataset) -> None:
    """Evaluation gives its figures again, nothing that was answered is asked again, and all can be asked anew."""
    if dataset.has_evaluation("t_eval"):
        before = results.load(dataset, "t_eval")
        names = [e["predicted_attribute"] for e in before["evaluations"]]
        again = facevlm.evaluate(
            dataset, names, prefix="t", ground_truth=before["ground_truth"], faces=before["faces"], draws=20
        )
        assert [e.to_dict()["confusion"] for e in again.evaluations] == [e["confusion"] for e in before["evaluations"]]
    for faces in (None, *(name for name in ("found", "faces") if dataset.has_field(name))):
        prefix = {None: "new", "found": "nf", "faces": "ng"}[faces]
        for overwrite in (False, True):
            run = facevlm.apply(
                dataset, model(), ["gender"], faces=faces, prefix=prefix, overwrite=overwrite, progress=False
            )
            assert run.asked > 0
        assert facevlm.apply(dataset, model(), ["gender"], faces=faces, prefix=prefix, progress=False).asked == 0
    if dataset.has_field("f_gender"):
        faces = "found" if dataset.has_field("found") else "faces"
        assert facevlm.apply(dataset, model(), ["gender"], faces=faces, prefix="f", progress=False).asked == 0
    if dataset.has_field("found"):
        facevlm.detect(dataset, "found", detector=Everywhere(), quality=True, progress=False)


def same_values(dataset: fo.Dataset, other: fo.Dataset) -> None:
    """All that is stored, but ids of samples, times and places of pictures."""
    paths = [p for p in dataset.get_field_schema(flat=True) if type(dataset.get_field(p)) in LEAVES]
    assert paths
    for path in paths:
        if path != "filepath":
            assert other.values(path) == dataset.values(path), path
    for path in (p for p in ("found.detections.landmarks", "landmarks") if dataset.get_field(p)):
        assert other.values(path) == dataset.values(path)


def test_everything_stored_is_declared_anew_counted_and_used_again(full: fo.Dataset, await_: Await) -> None:
    before = full.get_field_schema(flat=True)
    counted_by_the_app(full, await_)
    full.add_dynamic_sample_fields()
    full.reload()
    assert set(before) <= set(full.get_field_schema(flat=True))
    for path, field in before.items():
        assert type(full.get_field(path)) is type(field), path
    for path in full.get_field_schema(flat=True):
        full.values(path)
        full.count(path)
    counted_by_the_app(full, await_)
    works_again(full)


@pytest.mark.parametrize("declared", [False, True])
def test_everything_stored_is_exported_imported_and_used_again(
    full: fo.Dataset, await_: Await, tmp_path: Path, declared: bool
) -> None:
    if declared:
        full.add_dynamic_sample_fields()
    full.export(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, export_media=False, progress=False)
    again = fo.Dataset.from_dir(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, progress=False)
    try:
        same_values(full, again)
        counted_by_the_app(again, await_)
        works_again(again)
        again.add_dynamic_sample_fields()
        counted_by_the_app(again, await_)
    finally:
        again.delete()


def test_everything_stored_is_cloned_and_used_again(full: fo.Dataset, await_: Await) -> None:
    again = full.clone()
    try:
        same_values(full, again)
        again.add_dynamic_sample_fields()
        counted_by_the_app(again, await_)
        works_again(again)
    finally:
        again.delete()


def test_landmarks_of_the_earlier_form_are_read(dataset_name: str) -> None:
    """Lists in a list, which the schema took for numbers once the fields were declared anew."""
    groups = sources.sample_groups(dataset_name)
    stored = groups._sample_collection
    nested = {
        "$map": {
            "input": "$faces.detections",
            "in": {"$mergeObjects": ["$$this", {"landmarks": [[0.4, 0.4], [0.6, 0.4]]}]},
        }
    }
    stored.update_many({}, [{"$set": {"faces.detections": nested}}])
    groups.add_sample_field("faces.detections.landmarks", fo.ListField, subfield=fo.FloatField)
    for target in (groups, groups.to_patches("faces"), groups.match(F("faces.detections").length() > 1)):
        run = facevlm.apply(target, model(), ["gender"], faces="faces", prefix="old", progress=False, overwrite=True)
        assert run.asked > 0
