"""Saved views of chosen faces, and flip rates as a field: what the App sees of them, and what is left alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from facevlm.attributes import shipped
from facevlm.errors import FieldError
from facevlm.evaluation.comparison import Flags
from facevlm.store import evaluations, flips, views, workspace
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.targets import Collection


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten pictures with two predictions each; the second of the last has no answer."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    made.set_values("one", [fo.Classification(label="x", confidence=k / 100) for k in range(10)])
    odd = [fo.Classification(label="x", confidence=0.9 * (k % 2)) for k in range(9)]
    made.set_values("two", [*odd, fo.Classification()])
    made.set_values("age", [float(k) for k in range(10)])
    return made


def only(rows: PictureRows, *places: int) -> Flags:
    return np.isin(np.arange(len(rows.ids())), places)


def places(view: fo.DatasetView) -> list[int]:
    return [int(Path(path).stem) for path in view.values("filepath")]


def test_a_view_holds_the_chosen_sorted_by_the_sum_of_confidences(dataset: fo.Dataset) -> None:
    rows = PictureRows(dataset)
    assert views.save(rows, "chosen", only(rows, 1, 2, 3, 4, 9), ["one", "two"], "why") == "chosen"
    assert places(dataset.load_saved_view("chosen")) == [3, 1, 4, 2, 9], "what has no answer comes last"
    assert dataset.get_saved_view_info("chosen")["description"] == "why (saved by facevlm)"


def test_a_view_of_a_view_and_of_nobody(dataset: fo.Dataset) -> None:
    part = PictureRows(dataset.limit(5))
    views.save(part, "chosen", only(part, 3, 4), ["one"], "")
    assert places(dataset.load_saved_view("chosen")) == [4, 3]
    views.save(PictureRows(dataset), "chosen", only(PictureRows(dataset)), ["one"], "now nobody")
    assert len(dataset.load_saved_view("chosen")) == 0
    assert dataset.list_saved_views() == ["chosen"]


def test_a_saved_view_follows_what_is_written_later(dataset: fo.Dataset) -> None:
    rows = PictureRows(dataset)
    views.save(rows, "chosen", only(rows, 0, 1, 2), ["one"], "")
    dataset.set_values("one.confidence", [0.9, 0.7, 0.8, *[0.1] * 7])
    assert places(dataset.load_saved_view("chosen")) == [0, 2, 1]


def test_of_faces_a_view_holds_patches(dataset: fo.Dataset) -> None:
    boxes = [[0.1, 0.1, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2]]
    for name in ("faces", "said"):
        found = [fo.Detections(detections=[fo.Detection(bounding_box=b) for b in boxes]) for _ in range(3)]
        dataset.set_values(name, [*found, *[None] * 7])
    sure = [[0.1, 0.9], [0.5, None], [0.7, 0.3]]
    dataset.set_values("said.detections.confidence", [*sure, *[None] * 7])
    rows = FaceRows(dataset, "faces")
    views.save(rows, "chosen", only(rows, 0, 1, 3, 4), ["said"], "")
    view = dataset.load_saved_view("chosen")
    assert view._is_patches
    assert view.values("id") == [rows.face_ids[k] for k in (1, 4, 0, 3)], "the one without an answer comes last"
    assert view.values("faces.bounding_box") == [boxes[k] for k in (1, 0, 0, 1)]


RATES = [0, 0.5, math.nan, 0.25, 0, 0.75, 0, 0, 0, 0]


def rated(target: Collection, rates: Sequence[float] = RATES) -> dict[str, float]:
    return dict(zip(target.values("id"), rates, strict=True))


def test_rates_are_a_number_field_with_a_view_of_the_flipped(dataset: fo.Dataset) -> None:
    field = flips.field_of("demo_words", "gender")
    assert field == "demo_words_gender_flip_rate"
    name = flips.save(dataset, field, rated(dataset), ["demo_words_w0", "demo_words_w1"])
    assert name == "demo_words_gender_most_sensitive"
    assert dataset.values(field) == [None if math.isnan(rate) else rate for rate in RATES]
    assert places(dataset.load_saved_view(name)) == [5, 1, 3]
    assert dataset.bounds(field) == (0, 0.75), "the App offers a slider between these"
    assert "most frequent" in dataset.get_field(field).description
    assert field in dataset.get_field_schema(ftype=fo.FloatField)


def test_rates_of_a_view_leave_the_others_as_they_are(dataset: fo.Dataset) -> None:
    field = flips.field_of("w", "gender")
    flips.save(dataset, field, rated(dataset), ["w_w0"])
    flips.save(dataset.limit(2), field, rated(dataset.limit(2), [0.9, math.nan]), ["w_w0"])
    assert dataset.values(field)[:4] == [0.9, None, None, 0.25]


def test_rates_of_a_sample_that_was_deleted_are_left_out(dataset: fo.Dataset) -> None:
    field, rates = flips.field_of("w", "gender"), rated(dataset)
    dataset.delete_samples(dataset.values("id")[:2])
    name = flips.save(dataset, field, rates, ["w_w0"])
    assert places(dataset.load_saved_view(name)) == [5, 3]


def test_rows_are_of_the_samples_that_were_there_first(dataset: fo.Dataset) -> None:
    rows = PictureRows(dataset)
    ages = rows.values("age")
    dataset.delete_samples(dataset.values("id")[3:5])
    assert rows.values("age") == ages
    assert rows.values("one.confidence") == [0.0, 0.01, 0.02, None, None, 0.05, 0.06, 0.07, 0.08, 0.09]
    assert rows.tags() == [[]] * 10


def test_rates_are_no_ground_truth(dataset: fo.Dataset) -> None:
    field = flips.field_of("w", "emotion7")
    flips.save(dataset, field, rated(dataset), ["w_w0"])
    rows = PictureRows(dataset)
    assert {"one", "age"} <= set(evaluations.truth_fields(rows))
    assert field not in evaluations.truth_fields(rows)
    assert evaluations.guess_truth(rows, shipped().get("emotion7"), shipped()) is None


@pytest.mark.parametrize("kind", [fo.FloatField, fo.StringField])
def test_a_field_of_the_users_own_is_left_alone(dataset: fo.Dataset, kind: type) -> None:
    field = flips.field_of("mine", "gender")
    dataset.add_sample_field(field, kind)
    with pytest.raises(FieldError, match="'mine_gender_flip_rate' is already there and was not written by facevlm"):
        flips.save(dataset, field, rated(dataset), ["mine_w0"])
    assert dataset.values(field) == [None] * 10
    assert dataset.list_saved_views() == []


def test_a_prefix_that_makes_no_field_is_refused() -> None:
    with pytest.raises(FieldError, match="Got the field prefix 'a b'"):
        flips.field_of("a b", "gender")


def test_views_and_a_workspace_of_ones_own_stay(dataset: fo.Dataset) -> None:
    rows = PictureRows(dataset)
    mine = dataset.limit(2)
    dataset.save_view("Chosen", mine, description="the two that I like")
    # FiftyOne takes 'Chosen' and 'chosen' for the same name.
    for places_ in ((3, 4), (5,)):
        assert views.save(rows, "chosen", only(rows, *places_), ["one"], "why") == "chosen_facevlm"
    assert dataset.load_saved_view("Chosen").values("id") == mine.values("id")
    assert places(dataset.load_saved_view("chosen_facevlm")) == [5]
    views.drop(dataset, "chosen", "why")
    assert dataset.list_saved_views() == ["Chosen"]
    with pytest.raises(FieldError, match="'Chosen' is saved already and is not facevlm's"):
        views.check_free(dataset, "Chosen")
    views.save(rows, "ours", only(rows, 1), ["one"], "why")
    views.check_free(dataset, "ours")
    views.check_free(dataset, "nobody_s")
    views.drop(dataset, "ours", "why")
    assert dataset.list_saved_views() == ["Chosen"]

    own = fo.Space(children=[fo.Panel(type="Samples", pinned=True)])
    dataset.save_workspace(workspace.NAME, own)
    assert workspace.save(dataset) == workspace.NAME
    assert len(dataset.load_workspace(workspace.NAME).children) == 1
