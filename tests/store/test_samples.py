"""Datasets from the shipped faces and from a folder: complete, and built again without loss."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

from facevlm.datasets import samples
from facevlm.errors import TargetError
from facevlm.store import samples as records

GREY = Image.new("RGB", (8, 8), (90, 90, 90))


def rows(kind: str) -> list[dict[str, str]]:
    """The lines of labels.csv about the single or the group pictures."""
    with open(samples.FOLDER / "labels.csv", newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if row["file"].startswith(f"{kind}/")]


def names(dataset: fo.Dataset) -> list[str]:
    return [Path(path).name for path in dataset.values("filepath")]


# The shipped faces


def test_every_single_face_is_a_sample_with_its_labels(dataset_name: str) -> None:
    dataset = records.build_singles(dataset_name, samples.read("single"))
    assert dataset.persistent
    told = {
        row["file"]: (row["gender"], row["race"], row["emotion"], row["age_group"], row["age"])
        for row in rows("single")
    }
    fields = ["filepath", "gender.label", "race.label", "emotion.label", "age_group.label", "age"]
    stored = {
        f"single/{Path(path).name}": (*labels, f"{age:g}")
        for path, *labels, age in zip(*dataset.values(fields), strict=True)
    }
    assert stored == {name: (*labels, f"{float(age):g}") for name, (*labels, age) in told.items()}
    assert all(Path(path).is_file() for path in dataset.values("filepath"))


def test_groups_have_as_many_boxes_as_lines(dataset_name: str) -> None:
    dataset = records.build_groups(dataset_name, samples.read("group"))
    told = Counter(row["file"] for row in rows("group"))
    boxes = dataset.values("faces.detections.bounding_box")
    assert {f"group/{name}": len(b) for name, b in zip(names(dataset), boxes, strict=True)} == told
    assert all(0 <= x < x + w <= 1 and 0 <= y < y + h <= 1 for some in boxes for x, y, w, h in some)
    assert dataset.count_values("faces.detections.gender") == Counter(row["gender"] for row in rows("group"))
    assert "faces.detections.age" in dataset.get_field_schema(flat=True)


def test_building_the_samples_again_starts_anew(dataset_name: str) -> None:
    first = records.build_singles(dataset_name, samples.read("single")[:4])
    first.set_values("note", ["mine"] * 4)
    again = records.build_singles(dataset_name, samples.read("single")[:3])
    assert len(again) == 3
    assert not again.has_field("note")


# A folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png and deep/A.JPG, and files that are no pictures."""
    (tmp_path / "deep").mkdir()
    GREY.save(tmp_path / "b.png")
    GREY.save(tmp_path / "deep" / "A.JPG")
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_the_pictures_in_a_folder_and_below_become_samples(folder: Path, dataset_name: str) -> None:
    dataset = records.build_folder(dataset_name, folder)
    assert dataset.persistent
    assert names(dataset) == ["b.png", "A.JPG"]
    assert all(Path(path).is_absolute() for path in dataset.values("filepath"))


def test_building_again_keeps_predictions_and_follows_the_folder(folder: Path, dataset_name: str) -> None:
    dataset = records.build_folder(dataset_name, folder)
    dataset.set_values("m_gender", [fo.Classification(label="Male"), fo.Classification(label="Female")])
    kept = dataset.values("id")[1]
    (folder / "b.png").unlink()
    GREY.save(folder / "c.webp")
    again = records.build_folder(dataset_name, str(folder))
    assert names(again) == ["A.JPG", "c.webp"]
    assert again.values("m_gender.label") == ["Female", None]
    assert again.values("id")[0] == kept
    assert fo.load_dataset(dataset_name).count() == 2


def test_a_folder_by_another_path_is_the_same_folder(folder: Path, dataset_name: str) -> None:
    first = records.build_folder(dataset_name, folder).values("id")
    assert records.build_folder(dataset_name, folder / "deep" / "..").values("id") == first


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "which is not there"),
        ("b.png", "which is a file"),
        ("folder.png", "holds no picture. Expected files"),
    ],
)
def test_a_folder_without_pictures_is_refused_and_changes_nothing(
    name: str, said: str, folder: Path, dataset_name: str
) -> None:
    records.build_folder(dataset_name, folder)
    with pytest.raises(TargetError, match=said):
        records.build_folder(dataset_name, folder / name)
    assert len(fo.load_dataset(dataset_name)) == 2


def test_a_dataset_that_was_not_made_from_a_folder_is_left_as_it_is(folder: Path, dataset_name: str) -> None:
    mine = fo.Dataset(dataset_name)
    mine.add_samples([fo.Sample(filepath="/elsewhere/x.png")], progress=False)
    with pytest.raises(TargetError, match="was not made from a folder"):
        records.build_folder(dataset_name, folder)
    assert mine.values("filepath") == ["/elsewhere/x.png"]
