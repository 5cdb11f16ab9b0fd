"""facevlm evaluate: printed figures, files of figures, ground truth and groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fiftyone as fo

from tests.cli.running import COUNT, JUDGED, Run, share


def figures(cell: dict[str, Any]) -> list[str]:
    count = f"{cell['n']}{'*' if cell['n'] < 30 else ''}"
    interval = f"{share(cell['low'])} - {share(cell['high'])}"
    return [count, share(cell["coverage"]), share(cell["accuracy"]), interval, share(cell["balanced_accuracy"])]


def test_the_json_file_holds_the_printed_figures(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "figures.json"
    done = run("evaluate", JUDGED, "--groups", "side,gender", "--pairs", "--eval-key", "all", "--json", str(path))
    assert done.status == 0
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["eval_key"] == "all"
    assert data["ground_truth"] == {"gender": "gender", "age5": "age_group"}
    assert data["views"] == {"gender": "all_gender_errors", "age5": "all_age5_errors"}
    assert [e["attribute"] for e in data["evaluations"]] == ["gender", "age5"]
    summary = done.tables("attribute", "n")[0]
    tables = {header: done.tables(*header, "n") for header in [("class",), ("side",), ("gender",), ("side", "gender")]}
    for k, evaluation in enumerate(data["evaluations"]):
        cell = evaluation["overall"]
        averages = [*(share(cell[name]) for name in ("precision", "recall", "f1")), f"{cell['kappa']:.2f}"]
        assert summary[k] == [evaluation["attribute"], *figures(cell), *averages, "-"]
        assert cell["n"] == COUNT
        assert tables["class",][k] == [
            [
                row["label"],
                str(row["n"]),
                str(row["said"]),
                share(row["precision"]),
                share(row["recall"]),
                f"{share(row['low'])} - {share(row['high'])}",
                share(row["f1"]),
            ]
            for row in evaluation["classes"]
        ]
        assert [tuple(table["by"]) for table in evaluation["groups"]] == [("side",), ("gender",), ("side", "gender")]
        for table in evaluation["groups"]:
            assert tables[tuple(table["by"])][k] == [
                [
                    *row["values"],
                    *figures(row["cell"]),
                    share(row["cell"]["f1"]) if row["cell"]["n_labels"] > 1 else "-",
                    share(row["shrunk"]),
                ]
                for row in table["rows"]
            ]
    ordinal = data["evaluations"][1]["overall"]
    line = f"Off by one at most: {share(ordinal['off_by_one'])}, mean error: {ordinal['mean_bin_error']:.2f} groups"
    assert line in done.out


def test_pairs_of_groups_are_printed_on_demand(judged: fo.Dataset, run: Run) -> None:
    command = ("evaluate", JUDGED, "--attributes", "gender", "--groups", "side,sex")
    assert run(*command).tables("side", "sex") == []
    [rows] = run(*command, "--pairs").tables("side", "sex")
    assert sum(int(row[2].rstrip("*")) for row in rows) == COUNT


def test_faces_of_no_group_are_said_on_the_first_screen(judged: fo.Dataset, run: Run) -> None:
    judged.set_values("place", ["here", None, None] * (COUNT // 3))
    done = run("evaluate", JUDGED, "--attributes", "gender", "--groups", "place")
    assert f"- {COUNT // 3 * 2} of {COUNT} faces have no place: they are in no group." in done.out


def test_only_a_saved_view_is_evaluated(judged: fo.Dataset, run: Run) -> None:
    done = run("evaluate", JUDGED, "--view", "few", "--eval-key", "five", "--full")
    assert [row[1] for row in done.tables("attribute", "n")[0]] == ["5*", "5*"]
    judged.reload()
    assert {"five_gender", "five_age5"} <= set(judged.list_evaluations())
    assert len(judged.load_saved_view("five_gender_errors")) <= 5


def test_ground_truth_can_be_named(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    command = ("evaluate", JUDGED, "--attributes", "gender,age5", "--groups", "side", "--json")
    guessed, named = tmp_path / "guessed.json", tmp_path / "named.json"
    assert run(*command, str(guessed)).status == 0
    assert run(*command, str(named), "--truth", "gender=sex", "--truth", "age5 = age").status == 0
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (guessed, named))
    assert after["ground_truth"] == {"gender": "sex", "age5": "age"}
    assert [e["overall"] for e in after["evaluations"]] == [e["overall"] for e in before["evaluations"]]
    assert after["evaluations"][1]["alignment"] == "years -> age5"


def test_predictions_of_another_prefix_are_evaluated(faces: fo.Dataset, run: Run) -> None:
    assert run("apply", faces.name, "--attributes", "gender", "--prefix", "mine").status == 0
    assert "Prefixes with predictions: mine." in run("evaluate", faces.name).err
    done = run("evaluate", faces.name, "--prefix", "mine")
    assert done.status == 0
    assert "Model Evaluation panel: mine_eval_gender\n" in done.out


OWN = """
attributes:
  span:
    family: age
    question: young or old?
    labels: [young, old]
maps:
  - {source: age5, target: span, labels: {0-9: young, 10-19: young, 20-39: young, 40-59: old, More than 60: old}}
years:
  span: [0, 40]
"""


def test_attributes_of_ones_own_are_listed_and_evaluated(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN, encoding="utf-8")
    listed = run("attributes", "--attributes-file", str(path))
    *told, origin = listed.rows("span")[0]
    assert told == ["span", "span", "nominal", "young, old", "young or old?"]
    assert str(path).startswith(origin)
    assert "age5 -> span: 0-9 -> young, 10-19 -> young, 20-39 -> young, 40-59 -> old, More than 60 -> old" in listed.out
    assert "age in years -> span: groups begin at 0, 40\n" in listed.out
    judged.set_values("span_seen", ["young", "old"] * (COUNT // 2))
    command = ("evaluate", JUDGED, "--attributes", "age5", "--truth", "age5=span_seen")
    assert "which no label set of 'age'" in run(*command).err
    assert "\n- span: age5 -> span.\n" in run(*command, "--attributes-file", str(path)).out
    done = run(*command, "--attributes-file", str(path), "--full")
    assert done.status == 0
    assert "\nspan  (age5 -> span)\n" in done.out
    assert [row[:2] for row in done.tables("class", "n")[0]] == [["young", "12"], ["old", "12"]]


def test_numbers_are_put_into_bins(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "figures.json"
    command = (
        "evaluate",
        JUDGED,
        "--attributes",
        "gender",
        "--eval-key",
        "binned",
        "--draws",
        "50",
        "--json",
        str(path),
    )
    assert run(*command, "--bins", "age=25,40", "--groups", "side").status == 0
    [evaluation] = json.loads(path.read_text(encoding="utf-8"))["evaluations"]
    names = {tuple(t["by"]): [row["values"][0] for row in t["rows"]] for t in evaluation["groups"]}
    assert set(names["age",]) <= {"1: below 25", "2: from 25 below 40", "3: from 40"}
    assert set(names) == {("side",), ("age",), ("side", "age")}
