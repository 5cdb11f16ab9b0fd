"""facevlm load and facevlm attributes in process, against a real MongoDB: what is printed, and exit statuses."""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm import attributes, cli
from facevlm.datasets import catalog
from tests.datasets import layouts

Run = Callable[..., tuple[int, str, str]]
SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; exit status, output, errors."""

    def started(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(["load", *arguments])
        return status, *capsys.readouterr()

    return started


def utkface(root: Path, count: int = 8) -> Path:
    for k in range(count):
        layouts.picture(root / f"{10 * k}_{k % 2}_{k % 5}_2017010{k}.jpg", (20, 20))
    return root


def test_counts_licence_and_what_was_left_out_are_printed(tmp_path: Path, dataset_name: str, run: Run) -> None:
    root = layouts.fairface(tmp_path)
    with open(root / "fairface_label_val.csv", "a", encoding="utf-8") as handle:
        handle.writelines(f"val/{k}.jpg,3-9,Male,White,True\n" for k in range(2, 9))
    status, out, _ = run("fairface", str(root), "--name", dataset_name)
    assert status == 0
    assert f"Dataset '{dataset_name}': 4 pictures. FairFace, licence: CC BY 4.0." in out
    assert "Splits: train 3, val 1" in out
    assert re.search(r"^race +race7 +East Asian 1, Latinx or Hispanic 1, Middle Eastern 1, Black 1$", out, re.MULTILINE)
    assert "7 rows left out:\n  7 x picture not there\n" in out
    assert f"    {root / 'fairface_label_val.csv'}:3: picture not there (val/2.jpg)" in out
    assert "more in dataset.info['facevlm']['skipped']['rows'] (7 of them)" in out
    assert "perceived or apparent, not facts" in out
    assert len(fo.load_dataset(dataset_name)) == 4


def test_split_limit_options_and_overwrite(tmp_path: Path, dataset_name: str, run: Run) -> None:
    root = str(layouts.affectnet_lists(tmp_path))
    chosen = ["--name", dataset_name, "--split", "train", "--limit", "1", "--option", "classes=7"]
    assert run("affectnet", root, *chosen)[0] == 0
    assert fo.load_dataset(dataset_name).values("emotion.label") == ["happy"]
    status, _, err = run("affectnet", root, "--name", dataset_name)
    assert (status, "is already there" in err) == (2, True)
    assert run("affectnet", root, "--name", dataset_name, "--overwrite")[0] == 0
    assert len(fo.load_dataset(dataset_name)) == 3


def test_diversefaces_are_composed_from_a_loaded_dataset(tmp_path: Path, dataset_name: str, run: Run) -> None:
    source = f"{dataset_name}-people"
    try:
        assert run("utkface", str(utkface(tmp_path / "in")), "--name", source)[0] == 0
        more = ["--people", "3", "--pictures", "2", "--seed", "4", "--height", "16", "--name", dataset_name]
        status, out, _ = run("diversefaces", str(tmp_path / "out"), "--from", source, *more)
        assert status == 0
        assert f"Dataset '{dataset_name}': 2 pictures, 6 faces with boxes." in out
        status, _, err = run("utkface", str(tmp_path / "out"), "--from", source)
        assert (status, "--from composes diversefaces, got 'utkface'" in err) == (2, True)
        status, _, err = run("diversefaces", str(tmp_path / "out2"), "--from", f"{source}-none")
        assert (status, "Unknown dataset" in err) == (2, True)
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
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_the_list_has_every_data_set_with_its_licence_and_options(run: Run) -> None:
    status, out, _ = run("--list")
    assert status == 0
    for name, reader in catalog.READERS.items():
        card = reader.card
        assert (
            f"\n{name}: {card.title}. {card.url}. Licence: {card.licence}.\n    holds    {card.layout}\n" in f"\n{out}"
        )
        assert all(f"{field} ({attribute})" in out for field, attribute in card.attributes.items())
        assert all(f"{option}=" in out for option in catalog.options(reader))


def test_attributes_tells_maps_reasons_and_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["attributes"]) == 0
    out = capsys.readouterr().out
    known = attributes.shipped()
    assert all(re.search(rf"^{name} ", out, re.MULTILINE) for name in known.attributes)
    assert all(f"  {source} -> {target}: {why}\n" in out for (source, target), why in known.undefined.items())
    assert "  age in years -> age8: groups begin at 0, 7, 13, 20, 31, 46, 56, 67, the last ends before 81\n" in out
    assert "  celeba: celeba_5_o_clock_shadow, " in out
    assert cli.main(["attributes", "--attributes-file", "celeba"]) == 0
    assert "is the person in the image" in capsys.readouterr().out


@pytest.mark.skipif(not (SHARED / "utkface.tar").is_file(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "archive", "members", "splits"),
    [("utkface", "utkface.tar", 300, {"cropped"}), ("fer2013", "fer2013.tar", 300, {"train"})],
)
def test_real_data(
    name: str, archive: str, members: int, splits: set[str], tmp_path: Path, dataset_name: str, run: Run
) -> None:
    with tarfile.open(SHARED / archive) as handle:
        chosen = itertools.islice((m for m in handle if m.name.endswith(".jpg")), members)
        handle.extractall(tmp_path, members=list(chosen), filter="data")
    status, out, _ = run(name, str(tmp_path), "--name", dataset_name)
    assert status == 0
    assert f"{members} pictures." in out
    assert set(fo.load_dataset(dataset_name).distinct("tags")) == splits
    assert "left out" not in out
