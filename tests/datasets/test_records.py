"""Records, labels and the account of what was left out."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm import attributes
from facevlm.attributes import define, get
from facevlm.datasets.records import (
    BrokenRow,
    DatasetCard,
    FaceBox,
    Log,
    Reader,
    Record,
    age_group,
    label,
    labeller,
    named,
)
from facevlm.errors import InputError, LayoutError

CARD = DatasetCard(
    "mine", "My faces", "https://example.org", "CC0", "Me 2026", "a file named faces", {}, ("train", "val")
)


@dataclasses.dataclass(frozen=True)
class Mine(Reader):
    """A reader as small as can be."""

    times: int = 1

    card = CARD

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        if not (folder / "faces").is_file():
            raise self.reject(folder)
        yield from (Record(f"/{k}.jpg") for k in range(self.times))


# Labels


@pytest.mark.parametrize("name", sorted(attributes.shipped().attributes))
def test_every_spelling_of_every_shipped_attribute_is_read(name: str) -> None:
    attribute = get(name)
    for wanted in attribute.labels:
        for spelling in attribute.spellings(wanted):
            assert label(name, spelling) == wanted
            assert label(name, f" {spelling.upper()} ") == wanted


@pytest.mark.parametrize("value", ["", "Martian", "0", "none", "White,Black"])
def test_what_spells_no_label_is_a_broken_row(value: str) -> None:
    with pytest.raises(BrokenRow) as caught:
        label("race7", value)
    assert (caught.value.kind, caught.value.detail) == ("no label of race7", f"got '{value}'")


def test_an_attribute_of_ones_own_has_its_own_labels() -> None:
    say = labeller(define("hat", ["worn", "none"], "hat?", aliases={"worn": ["yes"]}))
    assert [say(v) for v in ("worn", "YES", "None")] == ["worn", "worn", "none"]
    with pytest.raises(BrokenRow, match="no label of hat"):
        say("no")


@given(st.integers(0, 120))
def test_age_groups_are_those_of_the_taxonomy(age: int) -> None:
    for name in ("age5", "age9", "age8", "age5_rafdb", "age3_facet"):
        assert age_group(name, age) == attributes.translate([age], attributes.YEARS, get(name))[0]


@pytest.mark.parametrize(("value", "found"), [("0", "a"), (" 1 ", "b"), ("01", "b")])
def test_a_number_stands_for_a_name(value: str, found: str) -> None:
    assert named(("a", "b"), value, "letter") == found


@pytest.mark.parametrize("value", ["2", "-1", "", "x", "1.0", "²", "None"])
def test_a_number_that_stands_for_nothing_is_a_broken_row(value: str) -> None:
    with pytest.raises(BrokenRow) as caught:
        named(("a", "b"), value, "letter")
    assert str(caught.value) == f"letter is none of 0 to 1: got '{value}'"


# Records


def test_records_are_values() -> None:
    one = Record("/a.jpg", {"gender": "Male"}, 3.0, "train", faces=(FaceBox((0, 0, 1, 1)),))
    assert one == Record("/a.jpg", {"gender": "Male"}, 3.0, "train", faces=(FaceBox((0, 0, 1, 1)),))
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.age = 4.0  # type: ignore[misc]


# Logs


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=300))
def test_reasons_add_up_and_the_most_common_stands_first(kinds: list[str]) -> None:
    log = Log()
    for number, kind in enumerate(kinds):
        log.skip(kind, f"f:{number}")
    told = log.to_dict()
    assert told["count"] == len(kinds)
    counts = [entry["count"] for entry in told["reasons"]]
    assert sum(counts) == len(kinds)
    assert counts == sorted(counts, reverse=True)
    assert told["rows"] == [f"f:{number}: {kind}" for number, kind in enumerate(kinds[:100])]


def test_a_detail_stands_in_brackets() -> None:
    log = Log()
    log.skip("no picture", "t.csv:3", "a.jpg")
    log.skip("no picture", "t.csv:4")
    assert log.rows == ["t.csv:3: no picture (a.jpg)", "t.csv:4: no picture"]


# Readers


def test_a_reader_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        list(Mine().read(tmp_path, Log()))
    assert str(caught.value) == (
        f"'{tmp_path}' is empty; expected a file named faces. My faces: https://example.org (licence: CC0)."
    )
    assert isinstance(caught.value, InputError)


def test_a_reader_knows_its_splits(tmp_path: Path) -> None:
    (tmp_path / "faces").touch()
    assert len(list(Mine(times=3).read(tmp_path, Log(), "val"))) == 3
    with pytest.raises(InputError, match="My faces has no split 'test'; it has train, val"):
        list(Mine().read(tmp_path, Log(), "test"))


def test_a_reader_does_nothing_before_the_first_record_is_asked_for(tmp_path: Path) -> None:
    records = Mine().read(tmp_path / "nowhere", Log())
    with pytest.raises(LayoutError, match="is not there"):
        next(records)
