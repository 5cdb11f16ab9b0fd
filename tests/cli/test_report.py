"""facevlm report: files that hold the stored figures."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

from tests.cli.running import JUDGED, Run


def test_a_report_holds_the_figures_of_the_stored_evaluation(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    figures, folder = tmp_path / "figures.json", tmp_path / "deep" / "out"
    assert run("evaluate", JUDGED, "--eval-key", "told", "--draws", "50", "--json", str(figures)).status == 0
    done = run("report", JUDGED, "--eval-key", "told", "--out", str(folder))
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == [str(folder / f"report.{kind}") for kind in ("html", "md", "json")]
    kept = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert kept["evaluation"] == json.loads(figures.read_text(encoding="utf-8"))
    assert "data:image" not in (folder / "report.html").read_text(encoding="utf-8")


def test_pictures_are_in_a_report_on_demand(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    assert run("evaluate", JUDGED, "--truth", "gender=sex", "--eval-key", "seen", "--draws", "50").status == 0
    done = run("report", JUDGED, "--eval-key", "seen", "--out", str(tmp_path), "--pictures")
    assert done.status == 0
    assert done.out.endswith(
        "report.html holds pictures of people's faces: treat it as you treat the pictures themselves.\n"
    )
    errors = sum(min(12, len(judged.load_saved_view(f"seen_{name}_errors"))) for name in ("gender", "age5"))
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/jpeg") == errors


def test_a_report_goes_to_a_folder_named_after_the_dataset(
    judged: fo.Dataset, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", JUDGED, "--attributes", "gender", "--draws", "50").status == 0
    assert run("report", JUDGED).status == 0
    assert sorted(p.name for p in (tmp_path / f"{JUDGED}-report").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_a_saved_view_is_reported_by_the_key_of_its_evaluation(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    assert run("evaluate", JUDGED, "--draws", "50").status == 0
    assert run("evaluate", JUDGED, "--view", "few", "--eval-key", "five", "--draws", "50").status == 0
    assert run("report", JUDGED, "--eval-key", "five", "--out", str(tmp_path)).status == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| view | Limit |" in text
    kept = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["evaluation"]
    assert [e["overall"]["n"] for e in kept["evaluations"]] == [5, 5]
    told = " ".join(run("report", "--help").out.split())
    assert "such as one that 'facevlm evaluate' gave to a saved view" in told
