"""Readers of published data sets, on small copies of their official layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facevlm.attributes import get
from facevlm.datasets.fairface import repaired_age
from facevlm.errors import InputError, LayoutError, UnknownName
from tests.datasets import layouts
from tests.datasets.layouts import read, reasons

# FairFace


@pytest.mark.parametrize("place", ["", "fairface-img-margin025-trainval", "fairface-img-margin125-trainval"])
def test_fairface_is_read_from_wherever_its_archive_unpacks_to(place: str, tmp_path: Path) -> None:
    records, log = read("fairface", layouts.fairface(tmp_path, place))
    assert [Path(r.filepath).relative_to(tmp_path / place).as_posix() for r in records] == [
        "train/1.jpg",
        "train/2.jpg",
        "train/3.jpg",
        "val/1.jpg",
    ]
    assert [r.labels["age_group"] for r in records] == ["3-9", "10-19", "more than 70", "3-9"]
    assert [r.labels["race"] for r in records] == ["East Asian", "Latinx or Hispanic", "Middle Eastern", "Black"]
    assert [r.split for r in records] == ["train"] * 3 + ["val"]
    assert [r.values["service_test"] for r in records] == [True, False, False, True]
    assert log.count == 0


def test_fairface_of_both_margins_asks_which(tmp_path: Path) -> None:
    for margin in ("025", "125"):
        layouts.fairface(tmp_path, f"fairface-img-margin{margin}-trainval")
    with pytest.raises(InputError, match=r"choose with margin, one of 0\.25, 1\.25"):
        read("fairface", tmp_path)
    records, _ = read("fairface", tmp_path, "val", margin="1.25")
    assert "margin125" in records[0].filepath


def test_fairface_with_one_table_alone_and_a_table_inside(tmp_path: Path) -> None:
    root = layouts.fairface(tmp_path, "margin")
    (root / "fairface_label_train.csv").unlink()
    (root / "fairface_label_val.csv").rename(root / "margin" / "val_labels.csv")
    assert [r.split for r in read("fairface", root)[0]] == ["val"]
    (root / "margin" / "val_labels.csv").unlink()
    with pytest.raises(LayoutError, match="holds no table of labels"):
        read("fairface", root)


@pytest.mark.parametrize(
    ("mangled", "age"),
    [
        ("9-March", "3-9"),
        ("9-Mar", "3-9"),
        ("Mar-09", "3-9"),
        ("3-Sep", "3-9"),
        ("September-3", "3-9"),
        ("19-Oct", "10-19"),
        ("oct-19", "10-19"),
        ("Oct 19", "10-19"),
        ("20-29", "20-29"),
        ("0-2", "0-2"),
        ("more than 70", "more than 70"),
        ("9-Foo", "9-Foo"),
    ],
)
def test_ages_that_a_spreadsheet_took_for_dates_are_repaired(mangled: str, age: str) -> None:
    assert repaired_age(mangled) == age


@given(st.sampled_from(get("age9").labels))
def test_repairing_leaves_every_age_group_as_it_is(label: str) -> None:
    assert repaired_age(label) == label
    assert repaired_age(repaired_age(label)) == repaired_age(label)


def test_broken_rows_are_reported_with_file_and_line(tmp_path: Path) -> None:
    root = layouts.fairface(tmp_path)
    path = root / "fairface_label_train.csv"
    rows = [
        "train/9.jpg,3-9,Male,White,True",
        "train/1.jpg,3-9,Male,Martian,True",
        "train/1.jpg,3-9,Male",
        "train/1.jpg,3-9,Male,White,maybe",
        "train/1.jpg,3-9,Male,White,True,more",
        "../outside.jpg,3-9,Male,White,True",
    ]
    with open(path, "a", encoding="utf-8") as handle:
        handle.write("\n".join(rows) + "\n")
    records, log = read("fairface", root, "train")
    assert len(records) == 5
    assert [(record.labels, record.values) for record in records[3:]] == [
        ({"gender": "Male", "age_group": "3-9"}, {"service_test": True}),
        ({"gender": "Male", "race": "White", "age_group": "3-9"}, {}),
    ]
    assert log.count == len(rows) - 2
    assert log.cells == {"no label of race7": 1, "service_test is neither True nor False": 1}
    assert log.rows == [
        f"{path}:5: picture not there (train/9.jpg)",
        f"{path}:6: no label of race7 (got 'Martian'); the rest of the row is kept",
        f"{path}:7: too few or too many columns",
        f"{path}:8: service_test is neither True nor False (got 'maybe'); the rest of the row is kept",
        f"{path}:9: too few or too many columns",
        f"{path}:10: picture outside of the data set's folder (../outside.jpg)",
    ]


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    root = layouts.fairface(tmp_path)
    layouts.table(root / "fairface_label_train.csv", ("file", "age"), [])
    with pytest.raises(LayoutError, match="has the columns file, age; gender, race missing"):
        read("fairface", root, "train")


# UTKFace


def test_utkface_labels_stand_in_the_names(tmp_path: Path) -> None:
    names = ["100_0_0_20170112213500903.jpg.chip.jpg", "part1/26_1_2_20170116184024662.jpg", "1_1_4_2016122.jpg"]
    malformed = ["61_1_20170109142408075.jpg", "61_3_20170109150557335.jpg", "39_1_20170116174525125.jpg"]
    odd_but_readable = "24_0_1_20170116220224657 .jpg.chip.jpg"
    for name in (*names, *malformed, odd_but_readable):
        layouts.picture(tmp_path / name)
    layouts.text(tmp_path / "notes.txt", ["no picture"])
    records, log = read("utkface", tmp_path)
    found = {Path(r.filepath).name: (r.age, r.split, *r.labels.values()) for r in records}
    assert found == {
        "100_0_0_20170112213500903.jpg.chip.jpg": (100, "cropped", "Male", "White", "more than 70"),
        "26_1_2_20170116184024662.jpg": (26, "wild", "Female", "Asian", "20-29"),
        "1_1_4_2016122.jpg": (1, "wild", "Female", "Others", "0-2"),
        odd_but_readable: (24, "cropped", "Male", "Black", "20-29"),
    }
    assert reasons(log) == {"name is not age_gender_race_date.jpg": 3, "no ending of a picture": 1}
    assert {Path(row.split(": ")[0]).name for row in log.rows} == {*malformed, "notes.txt"}
    assert [r.split for r in read("utkface", tmp_path, "cropped")[0]] == ["cropped"] * 2


def test_utkface_in_a_folder_of_other_pictures_is_refused(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "holiday.jpg")
    with pytest.raises(LayoutError, match=r"holds holiday\.jpg; expected pictures named age_gender_race_date\.jpg"):
        read("utkface", tmp_path)


# AffectNet


def test_affectnet_lists_have_boxes_and_landmarks(tmp_path: Path) -> None:
    records, log = read("affectnet", layouts.affectnet_lists(tmp_path))
    happy, contempt, anger = records
    assert happy.labels == {"emotion": "happy"}
    assert happy.faces[0].box_xywh_rel == pytest.approx((0.1, 0.1, 0.5, 0.8))
    assert happy.faces[0].labels == happy.labels
    assert happy.points_xy_rel == ((0.1, 0.1), (0.6, 0.9))
    assert happy.values == {"valence": 0.5, "arousal": -0.25}
    assert contempt.faces[0].box_xywh_rel == (0, 0, 1, 1), "a box is cut at the picture's edge"
    assert (anger.labels["emotion"], anger.split) == ("anger", "val")
    assert reasons(log) == {
        "left out: no face": 1,
        "expression is none of 0 to 10": 1,
        "picture not there": 1,
    }


def test_affectnet_of_seven_classes_leaves_contempt_out_and_counts_it(tmp_path: Path) -> None:
    records, log = read("affectnet", layouts.affectnet_lists(tmp_path), "train", classes=7)
    assert [r.labels["emotion"] for r in records] == ["happy"]
    assert log.kinds["left out: contempt"] == 1
    with pytest.raises(InputError, match="has 7 or 8 classes, got classes=6"):
        read("affectnet", tmp_path, classes=6)


def test_affectnet_arrays(tmp_path: Path) -> None:
    root = layouts.affectnet_npy(tmp_path)
    records, log = read("affectnet", root)
    assert [(Path(r.filepath).stem, r.labels["emotion"]) for r in records] == [
        ("0", "neutral"),
        ("1", "contempt"),
        ("10", "surprise"),
    ]
    assert records[0].values == {"valence": 0.25, "arousal": -0.5}
    assert records[0].points_xy_rel == ((0.5, 0.5), (1.0, 1.0))
    assert {r.split for r in records} == {"train"}
    assert reasons(log) == {"left out: uncertain": 1}


def test_affectnet_arrays_that_are_none_are_reported(tmp_path: Path) -> None:
    notes = layouts.affectnet_npy(tmp_path) / "train_set" / "annotations"
    (notes / "0_exp.npy").write_bytes(b"no array")
    (notes / "1_exp.npy").unlink()
    np.save(notes / "2_exp.npy", np.array("happy"))
    for name in ("val", "aro", "lnd"):
        (notes / f"10_{name}.npy").unlink()
    records, log = read("affectnet", tmp_path)
    assert [(r.values, r.points_xy_rel) for r in records] == [({}, ())]
    assert reasons(log) == {"unreadable .npy": 2, "no exp.npy": 1}


# CelebA, MUCAC


@pytest.mark.parametrize("as_csv", [False, True])
def test_celeba_has_forty_answers_and_gender(as_csv: bool, tmp_path: Path) -> None:
    records, log = read("celeba", layouts.celeba(tmp_path, as_csv=as_csv))
    man, woman, _ = records
    assert len(man.labels) == 41
    assert {name for name, said in man.labels.items() if said == "yes"} == {"celeba_male", "celeba_smiling"}
    assert (man.labels["gender"], woman.labels["gender"]) == ("Male", "Female")
    assert woman.labels["celeba_young"] == "yes"
    assert [r.split for r in records] == ["train", "val", "test"]
    assert log.count == 0


def test_some_of_the_forty(tmp_path: Path) -> None:
    root = layouts.celeba(tmp_path)
    records, _ = read("celeba", root, "train", only="Smiling, celeba_eyeglasses")
    assert [r.labels for r in records] == [
        {"celeba_smiling": "yes", "celeba_eyeglasses": "no", "gender": "Male"},
    ]
    with pytest.raises(UnknownName, match="Unknown attribute of CelebA 'celeba_smilin'"):
        read("celeba", root, only="smilin")


def test_celeba_rows_that_are_none_are_reported(tmp_path: Path) -> None:
    root = layouts.celeba(tmp_path)
    path = root / "Anno" / "list_attr_celeba.txt"
    with open(path, "a", encoding="utf-8") as handle:
        handle.write("000004.jpg 1 1\n" + "000001.jpg " + "7 " * 40 + "\n")
    records, log = read("celeba", root)
    assert len(records) == 3
    assert log.rows == [
        f"{path}:6: not 41 columns (got 3)",
        f"{path}:7: an attribute is neither 1 nor -1 (got '7')",
    ]
    layouts.text(path, ["1", "Some Other Columns", "000001.jpg 1 1 1"])
    with pytest.raises(LayoutError, match="the columns are not CelebA's forty"):
        read("celeba", root)


def test_mucac_splits_by_identity_and_forgets_who(tmp_path: Path) -> None:
    records, log = read("mucac", layouts.mucac(tmp_path))
    assert [(Path(r.filepath).name, r.split, r.tags) for r in records] == [
        ("0.jpg", "val", ()),
        ("1.jpg", "train", ("forget",)),
        ("2.jpg", "train", ("retain",)),
        ("3.jpg", "test", ()),
    ]
    assert records[0].labels == {"gender": "Female", "celeba_smiling": "yes", "celeba_young": "no"}
    assert not records[0].values
    assert reasons(log) == {"no identity, so no split": 1}


# MUFAC, RAF-DB


def test_mufac_has_eight_age_groups_and_years_from_the_name(tmp_path: Path) -> None:
    records, log = read("mufac", layouts.mufac(tmp_path))
    assert [(r.labels["age_group"], r.age, r.split) for r in records] == [
        ("13-19", 18, "train"),
        ("31-45", 45, "train"),
        ("67-80", 70, "val"),
        ("0-6", None, "test"),
    ]
    assert reasons(log) == {"age_class is none of a to h": 1}
    assert not any(r.values or r.tags for r in records), "families are not kept"
    assert [r.split for r in read("mufac", tmp_path, "val")[0]] == ["val"]


def test_rafdb_has_emotion_and_manual_annotations(tmp_path: Path) -> None:
    root = layouts.rafdb(tmp_path)
    records, log = read("rafdb", root)
    assert [r.labels for r in records] == [
        {"emotion": "sad", "race": "White", "age_group": "20-39", "gender": "Female"},
        {"emotion": "happy", "race": "Asian", "age_group": "70 or more"},
        {"emotion": "surprise", "race": "Black", "age_group": "0-3", "gender": "Male"},
    ]
    assert [r.split for r in records] == ["train", "train", "test"]
    assert all(r.filepath.endswith("_aligned.jpg") for r in records)
    assert reasons(log) == {"emotion is none of 1 to 7": 1, "not 2 words": 1}
    assert read("rafdb", root, "test", pictures="original")[0][0].filepath.endswith("original/test_0001.jpg")
    with pytest.raises(InputError, match="aligned or original, got 'cut'"):
        read("rafdb", root, pictures="cut")


def test_rafdb_without_manual_annotations_has_emotions(tmp_path: Path) -> None:
    root = layouts.rafdb(tmp_path)
    manual = root / "basic" / "Annotation" / "manual"
    (manual / "train_00001_manu_attri.txt").write_text("0 0\n" * 5 + "1\n0\n", encoding="utf-8")
    (manual / "train_00002_manu_attri.txt").unlink()
    _, log = read("rafdb", root, "train")
    assert log.kinds["manual annotation has not gender, race and age"] == 1
    assert log.kinds["manual annotation not there"] == 1
    manual.rename(root / "elsewhere")
    assert [r.labels for r in read("rafdb", root, "train")[0]] == [{"emotion": "sad"}, {"emotion": "happy"}]


# FER2013


def test_fer2013_folders(tmp_path: Path) -> None:
    for name in ("train/angry/1.jpg", "validation/happy/2.jpg", "test/neutral/3.png"):
        layouts.picture(tmp_path / "FER2013" / name)
    layouts.picture(tmp_path / "FER2013" / "train" / "bored" / "4.jpg")
    records, log = read("fer2013", tmp_path)
    assert {(r.labels["emotion"], r.split) for r in records} == {
        ("anger", "train"),
        ("happy", "val"),
        ("neutral", "test"),
    }
    assert reasons(log) == {"folder is no label of emotion7": 1}


def test_fer2013_csv_needs_a_folder_to_write_to(tmp_path: Path) -> None:
    root, out = layouts.fer2013(tmp_path / "in"), tmp_path / "out"
    with pytest.raises(InputError, match="name the folder to write pictures to, extract_to"):
        read("fer2013", root)
    records, log = read("fer2013", root, extract_to=str(out))
    assert [(r.labels["emotion"], r.split) for r in records] == [
        ("anger", "train"),
        ("happy", "val"),
        ("neutral", "test"),
    ]
    pixels = np.asarray(Image.open(records[0].filepath))
    assert pixels.shape == (48, 48)
    assert pixels.ravel()[:3].tolist() == [0, 1, 2]
    assert reasons(log) == {"pixels are not 2304 numbers from 0 to 255": 1}
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(read("fer2013", root, "val", extract_to=str(out))[0]) == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == kept, "what is there is not written again"


def test_fer2013_as_the_contest_gave_it_has_blanks_in_the_names_of_its_columns(tmp_path: Path) -> None:
    path = layouts.fer2013(tmp_path) / "fer2013.csv"
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    lines = [f"{emotion},{usage},{pixels}" for emotion, pixels, usage in rows]
    layouts.text(tmp_path / "icml_face_data.csv", ["emotion, Usage, pixels", *lines])
    path.unlink()
    records, _ = read("fer2013", tmp_path, extract_to=str(tmp_path / "out"))
    assert [r.split for r in records] == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("7", "1", "Training"), "emotion is none of 0 to 6"),
        (("x", "1", "Training"), "emotion is none of 0 to 6"),
        (("1", "1", "Public"), "Usage is none of Training, PublicTest, PrivateTest"),
        (("1", "-1 " * 2304, "Training"), "pixels are not 2304 numbers from 0 to 255"),
        (("1", "256 " * 2304, "Training"), "pixels are not 2304 numbers from 0 to 255"),
    ],
)
def test_fer2013_rows_that_are_none_write_no_picture(row: tuple[str, str, str], reason: str, tmp_path: Path) -> None:
    path = layouts.table(tmp_path / "fer2013.csv", ("emotion", "pixels", "Usage"), [row])
    records, log = read("fer2013", tmp_path, extract_to=str(tmp_path / "out"))
    assert records == []
    assert log.kinds == {reason: 1}
    assert log.rows[0].startswith(f"{path}:2: ")
    assert not list((tmp_path / "out").rglob("*.png"))


# FACET, Casual Conversations


def test_facet_has_people_with_boxes_and_votes(tmp_path: Path) -> None:
    records, log = read("facet", layouts.facet(tmp_path))
    two, one = records
    assert [p.labels for p in two.faces] == [
        {"gender": "Male", "age_group": "older", "skin_tone": "3"},
        {"skin_tone": "9"},
    ]
    assert two.labels == {}, "labels of one person say nothing about a picture of two"
    assert [p.box_xywh_rel for p in two.faces] == [(0, 0, 0.5, 1), (0.75, 0, 0.25, 1)]
    assert [p.values["has_cap"] for p in two.faces] == [False, True]
    assert two.faces[0].kind == "person"
    expected = {"gender": "Female", "hair_color": "red", "hair_type": "wavy", "lighting": "dimly lit"}
    assert one.labels == one.faces[0].labels == expected
    assert reasons(log) == {"bounding_box has not x, y, width and height": 1, "picture not there": 1}


def test_casual_conversations_has_skin_type_and_light_of_frames(tmp_path: Path) -> None:
    records, log = read("casual-conversations", layouts.casual_conversations(tmp_path))
    found = [(Path(r.filepath).name, r.age, r.labels) for r in records]
    first = {"gender": "Female", "age_group": "30-39", "skin_tone": "V"}
    assert found == [
        ("1140_00.png", 33, first | {"lighting": "bright"}),
        ("frame1.png", 33, first | {"lighting": "dark"}),
        ("frame2.png", 33, first | {"lighting": "dark"}),
        ("2000_00_orig.jpg", None, {"skin_tone": "I", "lighting": "bright"}),
    ]
    assert reasons(log) == {"no frame of the video": 1, "entry without files, dark_files and label": 1}


@pytest.mark.parametrize(("content", "said"), [("{", "Cannot read"), (json.dumps([1]), "holds a list")])
def test_casual_conversations_in_another_form_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "CasualConversations.json").write_text(content, encoding="utf-8")
    with pytest.raises(LayoutError, match=said):
        read("casual-conversations", tmp_path)
