"""facevlm sensitivity: printed flips, and the same in the file and in the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

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


def test_unread_pictures_and_the_best_and_worst_wording_are_told(faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    faces.add_sample(fo.Sample(filepath=str(tmp_path / "none.jpg")))
    # Ground truth made of what the model's own prompt gets for an answer.
    assert run("apply", faces.name, "--attributes", "race5", "--prefix", "seen").status == 0
    faces.reload()
    faces.set_values("truth", faces.values("seen_race5.label"))
    path = tmp_path / "figures.json"
    done = run(
        *("sensitivity", faces.name, "--attributes", "race5", "--truth", "race5=truth", "--json", str(path)),
        *("--paraphrase", "race5=is it day or night?", "--paraphrase", "race5=x"),
    )
    assert done.status == 0
    [result] = json.loads(path.read_text(encoding="utf-8"))
    assert result["unanswered"] == 1
    assert "Faces without an answer in any wording, left out: 1" in done.out
    assert (result["wordings"][0]["n_truth"], result["wordings"][0]["accuracy"]) == (6, 1)
    for wording in result["wordings"]:
        assert wording["accuracy"] == pytest.approx(1 - wording["differs"]), "the truth is what the first wording says"
    worst = min(w["accuracy"] for w in result["wordings"])
    spread = result["spread"]
    assert (spread["a"], spread["difference"]) == ("demo_words_w0", pytest.approx(1 - worst))
    assert f"Most accurate demo_words_w0, least {spread['b']}: difference {share(spread['difference'])} (" in done.out


def test_a_wording_that_was_changed_is_not_mixed_with_the_old(faces: fo.Dataset, run: Run) -> None:
    command = ("sensitivity", faces.name, "--view", "few", "--attributes", "gender", "--paraphrase")
    assert run(*command, "gender=who?").status == 0
    again = run(*command, "gender=which?")
    assert (again.status, again.out) == (2, "")
    assert "prefix 'demo_words_w1' hold predictions of another model or prompt for gender" in again.err
    assert run(*command, "gender=which?", "--overwrite").status == 0


def test_free_text_is_another_way_of_asking(faces: fo.Dataset, run: Run) -> None:
    command = ("sensitivity", faces.name, "--view", "few", "--attributes", "gender", "--decode", "generate")
    assert run(*command, "--paraphrase", "gender=who?").status == 0
    faces.reload()
    record = faces.get_run_info("facevlm_demo_words_w1").config
    assert (record.backend["decode"], record.questions["gender"]["text"]) == ("generate", "who?")
