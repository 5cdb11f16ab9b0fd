"""What all readers share: options, wrong folders, splits, memory; and the readers of your own tables and folders."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facevlm import attributes
from facevlm.attributes import canonical, get
from facevlm.datasets import catalog, files
from facevlm.datasets.folders import field_of
from facevlm.datasets.records import SHOWN, BrokenRow, Log
from facevlm.errors import InputError, LayoutError, TaxonomyError, UnknownName
from facevlm.faces import images
from tests.datasets import layouts
from tests.datasets.layouts import read, reasons

LAYOUTS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "fairface": (layouts.fairface, {}),
    "affectnet": (layouts.affectnet_lists, {}),
    "celeba": (layouts.celeba, {}),
    "mufac": (layouts.mufac, {}),
    "mucac": (layouts.mucac, {}),
    "rafdb": (layouts.rafdb, {}),
    "fer2013": (layouts.fer2013, {"extract_to": "out"}),
    "facet": (layouts.facet, {}),
    "casual-conversations": (layouts.casual_conversations, {}),
}
NEEDED = {"fairface-hub": {"extract_to": "out"}, "fer2013": {"extract_to": "out"}, "folders": {"attribute": "gender"}}
"""Options without which a reader does not read."""


# All readers


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_are_those_of_the_attributes_that_the_reader_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, options = LAYOUTS[name]
    root = make(tmp_path / "data")
    fields = catalog.reader(name, options).fields(root)
    known = attributes.load("celeba")
    records, _ = read(name, root, **options)
    assert records
    for labels in (part for r in records for part in (r.labels, *(face.labels for face in r.faces))):
        assert set(labels) <= set(fields)
        assert all(canonical(known.get(fields[field]), value) == value for field, value in labels.items())
    for record in records:
        assert Path(record.filepath).is_file()
        assert Path(record.filepath).is_absolute()
        assert all(0 <= x < x + w <= 1 and 0 <= y < y + h <= 1 for x, y, w, h in (f.box_xywh_rel for f in record.faces))


@pytest.mark.parametrize("name", [name for name in LAYOUTS if catalog.READERS[name].card.splits])
def test_the_splits_of_a_data_set_add_up(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, options = LAYOUTS[name]
    root = make(tmp_path / "data")
    splits = catalog.READERS[name].card.splits
    paths = [r.filepath for r in read(name, root, **options)[0]]
    apart = [[r.filepath for r in read(name, root, split, **options)[0]] for split in splits]
    assert sorted(itertools.chain(*apart)) == sorted(paths)
    with pytest.raises(InputError, match=f"has no split 'dev'; it has {', '.join(splits)}"):
        read(name, root, "dev", **options)


@pytest.mark.parametrize("name", ["diversefaces", "facet", "casual-conversations"])
def test_a_data_set_without_splits_has_none_to_give(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no split 'val'; it has none"):
        read(name, tmp_path, "val")


@pytest.mark.parametrize("name", sorted(catalog.READERS))
@pytest.mark.parametrize("kind", ["empty", "missing", "a file", "something else"])
def test_a_wrong_folder_is_told_what_is_expected_and_where_to_get_it(name: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    said = {"empty": "is empty", "missing": "is not there", "a file": "is a file", "something else": "holds sub/"}[kind]
    if kind == "a file":
        folder.write_text("text", encoding="utf-8")
    elif kind != "missing":
        folder.mkdir()
    if kind == "something else":
        (folder / "sub").mkdir()
    card = catalog.READERS[name].card
    with pytest.raises(LayoutError) as caught:
        read(name, folder, **NEEDED.get(name, {}))
    message = str(caught.value)
    assert f"'{folder}' {said}; expected {card.layout}." in message
    assert f"{card.title}: {card.url} (licence: {card.licence})." in message


def test_a_long_listing_of_what_was_found_is_cut(tmp_path: Path) -> None:
    for k in range(9):
        (tmp_path / f"f{k}").touch()
    with pytest.raises(LayoutError, match="holds f0, f1, f2, f3, f4, f5 and 3 more; expected"):
        read("mufac", tmp_path)


@pytest.mark.parametrize("name", sorted(catalog.READERS))
def test_every_card_names_attributes_that_are_registered(name: str) -> None:
    card = catalog.READERS[name].card
    known = attributes.load("celeba").attributes
    assert card.name == name
    assert card.licence
    assert set(card.attributes.values()) <= set(known)


def test_options_are_checked() -> None:
    with pytest.raises(UnknownName, match=r"Unknown data set 'utkfaces'.*Did you mean 'utkface'"):
        catalog.reader("utkfaces")
    with pytest.raises(UnknownName, match=r"Unknown option of affectnet 'clases'.*Did you mean 'classes'"):
        catalog.reader("affectnet", {"clases": 7})
    with pytest.raises(InputError, match="Option classes of affectnet: got 'seven', expected a whole number"):
        catalog.reader("affectnet", {"classes": "seven"})
    assert dataclasses.asdict(catalog.reader("affectnet", {"classes": "7"})) == {"classes": 7}
    assert dataclasses.asdict(catalog.reader("celeba", {"only": "smiling"})) == {"only": "smiling"}


def test_a_log_counts_all_and_names_some() -> None:
    log = Log()
    for k in range(SHOWN + 20):
        log.skip("broken", f"x.csv:{k}")
    log.leave("left out: no face")
    assert log.count == SHOWN + 21
    assert len(log.rows) == SHOWN
    assert log.to_dict()["reasons"] == [
        {"reason": "broken", "count": SHOWN + 20},
        {"reason": "left out: no face", "count": 1},
    ]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "p.jpg")

    def peak(rows: int) -> int:
        with open(tmp_path / "t.csv", "w", encoding="utf-8") as handle:
            handle.write("file,gender,age\n")
            handle.writelines(f"p.jpg,Male,{k % 90}\n" if k % 5 else f"away{k}.jpg,Male,3\n" for k in range(rows))
        log = Log()
        tracemalloc.start()
        count = sum(1 for _ in catalog.reader("csv").read(tmp_path, log))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, log.count) == (rows * 4 // 5, rows // 5)
        return most

    assert peak(20_000) < 1.5 * peak(5_000)


# Parts


def test_pictures_come_in_order_and_hidden_ones_do_not(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.webp", ".hidden/x.jpg", "._c.jpg"):
        layouts.picture(tmp_path / "p.png")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / "p.png").rename(tmp_path / name)
    for name in ("notes.txt", "Thumbs.db", ".DS_Store"):
        (tmp_path / name).touch()
    log = Log()
    found = [Path(p).relative_to(tmp_path).as_posix() for p in files.pictures(tmp_path, log)]
    assert found == ["a.webp", "b/1.png", "b/2.JPG"]
    assert reasons(log) == {"no ending of a picture": 1}
    assert log.rows[0].startswith(f"{tmp_path}/notes.txt: no ending of a picture (expected .jpg, ")


def test_every_ending_of_a_picture_is_taken_and_others_are_named(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF", "JPEG": "JPEG", "tiff": "TIFF"}
    (tmp_path / "happy").mkdir()
    for end, kind in kinds.items():
        Image.new("RGB", (8, 8)).save(tmp_path / "happy" / f"a.{end}", format=kind)
    (tmp_path / "happy" / "b.heic").touch()
    os.mkfifo(tmp_path / "happy" / "pipe.png")
    records, log = read("folders", tmp_path, attribute="emotion7")
    assert {Path(r.filepath).name for r in records} == {f"a.{end}" for end in kinds}
    assert reasons(log) == {"no ending of a picture": 1, "no file": 1}
    assert all(images.load(r.filepath).size == (8, 8) for r in records)


def test_a_link_back_to_its_own_folder_is_not_followed(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "Male" / "1.jpg")
    (tmp_path / "Male" / "again").symlink_to(tmp_path)
    records, log = read("folders", tmp_path, attribute="gender")
    assert len(records) == 1
    assert reasons(log) == {"link to a folder that it lies in": 1}


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "-inf", "1,5"])
def test_what_is_no_number_is_a_broken_row(value: str) -> None:
    with pytest.raises(BrokenRow, match="age is no number"):
        files.number(value, "age")


def test_boxes_are_cut_at_the_edges_and_refused_outside() -> None:
    assert files.relative_box(-10, -10, 60, 60, (100, 50)) == (0, 0, 0.5, 1)
    for box in ((200, 0, 10, 10), (0, 0, 0, 10), (0, 60, 10, 10), (-20, 0, 10, 10)):
        with pytest.raises(BrokenRow, match="box outside of the picture"):
            files.relative_box(*box, (100, 50))


def test_a_file_that_is_no_picture_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(BrokenRow, match="picture cannot be read"):
        files.size(str(tmp_path / "x.jpg"))


# Folders


def test_folders_per_class_with_and_without_splits(tmp_path: Path) -> None:
    for name in ("woman/1.jpg", "valid/Male/2.jpg", "train/deep/male/3.jpg"):
        layouts.picture(tmp_path / name)
    records, log = read("folders", tmp_path, attribute="gender")
    assert {(Path(r.filepath).name, r.labels["gender"], r.split) for r in records} == {
        ("1.jpg", "Female", None),
        ("2.jpg", "Male", "val"),
        ("3.jpg", "Male", "train"),
    }
    assert log.count == 0
    assert [Path(r.filepath).name for r in read("folders", tmp_path, "val", attribute="gender")[0]] == ["2.jpg"]


def test_folders_need_an_attribute_and_go_to_the_field_of_its_family(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name the attribute"):
        read("folders", tmp_path)
    layouts.picture(tmp_path / "20-29" / "1.jpg")
    records, _ = read("folders", tmp_path, attribute="age9")
    assert records[0].labels == {"age_group": "20-29"}


# Tables


@pytest.fixture
def pictures_in(tmp_path: Path) -> Path:
    for k in range(3):
        layouts.picture(tmp_path / "images" / f"{k}.jpg")
    return tmp_path


def test_a_table_is_understood_by_the_names_of_its_columns(pictures_in: Path) -> None:
    rows = [
        ("images/0.jpg", "M", "Others", 31, "training", "x"),
        ("images/1.jpg", "woman", "asian", "", "Validation", "y"),
        ("images/2.jpg", "", "Black", 4.5, "extra", "z"),
    ]
    layouts.table(pictures_in / "labels.csv", ("file", "gender", "race", "Age", "split", "note"), rows)
    records, log = read("csv", pictures_in)
    assert [(r.labels, r.age, r.split) for r in records] == [
        ({"gender": "Male", "race": "Others"}, 31, "train"),
        ({"gender": "Female", "race": "Asian"}, None, "val"),
        ({"race": "Black"}, 4.5, "extra"),
    ]
    assert catalog.reader("csv").fields(pictures_in) == {"gender": "gender", "race": "race5"}
    assert log.count == 0
    assert len(read("csv", pictures_in, "val")[0]) == 1


def test_columns_that_are_named_otherwise_are_named_by_the_caller(pictures_in: Path) -> None:
    rows = [("0.jpg", "male", "East Asian", 40), ("1.jpg", "female", "White", -4), ("2.jpg", "male", "Martian", 1)]
    path = layouts.table(pictures_in / "labels.csv", ("image", "sex", "origin", "years_old"), rows)
    with pytest.raises(LayoutError, match=r"without a column of labels \(image, sex, origin, years_old\)"):
        read("csv", pictures_in)
    options = {"columns": "sex=gender, origin=race7, years_old=age", "pictures": str(pictures_in / "images")}
    records, log = read("csv", path, **options)
    assert [(r.labels, r.age) for r in records] == [
        ({"gender": "Male", "race": "East Asian"}, 40),
        ({"gender": "Female", "race": "White"}, None),
        ({"gender": "Male"}, 1),
    ]
    assert log.count == 0
    assert log.to_dict()["cells"] == {
        "count": 2,
        "reasons": [{"reason": "age is not from 0 to 120", "count": 1}, {"reason": "no label of race7", "count": 1}],
    }
    assert log.rows[0] == f"{path}:3: age is not from 0 to 120 (got '-4'); the rest of the row is kept"
    with pytest.raises(
        InputError, match="Got columns 'gendr=gender', expected COLUMN=ATTRIBUTE with one of image, sex"
    ):
        read("csv", path, columns="gendr=gender")
    with pytest.raises(UnknownName, match="Unknown attribute 'race9'"):
        read("csv", path, columns="origin=race9")


def test_pictures_of_ones_own_table_may_lie_anywhere(
    pictures_in: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = layouts.picture(tmp_path_factory.mktemp("elsewhere") / "x.jpg")
    (pictures_in / "tables").mkdir()
    rows = [(str(elsewhere), "Male"), ("../images/1.jpg", "Female"), ("images/0.jpg", "Male")]
    layouts.table(pictures_in / "tables" / "t.csv", ("file", "gender"), rows)
    records, log = read("csv", pictures_in / "tables")
    assert [r.filepath for r in records] == [str(elsewhere), str(pictures_in / "images" / "1.jpg")]
    assert reasons(log) == {"picture not there": 1}


@pytest.mark.parametrize("odd", ["999", "-1", "nan", "inf", "unknown", "30-40", "1e9"])
def test_an_odd_age_costs_itself_alone(odd: str, pictures_in: Path) -> None:
    rows = [(f"images/{k}.jpg", "Male", age) for k, age in enumerate((31, odd, ""))]
    layouts.table(pictures_in / "t.csv", ("file", "gender", "age"), rows)
    records, log = read("csv", pictures_in)
    assert [(r.labels, r.age) for r in records] == [({"gender": "Male"}, 31), *[({"gender": "Male"}, None)] * 2]
    assert (log.count, log.cells.total()) == (0, 1)


@pytest.mark.parametrize("column", ["age", "Age", "years"])
def test_a_column_age_that_holds_groups_is_read_as_groups(column: str, pictures_in: Path) -> None:
    rows = [("images/0.jpg", "3-9"), ("images/1.jpg", "more than 70"), ("images/2.jpg", "19-Oct")]
    layouts.table(pictures_in / "t.csv", ("file", column), rows)
    records, _ = read("csv", pictures_in)
    assert [r.labels for r in records] == [{"age_group": "3-9"}, {"age_group": "more than 70"}, {"age_group": "10-19"}]
    assert catalog.reader("csv").fields(pictures_in) == {"age_group": "age9"}


def test_a_column_age_that_is_neither_years_nor_groups_names_the_way_out(pictures_in: Path) -> None:
    layouts.table(pictures_in / "t.csv", ("file", "age"), [("images/0.jpg", "old"), ("images/1.jpg", "ancient")])
    with pytest.raises(TaxonomyError, match=r"column 'age': got ancient, old, expected labels of one of .*columns="):
        read("csv", pictures_in)


def test_two_columns_of_one_field_are_refused(pictures_in: Path) -> None:
    layouts.table(pictures_in / "t.csv", ("file", "age", "age_group"), [("images/0.jpg", "3-9", "3-9")])
    with pytest.raises(InputError, match=r"age and age_group would both become the field 'age_group'.*columns=age=age"):
        read("csv", pictures_in)
    assert read("csv", pictures_in, columns="age=age9")[0][0].labels == {"age_group": "3-9"}
    layouts.text(pictures_in / "t.csv", ["file,gender,gender", "images/0.jpg,Male,Female"])
    with pytest.raises(LayoutError, match="has the column gender more than once"):
        read("csv", pictures_in)


def test_a_picture_that_is_not_there_is_told_by_where_it_was_looked_for(pictures_in: Path) -> None:
    layouts.table(pictures_in / "t.csv", ("file", "gender"), [("0.jpg", "Male")])
    _, log = read("csv", pictures_in)
    assert f"picture not there ({pictures_in}/0.jpg; pictures=FOLDER says where" in log.rows[0]
    assert len(read("csv", pictures_in, pictures="images")[0]) == 1, "from the table's own folder"
    with pytest.raises(
        InputError, match=f"Got pictures='imgs', expected a folder; there is no .* or {pictures_in}/imgs"
    ):
        read("csv", pictures_in, pictures="imgs")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_spreadsheets_write_it(mark: str, encoding: str, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "Zoë, 1.jpg")
    lines = [mark.join(("file", "gender", "age")), mark.join(('"Zoë, 1.jpg"', "Female", "31"))]
    (tmp_path / "t.tsv").write_bytes("\r\n".join(lines).encode(encoding))
    records, log = read("csv", tmp_path)
    assert [(Path(r.filepath).name, r.labels, r.age) for r in records] == [("Zoë, 1.jpg", {"gender": "Female"}, 31)]
    assert log.count == 0


def test_a_table_that_is_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(OSError, match="it is a named pipe, expected a file"):
        read("csv", tmp_path)
    (tmp_path / "t.csv").unlink()
    (tmp_path / "t.csv").touch()
    os.truncate(tmp_path / "t.csv", 100 * 10**9)
    with pytest.raises(LayoutError, match=r"t\.csv has a line of more than 1,048,576 characters"):
        read("csv", tmp_path)


def test_a_table_of_years_alone_is_a_table(pictures_in: Path) -> None:
    layouts.table(pictures_in / "t.csv", ("path", "years"), [("images/0.jpg", 7), ("images/1.jpg", 8)])
    assert [(r.labels, r.age) for r in read("csv", pictures_in)[0]] == [({}, 7), ({}, 8)]
    assert catalog.reader("csv").fields(pictures_in) == {}


def test_a_table_without_pictures_or_with_strange_labels_is_refused(pictures_in: Path) -> None:
    layouts.table(pictures_in / "labels.csv", ("name", "gender"), [("0.jpg", "Male")])
    with pytest.raises(LayoutError, match="without a column of pictures"):
        read("csv", pictures_in)
    layouts.table(pictures_in / "labels.csv", ("file", "emotion"), [("images/0.jpg", "bored")])
    with pytest.raises(
        TaxonomyError, match=r"column 'emotion': got bored, expected labels of one of emotion8, emotion7"
    ):
        read("csv", pictures_in)


def test_one_strange_label_does_not_decide_what_a_column_is(pictures_in: Path) -> None:
    rows = [("images/0.jpg", "Others"), ("images/1.jpg", "Martian"), ("images/2.jpg", "Asian")]
    path = layouts.table(pictures_in / "labels.csv", ("file", "race"), rows)
    records, log = read("csv", pictures_in)
    assert [r.labels for r in records] == [{"race": "Others"}, {"race": "Asian"}]
    assert log.rows == [f"{path}:3: no label of race5 (got 'Martian')"]


OWN = "attributes: {glasses: {question: glasses, labels: [worn, none], aliases: {worn: ['1']}}}"


def test_attributes_of_ones_own(pictures_in: Path) -> None:
    file = pictures_in / "own.yaml"
    file.write_text(OWN, encoding="utf-8")
    layouts.table(pictures_in / "t.csv", ("file", "glasses", "has"), [("images/0.jpg", "none", 1)])
    assert read("csv", pictures_in, attributes_file=str(file))[0][0].labels == {"glasses": "none"}
    options = {"attributes_file": str(file), "columns": "has=glasses"}
    assert read("csv", pictures_in, **options)[0][0].labels == {"glasses": "worn"}
    celeba = {"attributes_file": "celeba", "attribute": "celeba_smiling"}
    layouts.picture(pictures_in / "smiles" / "yes" / "1.jpg")
    assert read("folders", pictures_in / "smiles", **celeba)[0][0].labels == {"celeba_smiling": "yes"}


def test_of_several_tables_one_is_chosen(pictures_in: Path) -> None:
    for name in ("a", "b"):
        layouts.table(pictures_in / f"{name}.csv", ("file", "emotion7"), [("images/0.jpg", "happy")])
    with pytest.raises(InputError, match=r"holds a\.csv, b\.csv: choose with file"):
        read("csv", pictures_in)
    assert read("csv", pictures_in, file="b.csv")[0][0].labels == {"emotion": "happy"}
    with pytest.raises(LayoutError, match=r"holds no file 'c\.csv'"):
        read("csv", pictures_in, file="c.csv")


def test_a_table_that_is_no_text_is_reported_line_by_line(pictures_in: Path) -> None:
    path = pictures_in / "labels.csv"
    path.write_bytes(b"file,gender\nimages/0.jpg,Male\nimages/1.jpg,M\xff\xfe\nimages/2.jpg,Female\n\n")
    records, log = read("csv", pictures_in, columns="gender=gender")
    assert [Path(r.filepath).name for r in records] == ["0.jpg", "2.jpg"]
    assert log.rows[0].startswith(f"{path}:3: no label of gender")


def test_every_family_has_one_field() -> None:
    shown = {"gender": "gender", "race5": "race", "emotion8": "emotion", "age8": "age_group", "skin_tone6": "skin_tone"}
    assert {name: field_of(get(name)) for name in shown} == shown
    assert get("age8").labels[-1] == "67-80"
