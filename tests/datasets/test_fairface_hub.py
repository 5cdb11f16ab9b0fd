"""FairFace's parquet copy: a local file of the same columns. The hub cannot be had here; its absence is told."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facevlm.errors import InputError, LayoutError
from tests.datasets.layouts import read, reasons


def jpeg(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (grey,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def row(grey: int, age: int, gender: int, race: int, service_test: bool | None = True) -> dict[str, Any]:
    image = {"bytes": jpeg(grey), "path": None}
    return {"image": image, "age": age, "gender": gender, "race": race, "service_test": service_test}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    rows = [row(10, 0, 0, 5), row(20, 8, 1, 4, False), row(30, 9, 2, 7)]
    write(root / "0.25" / "train-00000-of-00001.parquet", rows)
    write(root / "0.25" / "validation-00000-of-00001.parquet", [row(40, 3, 0, 0, None)])
    return root


def test_pictures_are_written_once_and_labels_are_those_of_the_copy(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    records, log = read("fairface-hub", copy, extract_to=str(out))
    assert [r.labels for r in records] == [
        {"gender": "Male", "race": "Latinx or Hispanic", "age_group": "0-2"},
        {"gender": "Female", "race": "Middle Eastern", "age_group": "more than 70"},
        {"gender": "Male", "race": "East Asian", "age_group": "20-29"},
    ]
    assert [(r.split, dict(r.values)) for r in records] == [
        ("train", {"service_test": True}),
        ("train", {"service_test": False}),
        ("val", {}),
    ]
    assert Path(records[0].filepath).read_bytes() == jpeg(10)
    assert reasons(log) == {"gender is none of 0 to 1": 1}
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}
    assert len(kept) == 3
    assert [r.split for r in read("fairface-hub", copy, "val", extract_to=str(out))[0]] == ["val"]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")} == kept


def test_a_row_without_a_picture_is_reported(tmp_path: Path) -> None:
    broken = row(10, 0, 0, 5) | {"image": {"bytes": None, "path": "x.jpg"}}
    write(tmp_path / "train-0.parquet", [row(10, 0, 0, 5), broken])
    records, log = read("fairface-hub", tmp_path, extract_to=str(tmp_path / "out"))
    assert len(records) == 1
    assert log.rows == [f"{tmp_path / 'train-0.parquet'}:2: no picture inside"]


def test_other_columns_and_no_folder_to_write_to_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the folder to write them to, extract_to"):
        read("fairface-hub", copy)
    write(tmp_path / "train-0.parquet", [{"image": None, "age": 1}])
    with pytest.raises(LayoutError, match="has the columns image, age; gender, race, service_test missing"):
        read("fairface-hub", tmp_path, "train", extract_to=str(tmp_path / "out"))


def test_a_file_that_was_not_copied_to_its_end_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "0.25" / "train-00000-of-00001.parquet"
    whole = path.read_bytes()
    zeros = b"PAR1" + bytes(50) + b"PAR1"
    for left in (b"", whole[: len(whole) // 2], whole[len(whole) // 2 :], bytes(len(whole)), zeros):
        path.write_bytes(left)
        with pytest.raises(LayoutError, match=r"Cannot read '.*parquet': .* Expected a whole parquet file"):
            read("fairface-hub", copy, extract_to=str(tmp_path / "out"))


def test_pictures_of_another_form_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [row(10, 0, 0, 5) | {"image": "x.jpg"}])
    records, log = read("fairface-hub", tmp_path, extract_to=str(tmp_path / "out"))
    assert (records, dict(log.kinds)) == ([], {"no picture inside": 1})


def test_without_a_hub_in_reach_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no hub is in reach"):
        read("fairface-hub", tmp_path / "hub", extract_to=str(tmp_path / "out"))


@pytest.mark.parametrize("margin", ["0.25", "1.25"])
def test_the_hub_is_asked_for_the_files_of_one_margin_alone(
    margin: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself cannot be had here: its client is replaced, and what it is asked for is looked at."""
    asked: list[tuple[str, dict[str, Any]]] = []
    (copy / "0.25").rename(copy / margin)

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    records, _ = read("fairface-hub", tmp_path / "hub", extract_to=str(tmp_path / "out"), margin=margin)
    assert asked == [("HuggingFaceM4/FairFace", {"repo_type": "dataset", "allow_patterns": f"{margin}/*"})]
    assert len(records) == 3


def test_a_folder_that_is_named_hub_is_read_as_a_folder(copy: Path, tmp_path: Path) -> None:
    hub = copy.rename(tmp_path / "hub")
    assert len(read("fairface-hub", hub, extract_to=str(tmp_path / "out"))[0]) == 3


def test_without_pyarrow_it_says_what_to_install(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"needs pyarrow: pip install 'facevlm\[hub\]'"):
        read("fairface-hub", copy, extract_to=str(tmp_path / "out"))


def test_the_copy_and_the_archive_agree(copy: Path, tmp_path: Path) -> None:
    """The numbers of the copy stand for the names of the archive."""
    archive = tmp_path / "archive"
    rows = []
    told = [("0-2", "Male", "Latino_Hispanic"), ("more than 70", "Female", "Middle Eastern")]
    for k, (age, gender, race) in enumerate(told):
        (archive / "train").mkdir(parents=True, exist_ok=True)
        (archive / "train" / f"{k}.jpg").write_bytes(jpeg(10))
        rows.append(f"train/{k}.jpg,{age},{gender},{race},True")
    (archive / "fairface_label_train.csv").write_text("file,age,gender,race,service_test\n" + "\n".join(rows))
    mine, _ = read("fairface", archive)
    theirs, _ = read("fairface-hub", copy, "train", extract_to=str(tmp_path / "out"))
    assert [r.labels for r in mine] == [r.labels for r in theirs]
