"""Many values at once: read and written as FiftyOne itself would."""

from __future__ import annotations

import fiftyone as fo
import fiftyone.core.utils as fou
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.store import columns, workspace


@pytest.fixture
def dataset(dataset_name: str) -> fo.Dataset:
    made = fo.Dataset(dataset_name)
    labels = [fo.Classification(label=f"l{k}", confidence=k / 10, logits=np.array([k, -k])) for k in range(6)]
    labels[2], labels[4].logits = None, None
    made.add_samples(
        [fo.Sample(filepath=f"/x/{k}.png", n=k, gender=label) for k, label in enumerate(labels)], progress=False
    )
    return made


def test_columns_are_read_as_fiftyone_reads_them(dataset: fo.Dataset) -> None:
    paths = ["id", "filepath", "n", "gender.id", "gender.label", "gender.confidence", "nowhere.label", "tags"]
    for view in (dataset, dataset.match(fo.ViewField("n") > 2), dataset.limit(2), dataset.sort_by("n", reverse=True)):
        found = columns.read(view, paths)
        for path in paths:
            wanted = [None] * len(view) if path == "nowhere.label" else view.values(path)
            assert found[path] == wanted, path
    assert columns.read(dataset.limit(1).match(fo.ViewField("n") > 9), ["id", "n"]) == {"id": [], "n": []}


def test_vectors_are_read_as_fiftyone_reads_them(dataset: fo.Dataset) -> None:
    table = columns.vectors(columns.read(dataset, ["gender.logits"])["gender.logits"], 2)
    for row, vector in zip(table, dataset.values("gender.logits"), strict=True):
        if vector is None:
            assert np.isnan(row).all()
        else:
            assert row.tolist() == vector.tolist()


@given(st.lists(st.none() | st.lists(st.floats(width=32), min_size=1, max_size=4), max_size=8), st.booleans())
def test_vectors_of_any_length_and_type(rows: list[list[float] | None], half: bool) -> None:
    kind = np.float32 if half else np.float64
    stored = [None if row is None else fou.serialize_numpy_array(np.array(row, dtype=kind)) for row in rows]
    table = columns.vectors(stored, 3)
    assert table.shape == (len(rows), 3)
    for found, row in zip(table, rows, strict=True):
        wanted = row if row is not None and len(row) == 3 else [np.nan] * 3
        assert np.array_equal(found, np.array(wanted), equal_nan=True)


def test_vectors_that_were_given_as_lists() -> None:
    packed = fou.serialize_numpy_array(np.array([3.0, 4.0]))
    table = columns.vectors([[1.0, 2.0], packed, [1.0], None], 2)
    assert table[:2].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.isnan(table[2:]).all()


def test_columns_are_written_by_one_merge(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("right", fo.BooleanField)
    dataset.add_sample_field("mapped", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    held, before = dataset.first(), dataset.values("last_modified_at")
    ids = dataset.limit(4).values("id")
    labels = [columns.classification(label, confidence=0.5) for label in ("a", None, "b", "c")]
    columns.write(dataset, ids, {"right": [True, None, False, True], "mapped": labels})
    assert dataset.values("right") == [True, None, False, True, None, None]
    assert dataset.values("mapped.label") == ["a", None, "b", "c", None, None]
    assert held.right is True  # a sample that was in memory is not out of date
    assert isinstance(dataset.first().mapped, fo.Classification)
    assert dataset.values("gender.label") == ["l0", "l1", None, "l3", "l4", "l5"]
    changed = [a != b for a, b in zip(before, dataset.values("last_modified_at"), strict=True)]
    assert changed == [True] * 4 + [False] * 2
    assert len(set(dataset.values("mapped.id")) - {None}) == 3


def test_nothing_is_left_behind_by_writing(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("right", fo.BooleanField)
    database = dataset._sample_collection.database
    before = sorted(database.list_collection_names())
    columns.write(dataset, dataset.values("id"), {"right": [True] * 6})
    columns.write(dataset, [], {"right": []})
    columns.write(dataset, ["0" * 24], {"right": [True]})  # of a sample that was deleted meanwhile
    with pytest.raises(ValueError, match="zip"):
        columns.write(dataset, dataset.values("id"), {"right": [True]})
    assert sorted(database.list_collection_names()) == before
    assert len(dataset) == 6


def test_the_workspace_lays_the_panel_beside_the_grid(dataset: fo.Dataset) -> None:
    name = workspace.save(dataset)
    assert workspace.save(dataset) == name
    space = dataset.load_workspace(name)
    kinds = [[panel.type for panel in part.children] for part in space.children]
    assert kinds == [["Samples"], ["face_attribute_errors", "model_evaluation_panel_builtin"]]
    assert workspace.path(dataset).endswith("?workspace=face-attribute-errors")
