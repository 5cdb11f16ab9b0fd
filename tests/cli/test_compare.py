"""facevlm compare: two prompts on the same faces."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo

from tests.cli.running import JUDGED, Run, share


def test_two_prompts_are_compared(faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "a").status == 0
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "b", "--prompt", "gender=who?").status == 0
    path = tmp_path / "figures.json"
    done = run("compare", faces.name, "--prefixes", "a,b", "--groups", "gender", "--json", str(path))
    assert done.status == 0
    [data] = json.loads(path.read_text(encoding="utf-8"))
    [pair] = data["pairs"]
    [row] = done.rows("a")[1:]
    counts = [str(pair[name]) for name in ("n", "both_right", "only_a", "only_b", "neither")]
    assert row[:7] == ["a", "b", *counts]
    assert row[7] == share(pair["difference"])
    assert done.rows("all")[0][1:3] == ["6*", share(data["flips"]["rate"])]
    assert sum(int(r[1].rstrip("*")) for label in ("Male", "Female") for r in done.rows(label)) == 6


def test_the_faces_behind_the_counts_are_saved_on_demand(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    again = ("apply", JUDGED, "--attributes", "gender,age5", "--prefix", "again", "--prompt", "age5=how old?")
    assert run(*again).status == 0
    path = tmp_path / "figures.json"
    command = ("compare", JUDGED, "--prefixes", "demo,again", "--json", str(path))
    assert "Saved views" not in run(*command).out
    judged.reload()
    assert not any("_vs_" in name for name in judged.list_saved_views())
    done = run(*command, "--save-views")
    assert done.status == 0
    for comparison in json.loads(path.read_text(encoding="utf-8")):
        name = "gender" if comparison["attribute"] == "gender" else "age5"
        views = [f"demo_vs_again_{name}_{end}" for end in ("disagree", "only_demo_right", "only_again_right")]
        assert comparison["views"] == views
        assert f"Saved views: {', '.join(views)}\n" in done.out
        [pair] = comparison["pairs"]
        judged.reload()
        counts = [len(judged.load_saved_view(view)) for view in views]
        assert counts == [round((1 - pair["agreement"]) * pair["n"]), pair["only_a"], pair["only_b"]]


def test_runs_are_compared_without_ground_truth(faces: fo.Dataset, run: Run) -> None:
    faces.delete_sample_field("gender")
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "a").status == 0
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "b", "--prompt", "gender=who?").status == 0
    done = run("compare", faces.name, "--prefixes", "a,b")
    assert done.status == 0
    assert [row[:3] for row in done.rows("a")] == [["a", "b", "n"], ["a", "b", "6"]]
    assert "No ground-truth field is known for gender" in done.out
    assert "McNemar" not in done.out
