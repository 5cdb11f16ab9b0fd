"""DiverseFaces: who stands where, what a composed picture looks like, and that the reader gives back what was built."""

from __future__ import annotations

import sys
import types
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facevlm.datasets import diversefaces
from facevlm.datasets.diversefaces import build, compose, plan, remover
from facevlm.datasets.records import Log, Record
from facevlm.errors import InputError, LayoutError
from tests.datasets import layouts
from tests.datasets.layouts import read

FIELDS = {"gender": "gender", "race": "race5"}


def people(root: Path, count: int) -> list[Record]:
    """Grey pictures of different shapes, each with labels."""
    return [
        Record(
            str(layouts.picture(root / f"{k}.png", (20 + 4 * k, 20), 20 * k + 20)),
            {"gender": "Male" if k % 2 else "Female"} | ({"race": "Others"} if k else {}),
            float(k) if k < 5 else None,
        )
        for k in range(count)
    ]


@given(st.integers(0, 60), st.integers(2, 7), st.integers(0, 9), st.integers(1, 12) | st.none())
def test_nobody_stands_twice_and_the_seed_decides(count: int, each: int, seed: int, most: int | None) -> None:
    groups = plan(count, each, seed, most)
    flat = list(chain(*groups))
    assert len(groups) == min(count // each, count // each if most is None else most)
    assert all(len(group) == each for group in groups)
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(count))
    assert groups == plan(count, each, seed, most)


def test_another_seed_is_another_order() -> None:
    assert plan(40, 4, 1) != plan(40, 4, 2)


def test_people_stand_side_by_side_on_black_at_one_height() -> None:
    faces = [Image.new("RGB", (20, 40), (200, 0, 0)), Image.new("RGB", (40, 40), (0, 200, 0))]
    picture, boxes = compose(faces, 20)
    pixels = np.asarray(picture)
    assert picture.size == (30, 20)
    assert boxes == [(0, 0, 10 / 30, 1), (10 / 30, 0, 20 / 30, 1)]
    assert pixels[:, :10].reshape(-1, 3).tolist() == [[200, 0, 0]] * 200
    assert pixels[:, 10:].reshape(-1, 3).tolist() == [[0, 200, 0]] * 400


def test_a_background_that_is_removed_is_black() -> None:
    def right_half(picture: Image.Image) -> Image.Image:
        cut = picture.convert("RGBA")
        cut.paste((0, 0, 0, 0), (0, 0, cut.width // 2, cut.height))
        return cut

    picture, _ = compose([Image.new("RGB", (20, 20), (200, 0, 0))] * 2, 20, right_half)
    assert np.asarray(picture)[0, :, 0].tolist() == ([0] * 10 + [200] * 10) * 2


def test_what_is_built_is_read_again(tmp_path: Path) -> None:
    given_people, out = people(tmp_path / "in", 9), tmp_path / "out"
    assert build(given_people, FIELDS, out, seed=3, height=20) == 2
    records, log = read("diversefaces", out)
    assert log.count == 0
    told = [tuple(given_people[k] for k in group) for group in plan(9, 4, 3)]
    assert [[(f.labels, f.age) for f in r.faces] for r in records] == [
        [(p.labels, p.age) for p in group] for group in told
    ]
    for record in records:
        with Image.open(record.filepath) as picture:
            edges = [round(f.box_xywh_rel[0] * picture.width) for f in record.faces]
            assert picture.height == 20
            assert picture.width == sum(round(f.box_xywh_rel[2] * picture.width) for f in record.faces)
        assert edges == sorted(edges)
    assert diversefaces.DiverseFaces().fields(out) == FIELDS


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    given_people = people(tmp_path / "in", 8)
    for name in ("a", "b"):
        build(given_people, FIELDS, tmp_path / name, seed=5, height=20)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_originals_stay_as_they_are(tmp_path: Path) -> None:
    given_people = people(tmp_path / "in", 4)
    before = [Path(p.filepath).read_bytes() for p in given_people]
    build(given_people, FIELDS, tmp_path / "out", height=20)
    assert [Path(p.filepath).read_bytes() for p in given_people] == before


def test_a_picture_with_somebody_unreadable_is_left_out(tmp_path: Path) -> None:
    given_people, log = people(tmp_path / "in", 4), Log()
    Path(given_people[2].filepath).write_bytes(b"no picture")
    assert build(given_people, FIELDS, tmp_path / "out", per_picture=2, height=20, log=log) == 1
    assert log.kinds == {"person cannot be read": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_picture": 1}, "Got 1 people per picture at 20 pixels"),
        ({"height": 8}, "at 8 pixels, expected at least 2 at 16 or more"),
        ({"per_picture": 5}, "Got 4 people, expected at least 5 for one picture"),
    ],
)
def test_too_few_people_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build(people(tmp_path / "in", 4), FIELDS, tmp_path / "out", **{"height": 20, **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="is not empty; give a new folder"):
        build(people(tmp_path, 4), FIELDS, tmp_path, height=20)


def test_removers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remover("") is None
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(InputError, match="needs rembg: pip install rembg"):
        remover("rembg")
    with pytest.raises(InputError, match="background remover 'gimp', expected rembg"):
        remover("gimp")


def test_rows_that_are_none_are_reported(tmp_path: Path) -> None:
    build(people(tmp_path / "in", 4), FIELDS, tmp_path / "out", height=20)
    with open(tmp_path / "out" / diversefaces.TABLE, "a", encoding="utf-8") as handle:
        handle.write("00001.png,x,0,1,1,3,Male,Black\n00009.png,0,0,1,1,3,Male,Black\n")
    records, log = read("diversefaces", tmp_path / "out")
    assert [len(r.faces) for r in records] == [4]
    assert log.kinds == {"x is no number": 1, "picture not there": 1}


def test_rembg_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rembg fetches a model from the network, so a module of its name stands in for it."""

    def remove(picture: Image.Image) -> Image.Image:
        picture = picture.convert("RGBA")
        picture.putalpha(0)
        return picture

    module = types.ModuleType("rembg")
    monkeypatch.setattr(module, "remove", remove, raising=False)
    monkeypatch.setitem(sys.modules, "rembg", module)
    build(people(tmp_path / "in", 2), FIELDS, tmp_path / "out", per_picture=2, height=20, remove=remover("rembg"))
    with Image.open(tmp_path / "out" / "00001.png") as picture:
        assert picture.getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("each", [2, 3, 6])
def test_as_many_people_as_asked_for_stand_in_a_row(each: int, tmp_path: Path) -> None:
    assert build(people(tmp_path / "in", 7), FIELDS, tmp_path / "out", per_picture=each, height=16) == 7 // each
    records, _ = read("diversefaces", tmp_path / "out")
    assert [len(r.faces) for r in records] == [each] * (7 // each)
    for record in records:
        starts = [face.box_xywh_rel[0] for face in record.faces]
        ends = [face.box_xywh_rel[0] + face.box_xywh_rel[2] for face in record.faces]
        assert starts[0] == 0
        assert ends[-1] == pytest.approx(1)
        assert starts[1:] == pytest.approx(ends[:-1]), "boxes touch and do not overlap"


def test_turned_and_transparent_pictures_are_put_upright_and_on_white(tmp_path: Path) -> None:
    tall = Image.new("RGB", (10, 20), (0, 0, 200))
    exif = tall.getexif()
    exif[0x0112] = 6
    tall.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    given_people = [Record(str(tmp_path / name), {"gender": "Male"}) for name in ("turned.jpg", "clear.png")]
    build(given_people, {"gender": "gender"}, tmp_path / "out", per_picture=2, height=20)
    (record,), _ = read("diversefaces", tmp_path / "out")
    with Image.open(record.filepath) as picture:
        assert picture.size == (60, 20), "the turned one is 40 wide at this height"
        assert (255, 255, 255) in {picture.getpixel((10, 10)), picture.getpixel((50, 10))}


def test_a_composition_that_was_stopped_is_not_read_as_a_whole_one(tmp_path: Path) -> None:
    turns = iter(range(3))

    def remove(picture: Image.Image) -> Image.Image:
        if next(turns, None) is None:
            raise KeyboardInterrupt
        return picture

    with pytest.raises(KeyboardInterrupt):
        build(people(tmp_path / "in", 8), FIELDS, tmp_path / "out", per_picture=2, height=20, remove=remove)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00001.png"]
    with pytest.raises(LayoutError, match=r"expected diversefaces\.csv"):
        read("diversefaces", tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LayoutError, match=r"Cannot write composed pictures to '.*file/out': Not a directory"):
        build(people(tmp_path / "in", 4), FIELDS, tmp_path / "file" / "out", height=20)
