"""facevlm load: what is printed, what is made, and how bad input is told."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.datasets import catalog
from facevlm.datasets.records import Log, Record
from facevlm.datasets.utkface import UTKFace
from tests import real
from tests.cli.running import Run
from tests.datasets import layouts


def utkface(root: Path, count: int = 8) -> Path:
    for k in range(count):
        layouts.picture(root / f"{10 * k}_{k % 2}_{k % 5}_2017010{k}.jpg", (20, 20))
    return root


def test_counts_licence_and_what_was_left_out_are_printed(tmp_path: Path, dataset_name: str, run: Run) -> None:
    root = layouts.fairface(tmp_path)
    with open(root / "fairface_label_val.csv", "a", encoding="utf-8") as handle:
        handle.writelines(f"val/{k}.jpg,3-9,Male,White,True\n" for k in range(2, 9))
    done = run("load", "fairface", str(root), "--name", dataset_name)
    assert done.status == 0
    assert f"Dataset '{dataset_name}': 4 pictures. FairFace, licence: CC BY 4.0." in done.out
    assert "Splits: train 3, val 1" in done.out
    assert re.search(
        r"^race +race7 +East Asian 1, Latinx or Hispanic 1, Middle Eastern 1, Black 1$", done.out, re.MULTILINE
    )
    assert "7 rows left out:\n  7 x picture not there\n" in done.out
    assert f"    {root / 'fairface_label_val.csv'}:3: picture not there (val/2.jpg)" in done.out
    assert "more in dataset.info['facevlm']['skipped']['rows'] (7 of them)" in done.out
    assert "perceived or apparent, not facts" in done.out
    assert len(fo.load_dataset(dataset_name)) == 4


def test_split_limit_options_and_overwrite(tmp_path: Path, dataset_name: str, run: Run) -> None:
    root = str(layouts.affectnet_lists(tmp_path))
    chosen = ["--name", dataset_name, "--split", "train", "--limit", "1", "--option", "classes=7"]
    assert run("load", "affectnet", root, *chosen).status == 0
    assert fo.load_dataset(dataset_name).values("emotion.label") == ["happy"]
    done = run("load", "affectnet", root, "--name", dataset_name)
    assert (done.status, "is already there" in done.err) == (2, True)
    assert run("load", "affectnet", root, "--name", dataset_name, "--overwrite").status == 0
    assert len(fo.load_dataset(dataset_name)) == 3


def test_diversefaces_are_composed_from_a_loaded_dataset(tmp_path: Path, dataset_name: str, run: Run) -> None:
    source = f"{dataset_name}-people"
    try:
        assert run("load", "utkface", str(utkface(tmp_path / "in")), "--name", source).status == 0
        more = ["--people", "3", "--pictures", "2", "--seed", "4", "--height", "16", "--name", dataset_name]
        done = run("load", "diversefaces", str(tmp_path / "out"), "--from", source, *more)
        assert done.status == 0
        assert f"Dataset '{dataset_name}': 2 pictures, 6 faces with boxes." in done.out
        done = run("load", "utkface", str(tmp_path / "out"), "--from", source)
        assert (done.status, "--from composes diversefaces, got 'utkface'" in done.err) == (2, True)
        done = run("load", "diversefaces", str(tmp_path / "out2"), "--from", source, "--view", "few")
        assert (done.status, "Unknown saved view 'few'" in done.err) == (2, True)
        done = run("load", "diversefaces", str(tmp_path / "out2"), "--from", f"{source}-none")
        assert (done.status, "Unknown dataset" in done.err) == (2, True)
    finally:
        fo.delete_dataset(source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Got no data set and folder, expected both"),
        (["fairface"], "Got no data set and folder, expected both"),
        (["fairfase", "/nowhere"], "Unknown data set 'fairfase'"),
        (["fairface", "/nowhere"], "'/nowhere' is not there; expected fairface_label_train.csv"),
        (["fairface", "/nowhere", "--split", "test"], "FairFace has no split 'test'; it has train, val"),
        (["affectnet", "/nowhere", "--option", "classes=x"], "expected a whole number"),
    ],
)
def test_bad_input_is_told_in_one_sentence(arguments: list[str], message: str, run: Run) -> None:
    done = run("load", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_years_are_summed_up_and_a_table_without_labels_prints_none(
    tmp_path: Path, dataset_name: str, run: Run
) -> None:
    for k in range(3):
        layouts.picture(tmp_path / f"{k}.jpg")
    layouts.table(tmp_path / "t.csv", ("file", "age"), [(f"{k}.jpg", 10 * k + 0.5) for k in range(3)])
    done = run("load", "csv", str(tmp_path), "--name", dataset_name)
    assert done.status == 0
    assert "age in years: 3, from 0.5 to 20.5\n" in done.out
    assert "attribute" not in done.out
    assert fo.load_dataset(dataset_name).values("age") == [0.5, 10.5, 20.5]


def test_the_list_has_every_data_set_with_its_licence_and_options(run: Run) -> None:
    done = run("load", "--list")
    assert done.status == 0
    for name, reader in catalog.READERS.items():
        card = reader.card
        assert (
            f"\n{name}: {card.title}. {card.url}. Licence: {card.licence}.\n    holds    {card.layout}\n"
            in f"\n{done.out}"
        )
        assert all(f"{field} ({attribute})" in done.out for field, attribute in card.attributes.items())
        assert all(f"{option}=" in done.out for option in catalog.options(reader))


@real.needed
@pytest.mark.parametrize(("name", "splits"), [("utkface", {"cropped"}), ("fer2013", {"train"})])
def test_real_data(name: str, splits: set[str], tmp_path: Path, dataset_name: str, run: Run) -> None:
    members = len(real.extract(name, tmp_path, lambda pictures: pictures[:300]))
    done = run("load", name, str(tmp_path), "--name", dataset_name)
    assert done.status == 0
    assert f"{members} pictures." in done.out
    assert set(fo.load_dataset(dataset_name).distinct("tags")) == splits
    assert "left out" not in done.out


def test_a_stop_says_that_nothing_half_read_is_left(
    tmp_path: Path, dataset_name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, read = str(utkface(tmp_path)), UTKFace.read

    def stopped(self: UTKFace, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        """The reader, with Ctrl-C after the third picture."""
        yield from itertools.islice(read(self, folder, log, split), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(UTKFace, "read", stopped)
    done = run("load", "utkface", root, "--name", dataset_name)
    assert done.status == 130
    assert "facevlm: stopped. A dataset is there, and replaces another, only once all of it is read.\n" in done.err
    assert "What was answered" not in done.err
    assert not fo.list_datasets(f"{dataset_name}*")


def test_one_row_is_one_row(tmp_path: Path, dataset_name: str, run: Run) -> None:
    layouts.picture(utkface(tmp_path) / "61_3_20170109150557335.jpg")
    done = run("load", "utkface", str(tmp_path), "--name", dataset_name)
    assert "1 row left out:\n  1 x name is not age_gender_race_date.jpg\n" in done.out
