"""A check of real datasets: every kind of fault found, tagged, shown side by side, and taken away again."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm import cli, datasets
from facevlm.checks import fingerprints
from facevlm.checks.faults import KINDS
from facevlm.datasets import samples
from facevlm.errors import FieldError, InputError, TargetError
from facevlm.store.faults import FIELD, RUN
from facevlm.tasks.check import CheckResult
from tests import real

FACES = [record.filepath for record in samples.read("single")]
C = fo.Classification


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six faces that look different, and faulty companions of some."""
    for k in range(6):
        shutil.copy(FACES[16 * k], tmp_path / f"face{k}.jpg")
    shutil.copy(FACES[0], tmp_path / "face0-copy.jpg")
    picture = Image.open(tmp_path / "face1.jpg")
    picture.save(tmp_path / "face1-pixels.png")
    Image.open(tmp_path / "face2.jpg").resize((150, 150)).save(tmp_path / "face2-small.jpg", quality=60)
    (tmp_path / "damaged.jpg").write_bytes((tmp_path / "face3.jpg").read_bytes()[:500])
    return tmp_path


@pytest.fixture
def dataset(dataset_name: str, folder: Path) -> fo.Dataset:
    """All of them, a missing file, labels that conflict, ages and boxes that cannot be, and splits that leak."""
    made = fo.Dataset(dataset_name, persistent=True)
    rows: dict[str, dict[str, Any]] = {
        "face0.jpg": {"tags": ["train"], "age": 30.0, "gender": "Male", "age_group": "30-39"},
        "face0-copy.jpg": {"tags": ["test"], "age": 31.0, "gender": "Male", "age_group": "30-39"},
        "face1.jpg": {"tags": ["train"], "age": 20.0, "gender": "Female", "age_group": "20-29"},
        "face1-pixels.png": {"tags": ["train"], "age": 20.0, "gender": "Male", "age_group": "20-29"},
        "face2.jpg": {"tags": ["train"], "age": 40.0, "gender": "Male", "age_group": "40-49"},
        "face2-small.jpg": {"tags": ["val"], "age": 40.0, "gender": "Male", "age_group": "40-49"},
        "face3.jpg": {"tags": ["train"], "age": -4.0, "gender": "Male", "age_group": None},
        "face4.jpg": {"tags": ["train"], "age": 55.0, "gender": "Male", "age_group": "20-29"},
        "face5.jpg": {"tags": ["train", "mine"], "age": None, "gender": None, "age_group": "more than 70"},
        "damaged.jpg": {"tags": ["train"], "age": 200.0, "gender": "Male", "age_group": None},
        "missing.jpg": {"tags": ["test"], "age": 33.0, "gender": "Male", "age_group": "30-39"},
    }
    boxes = {"face4.jpg": [[0.1, 0.1, 0.5, 0.5], [0.9, 0.2, 0.4, 0.3]], "face5.jpg": [[0.2, 0.2, 0.5, 0.5]]}
    for name, row in rows.items():
        labels = {n: C(label=row[n]) for n in ("gender", "age_group") if row[n] is not None}
        sample = fo.Sample(filepath=str(folder / name), tags=row["tags"], age=row["age"], **labels)
        if name in boxes:
            found = [fo.Detection(label="face", bounding_box=box) for box in boxes[name]]
            sample["faces"] = fo.Detections(detections=found)
        made.add_sample(sample)
    return made


def check(target: fo.Dataset | fo.DatasetView, **options: Any) -> CheckResult:
    return facevlm.check(target, progress=False, **options)


def tagged(dataset: fo.Dataset, tag: str) -> set[str]:
    return {Path(path).name for path in dataset.match_tags(tag).values("filepath")}


def shown(dataset: fo.Dataset, view: str) -> list[str]:
    return [Path(path).name for path in dataset.load_saved_view(view).values("filepath")]


FAULTS = {
    "unreadable": {"damaged.jpg", "missing.jpg"},
    "duplicate": {"face0-copy.jpg", "face1-pixels.png"},
    "near_duplicate": {"face2.jpg", "face2-small.jpg"},
    "label_conflict": {"face1.jpg", "face1-pixels.png"},
    "split_leak": {"face0.jpg", "face0-copy.jpg", "face2.jpg", "face2-small.jpg"},
    "implausible_age": {"face3.jpg", "face4.jpg", "damaged.jpg"},
    "bad_box": {"face4.jpg"},
}


def test_every_fault_is_found_and_tagged(dataset: fo.Dataset) -> None:
    result = check(dataset)
    assert {kind: tagged(dataset, kind) for kind in KINDS} == FAULTS
    assert {kind: result.count(kind) for kind in KINDS} == {kind: len(names) for kind, names in FAULTS.items()}
    assert (result.pictures, result.readable, result.dataset) == (11, 9, dataset.name)
    reasons = Counter(case.reason for case in result.cases)
    assert reasons["2 times the same file"] == 1
    assert reasons["2 times the same pixels in 2 different files"] == 1
    assert reasons["gender: Female or Male"] == 1
    assert reasons["the age 55 lies in 50-59, age_group says 20-29"] == 1
    assert reasons["the age 200 is beyond 120"] == 1
    assert reasons["faces[1] reaches out of the picture"] == 1
    assert reasons["1 in test, 1 in train"] == reasons["1 in train, 1 in val"] == 1
    assert result.settings["labels"] == ("gender", "age_group")
    assert (result.settings["age"], result.settings["boxes"]) == ("age", ("faces",))
    assert result.settings["splits"] == ("train", "val", "test")


def test_groups_stand_side_by_side_in_saved_views(dataset: fo.Dataset) -> None:
    result = check(dataset)
    assert result.views == {kind: f"check_{kind}" for kind in KINDS}
    assert set(dataset.list_saved_views()) == set(result.views.values())
    for kind in KINDS:
        expected = FAULTS[kind] | ({"face0.jpg", "face1.jpg"} if kind == "duplicate" else set())
        assert set(shown(dataset, f"check_{kind}")) == expected
    assert shown(dataset, "check_duplicate") == ["face0-copy.jpg", "face0.jpg", "face1-pixels.png", "face1.jpg"]
    assert [name[:5] for name in shown(dataset, "check_split_leak")] == ["face0", "face0", "face2", "face2"]


def test_every_sample_says_why(dataset: fo.Dataset) -> None:
    check(dataset)
    by_name = {Path(sample.filepath).name: sample for sample in dataset}
    copy, first = by_name["face1-pixels.png"][FIELD], by_name["face1.jpg"][FIELD]
    assert copy.copy_of == first.copy_of == copy.group == by_name["face1.jpg"].id
    assert (copy.distance, list(copy.findings)) == (0, ["duplicate", "label_conflict"])
    assert copy.reasons[1] == "label_conflict: gender: Female or Male"
    assert 0 < by_name["face2.jpg"][FIELD].distance <= 32
    assert by_name["face2.jpg"][FIELD].copy_of is None
    assert by_name["missing.jpg"][FIELD].reasons == ["unreadable: file not found: missing.jpg"]
    assert by_name["face5.jpg"][FIELD] is None
    assert f"{FIELD}.findings" in dataset.get_field_schema(flat=True)


def test_nothing_is_deleted_or_written_to_pictures(dataset: fo.Dataset, folder: Path) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    labels = dataset.values(["id", "gender.label", "age", "faces.detections.bounding_box"])
    check(dataset)
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()} == before
    assert dataset.values(["id", "gender.label", "age", "faces.detections.bounding_box"]) == labels


def test_a_second_check_says_the_same(dataset: fo.Dataset) -> None:
    first = check(dataset).to_dict()
    tags, documents = dataset.count_sample_tags(), [doc and doc.to_dict() for doc in dataset.values(FIELD)]
    second = check(dataset).to_dict()
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert dataset.count_sample_tags() == tags
    assert [doc and doc.to_dict() for doc in dataset.values(FIELD)] == documents


def test_what_is_mended_loses_its_tags_and_views(dataset: fo.Dataset, folder: Path) -> None:
    check(dataset)
    shutil.copy(FACES[8], folder / "damaged.jpg")
    shutil.copy(FACES[56], folder / "missing.jpg")
    ages = dict.fromkeys(dataset.values("id"), None)
    dataset.set_values("age", ages, key_field="id")
    dataset.delete_samples(dataset.match(fo.ViewField("filepath").ends_with("-copy.jpg")))
    result = check(dataset)
    assert tagged(dataset, "unreadable") == tagged(dataset, "implausible_age") == set()
    assert tagged(dataset, "duplicate") == {"face1-pixels.png"}
    assert {"unreadable", "implausible_age"} & set(result.views) == set()
    assert "check_unreadable" not in dataset.list_saved_views()
    assert tagged(dataset, "mine") == {"face5.jpg"}


def test_tags_of_the_user_stay(dataset: fo.Dataset, folder: Path) -> None:
    mine = dataset.match(fo.ViewField("filepath").ends_with("face4.jpg"))
    mine.tag_samples("duplicate")
    dataset.match(fo.ViewField("filepath").ends_with("face0-copy.jpg")).tag_samples("duplicate")
    check(dataset)
    check(dataset)
    assert tagged(dataset, "duplicate") == {"face4.jpg", *FAULTS["duplicate"]}
    assert "face4.jpg" not in shown(dataset, "check_duplicate")
    for name in ("face0-copy.jpg", "face1-pixels.png"):
        (folder / name).unlink()
    check(dataset)
    assert tagged(dataset, "duplicate") == {"face4.jpg", "face0-copy.jpg"}


def test_a_view_is_all_that_is_checked(dataset: fo.Dataset) -> None:
    train = dataset.match_tags("train")
    result = check(train)
    assert (result.pictures, result.count("duplicate"), result.count("split_leak")) == (8, 1, 0)
    assert tagged(dataset, "unreadable") == {"damaged.jpg"}
    others = check(dataset.match_tags("test"))
    assert others.count("unreadable") == 1
    assert tagged(dataset, "unreadable") == {"damaged.jpg", "missing.jpg"}
    assert tagged(dataset, "duplicate") == {"face1-pixels.png"}


def test_what_is_looked_at_can_be_chosen(dataset: fo.Dataset) -> None:
    result = check(dataset, near=None, fields=["age"], boxes=[], splits=["train", "mine"], oldest=30)
    assert (result.count("near_duplicate"), result.count("bad_box")) == (0, 0)
    assert tagged(dataset, "label_conflict") == {"face0.jpg", "face0-copy.jpg"}
    assert tagged(dataset, "split_leak") == {"face5.jpg"}
    assert result.count("implausible_age") == 7


def test_a_dataset_without_labels_is_checked_too(dataset_name: str, pictures: list[str]) -> None:
    made = fo.Dataset(dataset_name)
    made.add_samples([fo.Sample(filepath=path) for path in [*pictures, pictures[0]]], progress=False)
    result = check(made)
    assert (result.count("duplicate"), result.count("near_duplicate"), len(result.cases)) == (1, 0, 1)
    assert made.last().tags == ["duplicate"]


def test_the_result_is_kept_and_is_plain_data(dataset: fo.Dataset) -> None:
    plain = check(dataset).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["counts"]["duplicate"] == {"pictures": 2, "cases": 2}
    kept = dataset.load_run_results(RUN)
    assert kept.counts == plain["counts"]
    assert dataset.get_run_info(RUN).config.method == "facevlm-check"
    concerned = {one for case in plain["cases"] for one in case["samples"]}
    assert concerned == set(plain["filepaths"])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"near": 65}, InputError, "expected bits from 0 to 64"),
        ({"near": -1}, InputError, "Got near=-1"),
        ({"near": 3.5}, InputError, "Got near=3.5"),
        ({"threads": 0}, InputError, "Got threads=0"),
        ({"fields": ["sex"]}, FieldError, "Field 'sex' is not there or no such; need labels.*gender"),
        ({"age": "gender"}, FieldError, "Age field 'gender' is not there or no such; need numbers: age"),
        ({"boxes": ["gender"]}, FieldError, "need Detections: faces"),
        ({"splits": ["dev"]}, FieldError, "Split 'dev' is not there or no such.*test, train, val"),
    ],
)
def test_bad_input_changes_nothing(dataset: fo.Dataset, options: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        check(dataset, **options)
    assert dataset.get_field(FIELD) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({"ftype": fo.StringField}, "mine"),
        ({"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Classification}, fo.Classification(label="mine")),
        ({"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Detections}, fo.Detections()),
        (
            {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.DynamicEmbeddedDocument},
            fo.DynamicEmbeddedDocument(findings=["mine"]),
        ),
    ],
    ids=["text", "labels", "boxes", "documents"],
)
def test_a_field_of_the_users_own_in_the_place_of_findings_stays(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any], value: object
) -> None:
    def read(*_: object, **__: object) -> None:
        pytest.fail("a picture was read")

    monkeypatch.setattr(fingerprints, "fill", read)
    dataset.add_sample_field(FIELD, **kind)
    dataset.set_values(FIELD, [value] * len(dataset))
    held, tags = dataset.values(FIELD), dataset.count_sample_tags()
    with pytest.raises(FieldError, match=r"was not written by a check, expected no field of that name.*rename it"):
        check(dataset)
    dataset.reload()
    assert (dataset.values(FIELD), dataset.count_sample_tags()) == (held, tags)
    assert not dataset.has_run(RUN)


def test_a_copy_of_a_checked_dataset_is_checked_again(dataset: fo.Dataset) -> None:
    check(dataset)
    copy = dataset.clone()
    try:
        assert check(copy).count("duplicate") == 2
    finally:
        copy.delete()


def test_nothing_to_check(dataset: fo.Dataset) -> None:
    with pytest.raises(TargetError, match="holds no sample"):
        check(dataset.limit(0))


# The command line


def test_the_command_prints_a_table_and_writes_everything(
    dataset: fo.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    assert cli.main(["check", dataset.name, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    for kind, names in FAULTS.items():
        assert rows[kind][1] == str(len(names))
        assert rows[kind][-1] == f"check_{kind}"
    assert "11 pictures, 9 readable" in out
    assert "splits: train, val, test" in out
    assert json.loads(path.read_text())["counts"]["bad_box"] == {"pictures": 1, "cases": 1}


def test_the_command_and_the_function_have_the_same_defaults() -> None:
    args = cli.parser().parse_args(["check", "x"])
    defaults = inspect.signature(facevlm.check).parameters
    for name in ("near", "oldest", "fields", "age", "boxes", "splits", "threads"):
        assert getattr(args, name) == defaults[name].default


def test_near_copies_can_be_left_out(dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.save_view("some", dataset.match_tags("train"))
    assert cli.main(["check", dataset.name, "--view", "some", "--near", "off"]) == 0
    assert "8 pictures, 7 readable" in capsys.readouterr().out
    assert tagged(dataset, "near_duplicate") == set()
    with pytest.raises(SystemExit):
        cli.main(["check", dataset.name, "--near", "few"])
    assert "expected a number of bits, or off" in capsys.readouterr().err
    assert cli.main(["check", dataset.name, "--fields", "sex"]) == 2


# UTKFace and FER2013, if they lie beside the repository


@pytest.fixture(scope="module")
def utkface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, dict[str, str]]]]:
    """Every UTKFace picture that has a copy, and a thousand others; rows of labels.csv by file."""
    folder = tmp_path_factory.mktemp("utkface")
    rows = {row["file"]: row for row in real.labels("utkface")}
    alone = set([file for file, row in rows.items() if row["dup_group_size"] == "1"][::22])
    kept = {file: row for file, row in rows.items() if row["dup_group_size"] != "1" or file in alone}
    real.extract("utkface", folder, lambda pictures: [name for name in pictures if Path(name).name in kept])
    yield folder / "UTKFace", kept
    shutil.rmtree(folder)


@real.needed
def test_copies_and_conflicts_of_utkface_are_those_that_its_list_names(
    dataset_name: str, utkface: tuple[Path, dict[str, dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = utkface
    assert cli.main(["load", "utkface", str(folder), "--name", dataset_name, "--check"]) == 0
    assert "386         371" in capsys.readouterr().out
    dataset = fo.load_dataset(dataset_name)
    assert len(dataset) == len(rows)
    assert tagged(dataset, "duplicate") == {file for file, row in rows.items() if row["dup_index"] != "0"}
    assert tagged(dataset, "label_conflict") == {file for file, row in rows.items() if row["label_conflict"] == "1"}
    groups: dict[str, set[str]] = {}
    for path, first in zip(*dataset.values(["filepath", f"{FIELD}.copy_of"]), strict=True):
        groups.setdefault(first or path, set()).add(rows[Path(path).name]["pixel_sha256"])
    assert all(len(pixels) == 1 for pixels in groups.values())
    assert sum(1 for case in dataset.load_run_results(RUN).cases if case["kind"] == "label_conflict") == 192


@real.needed
def test_copies_conflicts_and_leaks_of_fer2013_are_those_that_its_list_names(dataset_name: str, tmp_path: Path) -> None:
    rows = {row["file"]: row for row in real.labels("fer2013")}
    alike: dict[str, list[str]] = {}
    for file, row in rows.items():
        alike.setdefault(row["pixel_sha256"], []).append(file)
    copied = {file for files in alike.values() if len(files) > 1 for file in files}
    kept = copied | set(list(rows)[::40])
    real.extract("fer2013", tmp_path, lambda names: [n for n in names if n.removeprefix("FER2013/") in kept])
    dataset = datasets.load("fer2013", tmp_path, dataset_name=dataset_name)
    assert len(dataset) == len(kept)
    facevlm.check(dataset, progress=False)

    def found(kind: str) -> set[str]:
        paths = dataset.match_tags(kind).values("filepath")
        return {Path(path).relative_to(tmp_path / "FER2013").as_posix() for path in paths}

    assert len(found("duplicate")) == sum(len(files) - 1 for files in alike.values()) == 1532
    told = {sha: {rows[file]["emotion"] for file in files} for sha, files in alike.items()}
    assert found("label_conflict") == {file for file in copied if len(told[rows[file]["pixel_sha256"]]) > 1}
    # The list also names pictures that contradict copies in the part that does not lie here.
    assert found("label_conflict") <= {file for file, row in rows.items() if row["label_conflict"] == "1"}
    leaked = {file for file, row in rows.items() if row["dup_of_train"] == "1"}
    assert len(leaked) == 280
    assert leaked <= found("split_leak")
