"""facevlm predict: what is asked, and what is asked again."""

from __future__ import annotations

import shutil
from pathlib import Path

import fiftyone as fo

from facevlm.folders import ASSETS
from facevlm.types import OUTCOMES
from tests.backends.test_adapters import made
from tests.cli.running import Run


def test_predictions_are_made_once_unless_they_are_to_be_overwritten(faces: fo.Dataset, run: Run) -> None:
    command = ("apply", faces.name, "--attributes", "gender, age5", "--prefix", "mine", "--batch-size", "4")
    first = run(*command)
    assert first.status == 0
    assert [row[:3] for row in (*first.rows("gender"), *first.rows("age5"))] == [
        ["gender", "mine_gender", "6"],
        ["age5", "mine_age5", "6"],
    ]
    assert "6 faces asked, 0 skipped" in first.out
    faces.reload()
    assert (faces.count("mine_gender.label"), faces.count("mine_age5.label")) == (6, 6)
    assert faces.get_run_info("facevlm_mine").config.batch_size == 4
    again = run(*command)
    assert (again.status, again.out) == (
        0,
        "Nothing to ask: all 6 faces have their answers. --overwrite asks again.\n",
    )
    assert "6 faces asked, 0 skipped" in run(*command, "--overwrite").out


def test_a_saved_view_is_all_that_is_asked(faces: fo.Dataset, run: Run) -> None:
    command = ("apply", faces.name, "--attributes", "gender")
    assert "2 faces asked, 0 skipped" in run(*command, "--view", "few").out
    faces.reload()
    assert faces.count("demo_gender.label") == 2
    assert "4 faces asked, 2 skipped" in run(*command).out


def test_own_words_and_separate_prompts_stand_in_the_record(faces: fo.Dataset, run: Run) -> None:
    base = ("apply", faces.name, "--view", "few", "--attributes", "gender,age5", "--prefix")
    assert run(*base, "joint").status == 0
    assert run(*base, "apart", "--separate").status == 0
    assert run(*base, "own", "--prompt", "gender=man = or woman?").status == 0
    faces.reload()
    asked = {p: faces.get_run_info(f"facevlm_{p}").config.questions for p in ("joint", "apart", "own")}
    assert asked["joint"]["gender"]["context"]
    assert asked["apart"]["gender"]["context"] is None
    assert asked["own"]["gender"]["text"] == "man = or woman?"
    assert asked["own"]["age5"] == asked["joint"]["age5"]


def test_free_text_is_another_way_of_decoding(faces: fo.Dataset, run: Run) -> None:
    done = run("apply", faces.name, "--view", "few", "--attributes", "gender", "--decode", "generate")
    [row] = done.rows("gender")
    assert sum(map(int, row[2 : 2 + len(OUTCOMES)])) == 2
    assert row[-1] in ("nan", "-")
    faces.reload()
    assert faces.get_run_info("facevlm_demo").config.backend["decode"] == "generate"


def test_another_prompt_does_not_overwrite_silently(faces: fo.Dataset, run: Run) -> None:
    command = ("apply", faces.name, "--view", "few", "--attributes", "gender")
    assert run(*command).status == 0
    other = run(*command, "--prompt", "gender=who?")
    assert (other.status, other.out) == (2, "")
    assert "hold predictions of another model or prompt for gender" in other.err


def test_a_dataset_is_made_of_a_folder_and_asked(folder: Path, dataset_name: str, run: Run) -> None:
    command = ("apply", dataset_name, "--images", str(folder), "--attributes", "gender", "--threads", "1")
    first = run(*command)
    assert first.status == 0
    assert first.rows("gender")[0][1:7] == ["demo_gender", "3", "0", "0", "0", "1"]
    assert "  1 x not a picture, or of an unknown format: bad.jpg\n" in first.out
    shutil.copy(folder / "a.jpg", folder / "bad.jpg")
    assert "1 faces asked, 3 skipped" in run(*command).out


def test_answers_with_an_adapter_are_kept_apart_from_those_of_its_base(
    faces: fo.Dataset, run: Run, tmp_path: Path
) -> None:
    own = made(ASSETS / "demo_model", tmp_path / "My-LoRA")
    command = ("apply", faces.name, "--attributes", "gender", "--adapter", str(own))
    assert "6 faces asked, 0 skipped" in run(*command).out
    assert "Nothing to ask" in run(*command).out
    assert run(*command, "--no-merge-adapter").status == 0
    faces.reload()
    record = faces.get_run_info("facevlm_my_lora").config
    assert {entry["checkpoint"] for entry in record.identity} == {"package:demo_model", str(own)}
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "my_lora").status == 2
    wrong = run("apply", faces.name, "--attributes", "gender", "--prefix", "y", "--adapter", "/nowhere/at/all")
    assert (wrong.status, "is no folder" in wrong.err) == (1, True)
