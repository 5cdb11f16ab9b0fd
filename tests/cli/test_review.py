"""facevlm review: approved by a threshold, decided one by one, undone."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

from tests.cli.running import Run


@pytest.fixture
def answered(faces: fo.Dataset, run: Run) -> fo.Dataset:
    assert run("apply", faces.name, "--attributes", "gender").status == 0
    faces.reload()
    return faces


def test_a_threshold_then_one_by_one_then_undone(answered: fo.Dataset, run: Run, tmp_path: Path) -> None:
    command = ("review", answered.name, "--attribute", "gender", "--by", "Ada")
    begun = run(*command)
    assert (begun.status, begun.rows("all")[0][1:4]) == (0, ["6", "0", "0"])
    threshold = sorted(answered.values("demo_gender.confidence"))[3]
    asked = run(*command, "--approve", str(threshold))
    assert asked.status == 2
    assert "3 of 6 answers of at least" in asked.err
    assert "add --yes" in asked.err
    done = run(*command, "--approve", str(threshold), "--yes")
    assert (done.status, done.rows("all")[0][1:4]) == (0, ["6", "0", "3"])
    assert "3 written to 'gender_reviewed' (act " in done.out

    file = tmp_path / "queue.json"
    queue = run(*command, "--queue", "--limit", "2", "--json", str(file))
    told = json.loads(file.read_text(encoding="utf-8"))
    first, second = (face["id"] for face in told["queue"])
    assert queue.rows(first)[0][1:] == [told["queue"][0]["said"], f"{told['queue'][0]['confidence']:.3f}"]
    assert (told["field"], told["progress"][0]["bulk"]) == ("gender_reviewed", 3)
    assert (
        run(*command, "--decide", f"{first}=Female", "--decide", f"{second}=unclear", "--order", "unsure").status == 0
    )
    answered.reload()
    label = answered[first].gender_reviewed
    assert (label.label, label.reviewed_by, label.chosen) == ("Female", "Ada", "unsure")
    undone = run(*command, "--undo")
    assert undone.rows("all")[0][1:6] == ["6", "0", "3", "0", "0"]

    table = tmp_path / "decisions.csv"
    table.write_text(f"id,decision\n{first},approve\n{second},discard\n", encoding="utf-8")
    by_table = run(*command, "--decisions", str(table), "--groups", "gender")
    assert by_table.status == 0
    assert "2 written" in by_table.out
    assert set(answered.values("gender.label")) <= {
        line.split()[0] for line in by_table.out.splitlines() if line.split()
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attribute", "gender", "--field", "gender"), "--agree"),
        (("--attribute", "gender", "--approve", "2"), "Got threshold=2.0"),
        (("--attribute", "gender", "--decide", "nobody=skip"), "Got the face 'nobody'"),
        (("--attribute", "gender", "--decide", "a=skip", "--decide", "a=discard"), "Got two decisions about face 'a'"),
        (("--attribute", "gender", "--decisions", "/nowhere.csv"), "Cannot read decisions from '/nowhere.csv'"),
        (("--attribute", "race5"), "demo_race5"),
        (("--attribute", "gender", "--undo"), "nothing to undo"),
    ],
)
def test_what_cannot_be_done_is_said(answered: fo.Dataset, run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run("review", answered.name, *arguments)
    assert done.status == 2
    assert said in done.err
    answered.reload()
    assert "gender_reviewed" not in answered.get_field_schema()
