"""Tables and texts read one row at a time, and what is found in folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, Log, Record
from facevlm.errors import LayoutError
from tests.datasets import layouts

LONGEST_PATH = 4096
"""Bytes of a path that Linux opens."""


def take(row: files.Row) -> Record | None:
    """A record of each row; 'skip' leaves one out, 'broken' reports it."""
    if row["a"] == "broken":
        raise BrokenRow("a is broken", row["b"])
    return None if row["a"] == "skip" else Record(f"/{row['a']}/{row['b']}")


# Tables


def test_rows_become_records_are_left_out_or_are_reported(tmp_path: Path) -> None:
    path = layouts.table(tmp_path / "t.csv", ("a", "b"), [(1, 2), ("skip", 3), ("broken", 4), (5, 6)])
    log = Log()
    assert [r.filepath for r in files.table(path, ["a"], log, take)] == ["/1/2", "/5/6"]
    assert log.rows == [f"{path}:4: a is broken (4)"]


def test_names_of_columns_are_trimmed_and_a_byte_order_mark_is_no_part_of_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeff a , b\n1, 2\n", encoding="utf-8")
    assert files.header(path) == ["a", "b"]
    assert list(files.rows(path, ["a", "b"], Log())) == [(2, {"a": "1", "b": "2"})]


def test_a_line_break_in_a_cell_counts_as_lines(tmp_path: Path) -> None:
    path = layouts.table(tmp_path / "t.csv", ("a", "b"), [("1", "two\nlines"), ("3", "4")])
    assert [line for line, _ in files.rows(path, ["a"], Log())] == [3, 4]


def test_empty_lines_are_no_rows_and_a_table_may_end_without_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n\n1,2\n\n\n3,4", encoding="utf-8")
    log = Log()
    assert [(line, row["a"]) for line, row in files.rows(path, ["a"], log)] == [(3, "1"), (6, "3")]
    assert log.count == 0


@pytest.mark.parametrize("line", ["1", "1,2,3", "1,2,3,4,5"])
def test_rows_with_too_few_or_too_many_columns_are_reported(line: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n{line}\n3,4\n", encoding="utf-8")
    log = Log()
    assert [row["a"] for _, row in files.rows(path, ["a"], log)] == ["3"]
    assert log.rows == [f"{path}:2: too few or too many columns"]


def test_a_cell_that_is_too_large_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n{'x' * 200_000},2\n3,4\n", encoding="utf-8")
    log = Log()
    assert [row["a"] for _, row in files.rows(path, ["a"], log)] == ["3"]
    assert log.kinds == {"not CSV": 1}
    assert "field larger than field limit" in log.rows[0]


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    path = layouts.table(tmp_path / "t.csv", ("a", "b"), [])
    with pytest.raises(LayoutError, match=r"t\.csv has the columns a, b; c, d missing"):
        list(files.rows(path, ["a", "c", "d"], Log()))
    (tmp_path / "empty.csv").touch()
    assert files.header(tmp_path / "empty.csv") == []
    with pytest.raises(LayoutError, match=r"empty\.csv has the columns none; a missing"):
        list(files.rows(tmp_path / "empty.csv", ["a"], Log()))


def test_a_table_without_names_takes_them_from_the_caller(tmp_path: Path) -> None:
    path = layouts.text(tmp_path / "t.csv", ["1,2", "3,4"])
    assert [row for _, row in files.rows(path, ["a"], Log(), ["a", "b"])] == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]


# Texts


def test_lines_of_as_many_words_as_asked_for(tmp_path: Path) -> None:
    path = layouts.text(tmp_path / "t.txt", ["a 1", "", "b  2", "c", "d 3 4"])
    log = Log()
    assert list(files.words(path, log, 2)) == [(1, ["a", "1"]), (3, ["b", "2"])]
    assert log.rows == [f"{path}:4: not 2 words (got 1)", f"{path}:5: not 2 words (got 3)"]


# Folders


def test_files_are_found_in_a_folder_and_one_below(tmp_path: Path) -> None:
    layouts.text(tmp_path / "b" / "x.csv", ["b"])
    layouts.text(tmp_path / "a" / "y.csv", ["a"])
    layouts.text(tmp_path / ".hidden" / "z.csv", ["z"])
    layouts.text(tmp_path / "a" / "deep" / "w.csv", ["w"])
    assert files.find(tmp_path, ["x.csv", "y.csv"]) == tmp_path / "a" / "y.csv", "folders come before names"
    layouts.text(tmp_path / "x.csv", ["here"])
    assert files.find(tmp_path, ["y.csv", "x.csv"]) == tmp_path / "x.csv", "the folder itself comes first"
    assert files.find(tmp_path, ["z.csv"]) is None
    assert files.find(tmp_path, ["w.csv"]) is None
    assert files.find(tmp_path, ["deep"]) == tmp_path / "a" / "deep"
    assert files.find(tmp_path / "nowhere", ["x.csv"]) is None


def test_a_picture_has_to_be_a_file_inside(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "in" / "a.jpg")
    layouts.picture(tmp_path / "out.jpg")
    (tmp_path / "in" / "folder.jpg").mkdir()
    root = tmp_path / "in"
    assert files.picture(root, "a.jpg") == files.picture(root, "./x/../a.jpg") == str(root / "a.jpg")
    for name, reason in {
        "b.jpg": "picture not there",
        "folder.jpg": "picture not there",
        "../out.jpg": "picture outside of the data set's folder",
        str(tmp_path / "out.jpg"): "picture outside of the data set's folder",
        "": "picture outside of the data set's folder",
        "a\0.jpg": "picture not there",
    }.items():
        with pytest.raises(BrokenRow, match=reason):
            files.picture(root, name)


def test_a_folder_beside_with_a_longer_name_is_outside(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "data-more" / "a.jpg")
    (tmp_path / "data").mkdir()
    with pytest.raises(BrokenRow, match="outside"):
        files.picture(tmp_path / "data", "../data-more/a.jpg")


# Numbers and boxes


@pytest.mark.parametrize(("value", "found"), [("3", 3), (" 4.5 ", 4.5), ("-1e3", -1000), ("0", 0)])
def test_numbers(value: str, found: float) -> None:
    assert files.number(value, "x") == found


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_the_size_comes_from_the_head_of_the_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 20)).save(path)
    assert files.size(str(path)) == (30, 20)


@pytest.mark.parametrize(
    ("box", "found"),
    [
        ((0, 0, 100, 50), (0, 0, 1, 1)),
        ((25, 10, 50, 20), (0.25, 0.2, 0.5, 0.4)),
        ((90, 0, 20, 50), (0.9, 0, 0.1, 1)),
        ((-10, -5, 20, 10), (0, 0, 0.1, 0.1)),
    ],
)
def test_boxes_in_pixels_become_shares(box: tuple[float, ...], found: tuple[float, ...]) -> None:
    x, y, width, height = box
    assert files.relative_box(x, y, width, height, (100, 50)) == pytest.approx(found)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_of_no_numbers_is_refused(value: float) -> None:
    with pytest.raises(BrokenRow, match="box of no numbers"):
        files.relative_box(value, 0, 1, 1, (10, 10))


def test_a_folder_that_cannot_be_read_costs_its_pictures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").touch()
    monkeypatch.chdir(tmp_path / "in")
    while len(os.getcwd()) < LONGEST_PATH:
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    monkeypatch.chdir(tmp_path)
    log = Log()
    assert list(files.pictures(tmp_path / "in", log)) == [str(tmp_path / "in" / "a.jpg")]
    assert log.kinds == {"folder cannot be read": 1}
    assert log.rows[0].endswith("folder cannot be read (File name too long)")
