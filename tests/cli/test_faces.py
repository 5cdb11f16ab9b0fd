"""facevlm detect and facevlm predict --faces, with bad input too."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest

from facevlm import cli
from facevlm.detection import weights
from facevlm.tasks import sources as sources_task


@pytest.fixture
def groups(dataset_name: str, monkeypatch: pytest.MonkeyPatch) -> fo.Dataset:
    monkeypatch.setenv(weights.OFFLINE, "1")
    monkeypatch.delenv(weights.YUNET, raising=False)
    dataset = sources_task.sample_groups(dataset_name)
    dataset.rename_sample_field("faces", "people")
    return dataset


def test_faces_are_found_asked_about_and_judged(groups: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["detect", groups.name, "--quality"]) == 0
    said = capsys.readouterr().out
    assert "28 faces in 'faces', found by haar; pictures: 8 ok" in said
    assert "Warning: This is the simple detector that comes with OpenCV" in said
    assert cli.main(["detect", groups.name, "--quality"]) == 0
    assert "Nothing to search: all 8 pictures were searched" in capsys.readouterr().out
    assert cli.main(["detect", groups.name, "--overwrite"]) == 0
    assert "Boxes in 'faces': 0 added, 28 found again, under the ids they had" in capsys.readouterr().out
    ask = ["apply", groups.name, "--attributes", "gender", "--device", "cpu", "--faces", "faces"]
    assert cli.main([*ask, "--min-face-px", "60"]) == 0
    said = capsys.readouterr().out
    assert "28 faces asked" in said
    groups.reload()
    outcomes = groups.count_values("demo_gender.detections.outcome")
    assert outcomes["ok"] + outcomes.get("no_face", 0) == 28
    judge = ["evaluate", groups.name, "--prefix", "demo", "--faces", "people", "--truth"]
    assert cli.main([*judge, "gender=people.detections.gender", "--draws", "9"]) == 0
    assert "gender" in capsys.readouterr().out


def test_one_command_finds_and_asks(groups: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["apply", groups.name, "--attributes", "gender", "--device", "cpu", "--detect"]) == 0
    said = capsys.readouterr().out
    assert "28 faces in 'faces'" in said
    assert "28 faces asked" in said
    groups.reload()
    assert groups.count("demo_faces.detections") == 28


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["detect", "--field", "people"], "was not written by a detector"),
        (["detect", "--min-confidence", "2"], "between 0 and 1"),
        (["apply", "--attributes", "gender", "--faces", "nope"], "expected a field of Detections: people"),
        (["apply", "--attributes", "gender", "--faces", "people", "--margin", "-1"], "from 0 to 10"),
        (["apply", "--attributes", "gender", "--min-confidence", "0.5"], "without faces"),
    ],
)
def test_bad_input_is_one_sentence(
    groups: fo.Dataset, capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    assert cli.main([command[0], groups.name, *command[1:]]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_folder_of_pictures_can_be_searched(
    dataset_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.OFFLINE, "1")
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert cli.main(["detect", dataset_name, "--images", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "pictures: 1 failed" in said
    assert "1 x not a picture" in said
