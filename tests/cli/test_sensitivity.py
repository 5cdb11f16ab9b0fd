"""facevlm sensitivity: printed flips, and the same in the file and in the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo

from tests.cli.running import Run, share


def test_flips_are_printed_stored_and_written(faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "figures.json"
    command = ("sensitivity", faces.name, "--attributes", "gender,emotion7", "--groups", "gender", "--json", str(path))
    done = run(*command)
    assert done.status == 0
    results = json.loads(path.read_text(encoding="utf-8"))
    assert [r["attribute"] for r in results] == ["gender", "emotion7"]
    faces.reload()
    for k, result in enumerate(results):
        flips = result["flips"]
        figures = [share(flips["rate"]), f"{share(flips['low'])} - {share(flips['high'])}", share(flips["mean"])]
        assert done.rows("all wordings")[k][:5] == ["all wordings", "6*", *figures]
        for wording in result["wordings"]:
            row = done.rows(wording["prefix"])[k]
            assert row[0] == wording["prefix"]
            assert wording["prompt"].startswith(row[1])
            assert row[2:5] == ["6", share(wording["differs"]), share(wording["accuracy"])]
        rates = faces.values(result["field"])
        assert sum(rate > 0 for rate in rates) == round(flips["rate"] * 6) == len(faces.load_saved_view(result["view"]))
        assert f"Per face: field {result['field']}, saved view {result['view']}\n" in done.out
    assert sum(int(row[1].rstrip("*")) for label in ("Male", "Female") for row in done.rows(label)) == 2 * 6
    assert "The prompts about gender list no labels" in done.out
    runs = [key for key in faces.list_runs() if key.startswith("facevlm_demo_words_w")]
    assert sorted(runs) == [f"facevlm_demo_words_w{k}" for k in range(4)]


def test_own_wordings_and_orders_of_labels(faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "figures.json"
    done = run(
        *("sensitivity", faces.name, "--view", "few", "--attributes", "gender", "--prefix", "own"),
        *("--paraphrase", "gender=who is it?", "--paraphrase", "gender=one of {labels}", "--orders", "5"),
        *("--json", str(path)),
    )
    assert done.status == 0
    [result] = json.loads(path.read_text(encoding="utf-8"))
    assert [w["prefix"] for w in result["wordings"]] == ["own_w0", "own_w1", "own_w2", "own_w2o1"]
    assert [w["labels"] for w in result["wordings"]] == [None, None, ["Male", "Female"], ["Female", "Male"]]
    assert [w["prompt"] for w in result["wordings"]][2:] == ["one of Male, Female", "one of Female, Male"]
    assert result["flips"]["n"] == 2
    assert done.rows("wording alone")[0][1] == "2*"
    assert "list no labels" not in done.out


def test_without_ground_truth_there_is_no_accuracy(faces: fo.Dataset, run: Run) -> None:
    faces.delete_sample_field("gender")
    done = run("sensitivity", faces.name, "--attributes", "gender")
    assert done.status == 0
    assert "accuracy" not in done.out.split("Figures in per cent")[0]
    assert "No ground-truth field is known for gender" in done.out
    assert done.rows("all wordings")[0][1] == "6*"
