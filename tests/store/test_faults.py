"""What a check writes and takes away: chunk by chunk, after a crash, and beside tags of the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import pytest

from facevlm.errors import FieldError
from facevlm.store import faults
from facevlm.store.faults import FIELD, CheckedFields, Entry, choose_fields, read, view_name, write
from facevlm.store.updates import Updates

C = fo.Classification


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=path, tags=["mine"]) for path in pictures], progress=False)
    return made


def entries(dataset: fo.Dataset, **kinds: list[int]) -> dict[str, Entry]:
    """Findings by the position of samples; all of one group."""
    ids = dataset.values("id")
    found: dict[str, list[str]] = {}
    for kind, at in kinds.items():
        for k in at:
            found.setdefault(ids[k], []).append(kind)
    return {one: Entry(tuple(some), tuple(f"{k}: why" for k in some), ids[0], ids[0], 3) for one, some in found.items()}


def tags(dataset: fo.Dataset) -> dict[str, int]:
    return {tag: n for tag, n in dataset.count_sample_tags().items() if tag != "mine"}


@pytest.mark.parametrize("chunk", [1, 3, 1024])
def test_everything_is_written_whatever_the_chunks(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(faults, "CHUNK", chunk)
    views = write(dataset, entries(dataset, duplicate=[1, 2, 5], bad_box=[2, 8]))
    assert views == {"duplicate": "check_duplicate", "bad_box": "check_bad_box"}
    assert tags(dataset) == {"duplicate": 3, "bad_box": 2}
    assert dataset.count_sample_tags()["mine"] == 10
    third = dataset.skip(2).first()
    assert list(third[FIELD].findings) == ["duplicate", "bad_box"]
    assert list(third[FIELD].reasons) == ["duplicate: why", "bad_box: why"]
    assert (third[FIELD].group, third[FIELD].distance) == (dataset.first().id, 3)
    assert write(dataset, {}) == {}
    assert tags(dataset) == {}
    assert dataset.values(FIELD) == [None] * 10
    assert dataset.list_saved_views() == []


def test_fields_can_be_filtered_in_the_sidebar(dataset: fo.Dataset) -> None:
    write(dataset, entries(dataset, duplicate=[1]))
    schema = dataset.get_field_schema(flat=True)
    for name in ("findings", "reasons", "tagged", "group", "copy_of", "distance"):
        assert f"{FIELD}.{name}" in schema
    assert isinstance(schema[f"{FIELD}.distance"], fo.IntField)
    assert "Nothing" not in (dataset.get_field(FIELD).description or "")
    assert "nothing was deleted" in dataset.get_field(FIELD).description
    sample = dataset.skip(1).first()
    sample["other"] = 1
    sample.save()
    assert dataset.distinct(f"{FIELD}.findings") == ["duplicate"]


class Stopped(Exception):
    """The process dies here."""


def test_a_check_that_died_is_mended_by_the_next(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Updates.change

    def dies(self: Updates, changes: Mapping[str, Any]) -> None:
        if any("$addToSet" in one for one in changes.values()):
            # Some of the tags are written, and the process ends.
            change(self, dict(list(changes.items())[:1]))
            raise Stopped
        change(self, changes)

    monkeypatch.setattr(Updates, "change", dies)
    with pytest.raises(Stopped):
        write(dataset, entries(dataset, duplicate=[1], bad_box=[1, 2]))
    monkeypatch.undo()
    write(dataset, entries(dataset, unreadable=[7]))
    assert tags(dataset) == {"unreadable": 1}
    assert dataset.list_saved_views() == [view_name("unreadable")]


def test_tags_that_were_there_are_not_ours_to_take(dataset: fo.Dataset) -> None:
    dataset.limit(2).tag_samples("duplicate")
    write(dataset, entries(dataset, duplicate=[1, 2]))
    assert [list(doc.tagged) if doc else None for doc in dataset.values(FIELD)[:3]] == [None, [], ["duplicate"]]
    assert tags(dataset) == {"duplicate": 3}
    write(dataset, {})
    assert tags(dataset) == {"duplicate": 2}


def test_what_lies_outside_of_a_view_stays(dataset: fo.Dataset) -> None:
    write(dataset, entries(dataset, duplicate=[1, 8]))
    first, last = dataset.limit(5), dataset.skip(5)
    write(first, {})
    assert tags(dataset) == {"duplicate": 1}
    assert dataset.load_saved_view("check_duplicate").values("id") == [dataset.values("id")[8]]
    write(last, {})
    assert dataset.list_saved_views() == []


def test_groups_are_sorted_together(dataset: fo.Dataset) -> None:
    ids = dataset.values("id")
    mixed = [(9, 0), (4, 3), (0, 0), (7, 3), (3, 3)]
    found = {ids[k]: Entry(("near_duplicate",), ("",), ids[first], None, 1) for k, first in mixed}
    write(dataset, found)
    shown = dataset.load_saved_view("check_near_duplicate")
    assert [ids.index(one) for one in shown.values("id")] == [0, 9, 3, 4, 7]
    assert dataset.get_saved_view_info("check_near_duplicate")["description"].startswith("Looks like another picture")


# Which fields


@pytest.fixture
def labelled(dataset: fo.Dataset) -> fo.Dataset:
    """Ground truth, predictions as facevlm writes them, numbers, boxes, and split tags."""
    dataset.set_values("gender", [C(label="Male")] * 10)
    dataset.set_values("mood", ["calm"] * 10)
    dataset.set_values("age", [30.0, None, *[7.0] * 8])
    boxes = fo.Detections(detections=[fo.Detection(label="face", bounding_box=[0, 0, 1, 1])])
    dataset.set_values("faces", [boxes, *[None] * 9])
    dataset.set_values("t_gender", [C(label="Male", outcome="ok", run="t")] * 10, dynamic=True)
    dataset.limit(4).tag_samples("val")
    dataset.skip(4).tag_samples("train")
    return dataset


def chosen(target: fo.Dataset, **named: Any) -> CheckedFields:
    options = {"labels": None, "age": None, "boxes": None, "splits": None, **named}
    return choose_fields(target, **options)


def test_ground_truth_is_compared_and_predictions_are_not(labelled: fo.Dataset) -> None:
    assert chosen(labelled) == CheckedFields(("gender",), "age", ("faces",), ("train", "val"))
    assert chosen(labelled, labels=["mood", "age"], boxes=[], splits=["mine"]) == CheckedFields(
        ("mood", "age"), "age", (), ("mine",)
    )
    assert chosen(labelled.limit(3)).splits == ("val",)


def test_an_age_of_another_name_and_none(labelled: fo.Dataset) -> None:
    labelled.rename_sample_field("age", "age_years")
    assert chosen(labelled).age == "age_years"
    labelled.rename_sample_field("age_years", "how_old")
    assert chosen(labelled).age is None
    assert chosen(labelled, age="how_old").age == "how_old"
    with pytest.raises(FieldError, match="Age field 'mood' is not there or no such; need numbers: how_old"):
        chosen(labelled, age="mood")


def test_material_is_in_the_order_of_the_target(labelled: fo.Dataset) -> None:
    view = labelled.sort_by("filepath", reverse=True)
    found = read(view, chosen(view))
    assert list(found.ids) == labelled.values("id")[::-1]
    assert [sorted(splits) for splits in found.splits] == [["train"]] * 6 + [["val"]] * 4
    assert found.labels == {"gender": ["Male"] * 10}
    assert found.ages == [7.0] * 8 + [None, 30.0]
    assert found.boxes["faces"][-1] == [[0, 0, 1, 1]]
    assert found.boxes["faces"][0] is None


def test_without_an_age_none_is_read(dataset: fo.Dataset) -> None:
    found = read(dataset, chosen(dataset))
    assert (found.labels, list(found.ages), found.boxes) == ({}, [], {})
