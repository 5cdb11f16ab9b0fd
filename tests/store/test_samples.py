"""Datasets from the shipped faces and from a folder: complete, and built again without loss."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.datasets import samples
from facevlm.errors import TargetError
from facevlm.store import samples as records
from tests.tasks.test_detect import Bright

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


def test_building_the_samples_again_keeps_what_is_there_and_adds_what_is_missing(dataset_name: str) -> None:
    first = records.build_singles(dataset_name, samples.read("single")[:3])
    first.set_values("note", ["mine"] * 3)
    first.set_values("gender.label", ["Corrected", None, None])
    first.set_values("race", [None] * 3)
    first.match_tags("x").tag_samples("never")
    first.limit(1).tag_samples("label_error")
    first.delete_sample_field("emotion")
    ids = first.values("id")
    again = records.build_singles(dataset_name, samples.read("single")[:4])
    assert again.values("id")[:3] == ids
    assert again.values("note") == ["mine"] * 3 + [None]
    assert again.values("gender.label")[0] == "Corrected"
    assert again.count("race.label") == again.count("emotion.label") == 4
    assert again.count_sample_tags() == {"label_error": 1}
    groups = samples.read("group")
    with pytest.raises(TargetError, match="holds other pictures"):
        records.build_groups(dataset_name, groups)
    assert len(fo.load_dataset(dataset_name)) == 4


def test_the_samples_of_an_installation_that_is_gone_are_those_of_this_one(dataset_name: str, tmp_path: Path) -> None:
    known = samples.read("single")[:3]
    moved = [replace(record, filepath=str(tmp_path / Path(record.filepath).name)) for record in known]
    first = records.build_singles(dataset_name, moved)
    first.limit(1).tag_samples("mine")
    ids = first.values("id")
    again = records.build_singles(dataset_name, known)
    assert again.values("id") == ids
    assert again.first().tags == ["mine"]
    assert again.values("filepath") == [record.filepath for record in known], "the pictures of the other were deleted"


def test_building_the_groups_again_keeps_boxes(dataset_name: str) -> None:
    first = records.build_groups(dataset_name, samples.read("group"))
    ids = first.values("faces.detections.id")
    first.select_labels(ids=[ids[0][0]]).tag_labels("mine", "faces")
    again = records.build_groups(dataset_name, samples.read("group"))
    assert again.values("faces.detections.id") == ids
    assert again.count_label_tags("faces") == {"mine": 1}


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


def test_pictures_of_every_ending_are_media_and_other_files_are_named(folder: Path, dataset_name: str) -> None:
    for name, kind in {"c.avif": "AVIF", "d.jfif": "JPEG", "e.JPE": "JPEG", "f.webp": "WEBP"}.items():
        GREY.save(folder / name, format=kind)
    (folder / "g.heic").touch()
    dataset = records.build_folder(dataset_name, folder)
    assert names(dataset) == ["b.png", "c.avif", "d.jfif", "A.JPG", "e.JPE", "f.webp"]
    assert dataset.media_type == "image"
    left = dataset.info[records.LEFT_OUT]
    assert left["reasons"] == [{"reason": "no ending of a picture", "count": 2}]
    assert [row.partition(": ")[0] for row in left["rows"]] == [str(folder / "g.heic"), str(folder / "notes.txt")]


def test_building_again_keeps_predictions_and_only_adds(folder: Path, dataset_name: str) -> None:
    dataset = records.build_folder(dataset_name, folder)
    dataset.set_values("m_gender", [fo.Classification(label="Male"), fo.Classification(label="Female")])
    kept = dataset.values("id")
    (folder / "b.png").unlink()
    GREY.save(folder / "c.webp")
    again = records.build_folder(dataset_name, str(folder))
    assert names(again) == ["b.png", "A.JPG", "c.webp"]
    assert again.values("m_gender.label") == ["Male", "Female", None]
    assert again.values("id")[:2] == kept


def test_pictures_of_another_folder_are_added(folder: Path, dataset_name: str) -> None:
    dataset = records.build_folder(dataset_name, folder / "deep")
    dataset.tag_samples("reviewed")
    (folder / "deep" / "A.JPG").rename(folder / "A.jpg")
    assert names(records.build_folder(dataset_name, folder)) == ["A.JPG", "A.jpg", "b.png"]
    assert dataset.count_sample_tags() == {"reviewed": 1}


def test_pruning_is_asked_for_counts_and_leaves_what_is_the_users(
    folder: Path, dataset_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("tagged", "labelled", "bare", "answered"):
        GREY.save(folder / f"{name}.png")
    dataset = records.build_folder(dataset_name, folder)
    one = {Path(path).stem: sample for path, sample in zip(dataset.values("filepath"), dataset, strict=True)}
    dataset.select(one["tagged"].id).tag_samples("reviewed")
    dataset.set_values("mine", {one["labelled"].id: fo.Classification(label="x")}, key_field="id")
    answered = dataset.select(one["answered"].id)
    facevlm.apply(answered, "demo", ["gender"], progress=False)
    for path in folder.glob("*.png"):
        if path.stem in one and path.stem != "b":
            path.unlink()
    again = records.build_folder(dataset_name, folder, prune=True)
    assert sorted(names(again)) == ["A.JPG", "b.png", "labelled.png", "tagged.png"]
    said = caplog.text
    assert "2 pictures that are not in the folder were taken out" in said
    assert f"2 stay, since they carry tags or labels of yours: {folder}/labelled.png, {folder}/tagged.png" in said


def test_pruning_tells_the_work_of_somebody_from_what_runs_left(
    folder: Path, dataset_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("found", "drawn", "moved", "noted", "label", "spotted"):
        GREY.save(folder / f"{name}.png")
    dataset = records.build_folder(dataset_name, folder)
    one = {Path(path).stem: sample_id for sample_id, path in zip(*dataset.values(["id", "filepath"]), strict=True)}
    facevlm.apply(dataset, "demo", ["gender"], prefix="demo", progress=False)
    facevlm.detect(dataset, detector=Bright(), progress=False)
    # Called as if a run of the prefix had written it.
    dataset.set_values("demo_notes", {one["noted"]: "see again"}, key_field="id")
    drawn, moved, label = (dataset[one[name]] for name in ("drawn", "moved", "label"))
    drawn.faces.detections.append(fo.Detection(label="face", bounding_box=[0.6, 0.6, 0.2, 0.2]))
    moved.faces.detections[0].bounding_box = [0.2, 0.2, 0.5, 0.5]
    label.demo_gender.tags.append("wrong")
    for sample in (drawn, moved, label):
        sample.save()
    for name in one:
        if name not in ("A", "b"):
            next(folder.rglob(f"{name}.*")).unlink()
    again = records.build_folder(dataset_name, folder, prune=True)
    assert sorted(names(again)) == ["A.JPG", "b.png", "drawn.png", "label.png", "moved.png", "noted.png"]
    assert "2 pictures that are not in the folder were taken out" in caplog.text


def test_a_folder_by_another_path_is_the_same_folder(folder: Path, dataset_name: str) -> None:
    first = records.build_folder(dataset_name, folder).values("id")
    assert records.build_folder(dataset_name, folder / "deep" / "..").values("id") == first


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "which is not there"),
        ("b.png", "which is a file"),
        ("folder.png", "holds no picture. Expected files"),
        ("deep/of", r"Expected files that end in .*\. There is: .*/deep/of/x\.heic: no ending of a picture"),
    ],
)
def test_a_folder_without_pictures_is_refused_and_changes_nothing(
    name: str, said: str, folder: Path, dataset_name: str
) -> None:
    records.build_folder(dataset_name, folder)
    (folder / "deep" / "of").mkdir()
    (folder / "deep" / "of" / "x.heic").touch()
    with pytest.raises(TargetError, match=said):
        records.build_folder(dataset_name, folder / name)
    assert len(fo.load_dataset(dataset_name)) == 2


def test_a_dataset_that_was_not_made_from_a_folder_is_left_as_it_is(folder: Path, dataset_name: str) -> None:
    mine = fo.Dataset(dataset_name)
    mine.add_samples([fo.Sample(filepath="/elsewhere/x.png")], progress=False)
    with pytest.raises(TargetError, match="was not made from a folder"):
        records.build_folder(dataset_name, folder)
    assert mine.values("filepath") == ["/elsewhere/x.png"]


def test_a_dataset_that_takes_no_pictures_is_left_as_it_is(folder: Path, dataset_name: str) -> None:
    records.build_folder(dataset_name, folder)
    grouped = fo.load_dataset(dataset_name)
    grouped.add_group_field("group", default="left")
    before = grouped.last_modified_at
    with pytest.raises(TargetError, match="holds media of type 'group', expected images"):
        records.build_folder(dataset_name, folder, prune=True)
    with pytest.raises(TargetError, match="holds media of type 'group', expected images"):
        records.build_singles(dataset_name, samples.read("single")[:3])
    grouped.reload()
    assert grouped.last_modified_at == before
