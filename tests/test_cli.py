"""The command line in process against a real MongoDB: tables, files, exit statuses, messages."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
import yaml

import facevlm
from facevlm import cli
from facevlm.attributes import shipped
from facevlm.backends import cards, families
from facevlm.datasets import samples
from facevlm.sources import GROUPS, PICTURES, SAMPLES
from facevlm.store import records
from facevlm.types import OUTCOMES

ATTRIBUTES = ("gender", "age5", "race5", "emotion7")
JUDGED = "test-cli-judged"
COUNT = 24
LOADING = {
    "--device",
    "--dtype",
    "--revision",
    "--quantize",
    "--attention",
    "--compile",
    "--memory-gb",
    "--trust-remote-code",
}
QUESTION = {"--images", "--view", "--model", "--attributes", "--attributes-file", "--prompt"}
OPTIONS = {
    "demo": {"--images"},
    "predict": QUESTION | LOADING | {"--prefix", "--batch-size", "--threads", "--overwrite", "--separate", "--decode"},
    "probe": QUESTION | LOADING | {"--faces", "--seed", "--batch-size", "--json"},
    "evaluate": {
        "--view",
        "--prefix",
        "--attributes",
        "--attributes-file",
        "--truth",
        "--groups",
        "--bins",
        "--pairs",
        "--eval-key",
        "--draws",
        "--json",
    },
    "report": {"--prefix", "--eval-key", "--out", "--pictures"},
    "compare": {"--view", "--prefixes", "--attributes", "--attributes-file", "--truth", "--groups", "--json"},
    "check": {
        "--view",
        "--fields",
        "--age",
        "--boxes",
        "--splits",
        "--near",
        "--oldest",
        "--threads",
        "--attributes-file",
        "--json",
    },
    "paper": LOADING | {"--dataset", "--view", "--model", "--tables", "--truth", "--prefix", "--batch-size", "--json"},
    "models": set(),
    "attributes": {"--attributes-file"},
}


@dataclass(frozen=True)
class Ran:
    """What a command printed and its exit status."""

    status: int
    out: str
    err: str

    def rows(self, first: str) -> list[list[str]]:
        """Cells of the table lines that begin with this cell."""
        cells = [re.split(r"\s{2,}", line.strip()) for line in self.out.splitlines()]
        return [row for row in cells if row[0] == first and len(row) > 1]

    def tables(self, *header: str) -> list[list[list[str]]]:
        """The tables whose header begins with these cells, each a list of rows, without the gaps below it."""
        blocks = [block.strip().splitlines() for block in self.out.split("\n\n")]
        cells = [[re.split(r"\s{2,}", line.strip()) for line in block] for block in blocks]
        found = [rows[2:] for rows in cells if rows and tuple(rows[0][: len(header)]) == header]
        return [[row for row in rows if not row[0].startswith(("Gap in", "No gap in"))] for rows in found]


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line as a shell would."""

    def started(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            status = cli.main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Ran(status, *capsys.readouterr())

    return started


def drop(*names: str) -> None:
    for name in names:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture(scope="module")
def demo() -> Iterator[Ran]:
    """The first run of the demo in this database."""
    drop(SAMPLES, GROUPS)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = cli.main(["demo"])
    yield Ran(status, out.getvalue(), err.getvalue())
    drop(SAMPLES, GROUPS)


@pytest.fixture(scope="module")
def judged() -> Iterator[fo.Dataset]:
    """Sample faces with predictions under the prefix 'demo', ground truth, and a saved view of five."""
    dataset = records.build_singles(JUDGED, samples.read("single")[:COUNT])
    dataset.set_values("sex", [label.lower() for label in dataset.values("gender.label")])
    dataset.set_values("side", ["left", "right"] * (COUNT // 2))
    dataset.save_view("few", dataset.limit(5))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main(["predict", JUDGED, "--attributes", "gender,age5"]) == 0
    yield dataset
    drop(JUDGED)


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    """Six sample faces without predictions, and a saved view of two."""
    dataset = records.build_singles(dataset_name, samples.read("single")[:6])
    dataset.save_view("few", dataset.limit(2))
    return dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three readable pictures, one of them in a folder below, and one that is none."""
    place = tmp_path / "mine"
    (place / "deep").mkdir(parents=True)
    for record, name in zip(samples.read("single")[:3], ("a.jpg", "b.jpg", "deep/c.jpg"), strict=True):
        shutil.copy(record.filepath, place / name)
    (place / "bad.jpg").write_bytes(b"no picture")
    return place


# demo


def test_the_demo_labels_and_evaluates_all_four_attributes(demo: Ran) -> None:
    assert demo.status == 0
    assert demo.out.startswith(f"Dataset '{SAMPLES}': 96 pictures. Labels are perceived or apparent, not facts.\n")
    for name in ATTRIBUTES:
        applied, summary = demo.rows(name)[:2]
        assert applied[:7] == [name, f"demo_{name}", "96", "0", "0", "0", "0"]
        assert 0 <= float(applied[7]) <= 100
        assert (summary[1], summary[2], summary[-1]) == ("96", "100.0", "-")
        assert re.search(rf"^{name}  \(.+\)\n=+$", demo.out, re.MULTILINE)
    assert "96 faces asked, 0 skipped" in demo.out
    assert "Off by one at most: " in demo.out


def test_the_tables_of_the_demo_are_complete(demo: Ran) -> None:
    classes = demo.tables("class", "n")
    assert [sum(int(row[1]) for row in rows) for rows in classes] == [96] * 4
    assert [sum(int(row[2]) for row in rows) for rows in classes] == [96] * 4
    by_gender = demo.tables("gender", "n")
    assert [sum(int(row[1].rstrip("*")) for row in rows) for rows in by_gender] == [96] * 4
    assert all(row[1].endswith("*") == (int(row[1].rstrip("*")) < 30) for rows in by_gender for row in rows)
    assert demo.tables("gender", "age_group") == []


def test_the_demo_says_where_its_results_are(demo: Ran) -> None:
    keys = [f"demo_eval_{name}" for name in ATTRIBUTES]
    assert f"In the App's Model Evaluation panel: {', '.join(keys)}\n" in demo.out
    assert f"most confident first: {', '.join(f'{key}_errors' for key in keys)}\n" in demo.out
    assert demo.out.endswith(f"fiftyone app launch {SAMPLES}\n")
    dataset = fo.load_dataset(SAMPLES)
    assert dataset.list_evaluations() == sorted(keys)
    assert {f"{key}_errors" for key in keys} <= set(dataset.list_saved_views())
    assert {name: dataset.count(f"demo_{name}.label") for name in ATTRIBUTES} == dict.fromkeys(ATTRIBUTES, 96)


def test_the_demo_makes_the_group_pictures_too(demo: Ran) -> None:
    groups = fo.load_dataset(GROUPS)
    assert groups.persistent
    assert groups.count("faces.detections") == len(samples.read("group"))


def test_the_demo_gives_the_same_figures_again(demo: Ran, run: Run) -> None:
    again = run("demo")
    assert again.status == 0
    figures = "\nattribute    n    answered"
    assert again.out[again.out.index(figures) :] == demo.out[demo.out.index(figures) :]
    assert len(fo.load_dataset(SAMPLES)) == 96


def test_the_demo_on_own_pictures_has_nothing_to_evaluate(folder: Path, run: Run) -> None:
    drop(PICTURES)
    done = run("demo", "--images", str(folder))
    assert done.status == 0
    assert done.out.startswith(f"Dataset '{PICTURES}': 4 pictures.")
    for name in ATTRIBUTES:
        [row] = done.rows(name)
        assert row[:7] == [name, f"demo_{name}", "3", "0", "0", "0", "1"]
    assert "  4 x not a picture, or of an unknown format: bad.jpg\n" in done.out
    assert "accuracy" not in done.out
    assert "Model Evaluation" not in done.out
    dataset = fo.load_dataset(PICTURES)
    assert dataset.list_evaluations() == []
    outcomes = dict(zip(dataset.values("filepath"), dataset.values("demo_gender.outcome"), strict=True))
    assert {Path(path).name: outcome for path, outcome in outcomes.items() if outcome != "ok"} == {"bad.jpg": "failed"}
    drop(PICTURES)


# predict


def test_predictions_are_made_once_unless_they_are_to_be_overwritten(faces: fo.Dataset, run: Run) -> None:
    command = ("predict", faces.name, "--attributes", "gender, age5", "--prefix", "mine", "--batch-size", "4")
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
    command = ("predict", faces.name, "--attributes", "gender")
    assert "2 faces asked, 0 skipped" in run(*command, "--view", "few").out
    faces.reload()
    assert faces.count("demo_gender.label") == 2
    assert "4 faces asked, 2 skipped" in run(*command).out


def test_own_words_and_separate_prompts_stand_in_the_record(faces: fo.Dataset, run: Run) -> None:
    base = ("predict", faces.name, "--view", "few", "--attributes", "gender,age5", "--prefix")
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
    done = run("predict", faces.name, "--view", "few", "--attributes", "gender", "--decode", "generate")
    [row] = done.rows("gender")
    assert sum(map(int, row[2 : 2 + len(OUTCOMES)])) == 2
    assert row[-1] in ("nan", "-")
    faces.reload()
    assert faces.get_run_info("facevlm_demo").config.backend["decode"] == "generate"


def test_another_prompt_does_not_overwrite_silently(faces: fo.Dataset, run: Run) -> None:
    command = ("predict", faces.name, "--view", "few", "--attributes", "gender")
    assert run(*command).status == 0
    other = run(*command, "--prompt", "gender=who?")
    assert (other.status, other.out) == (2, "")
    assert "hold predictions of another model or prompt for gender" in other.err


def test_a_dataset_is_made_of_a_folder_and_asked(folder: Path, dataset_name: str, run: Run) -> None:
    command = ("predict", dataset_name, "--images", str(folder), "--attributes", "gender", "--threads", "1")
    first = run(*command)
    assert first.status == 0
    assert first.rows("gender")[0][1:7] == ["demo_gender", "3", "0", "0", "0", "1"]
    assert "  1 x not a picture, or of an unknown format: bad.jpg\n" in first.out
    shutil.copy(folder / "a.jpg", folder / "bad.jpg")
    assert "1 faces asked, 3 skipped" in run(*command).out


# evaluate


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


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


def test_only_a_saved_view_is_evaluated(judged: fo.Dataset, run: Run) -> None:
    done = run("evaluate", JUDGED, "--view", "few", "--eval-key", "five")
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
    assert run("predict", faces.name, "--attributes", "gender", "--prefix", "mine").status == 0
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
    assert listed.rows("span")[0] == ["span", "span", "nominal", "young, old", "young or old?"]
    assert "age5 -> span: 0-9 -> young, 10-19 -> young, 20-39 -> young, 40-59 -> old, More than 60 -> old" in listed.out
    assert "age in years -> span: groups begin at 0, 40\n" in listed.out
    judged.set_values("span_seen", ["young", "old"] * (COUNT // 2))
    command = ("evaluate", JUDGED, "--attributes", "age5", "--truth", "age5=span_seen")
    assert "which no label set of 'age'" in run(*command).err
    done = run(*command, "--attributes-file", str(path))
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


# report


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


# compare


def test_two_prompts_are_compared(faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    assert run("predict", faces.name, "--attributes", "gender", "--prefix", "a").status == 0
    assert run("predict", faces.name, "--attributes", "gender", "--prefix", "b", "--prompt", "gender=who?").status == 0
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


# models, attributes


def test_models_are_listed_with_whether_they_are_here(run: Run) -> None:
    done = run("models")
    assert (done.status, done.err) == (0, "")
    assert done.rows("demo")[0][-1] == "here"
    assert done.rows("facescan")[0][3:5] == ["4 x 2.9 B", "23.4 GB"]
    assert done.rows("facescan")[0][-1].startswith("not here")
    assert all(done.rows(name) for name in cards.shipped())
    assert "hf:ID-or-folder takes any checkpoint of these families: " in done.out
    assert all(title in done.out for title in families.titles())


def test_attributes_are_listed_with_their_maps(run: Run) -> None:
    done = run("attributes")
    assert (done.status, done.err) == (0, "")
    assert all(done.rows(name) for name in shipped().attributes)
    assert all(f"\n  {source} -> {target}: " in done.out for source, target in shipped().maps)
    assert "emotion7 -> emotion8: every label as it is\n" in done.out
    assert "age in years -> age5: groups begin at 0, 10, 20, 40, 60\n" in done.out


# Bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "no-such", "--attributes", "gender"], "Unknown dataset 'no-such'. Known: "),
        (["evaluate", "no-such"], "Unknown dataset 'no-such'. Known: "),
        (["predict", JUDGED, "--attributes", "gender", "--model", "demoo"], "Unknown model 'demoo'."),
        (["predict", JUDGED, "--attributes", "gender", "--model", "hf:"], "Got the model 'hf:', expected hf:"),
        (["predict", JUDGED, "--attributes", "gendr"], "Did you mean 'gender'?"),
        (["predict", JUDGED, "--attributes", "race7"], "answers gender, race5, age5, emotion7; got 'race7'."),
        (["predict", JUDGED], "Got no attribute, expected at least one of gender, race5, age5, emotion7."),
        (["predict", JUDGED, "--attributes", " , "], "Got no attribute, expected at least one of"),
        (["predict", JUDGED, "--attributes", "gender", "--view", "fw"], "Unknown saved view 'fw'."),
        (["evaluate", JUDGED, "--view", "fw"], "Did you mean 'few'?"),
        (["predict", JUDGED, "--attributes", "gender", "--prefix", "9x"], "Got the field prefix '9x', expected"),
        (["predict", JUDGED, "--attributes", "gender", "--prefix", ""], "Got the field prefix ''"),
        (["predict", JUDGED, "--attributes", "gender", "--batch-size", "0"], "Got batch_size=0, expected a whole"),
        (["predict", JUDGED, "--attributes", "gender", "--threads", "-1"], "Got threads=-1, expected a whole"),
        (["predict", JUDGED, "--attributes", "gender", "--dtype", "float99"], "Unknown dtype 'float99'."),
        (["predict", JUDGED, "--attributes", "gender", "--prompt", "age5=how?"], "Got prompts for age5, expected only"),
        (["predict", JUDGED, "--images", "{empty}"], "holds no picture. Expected files that end in"),
        (["predict", JUDGED, "--images", "{empty}/no"], "which is not there. Give a folder with pictures."),
        (["demo", "--images", "{empty}"], "holds no picture. Expected files that end in"),
        (["demo", "--images", "{empty}/no"], "which is not there. Give a folder with pictures."),
        (["evaluate", JUDGED, "--prefix", "nope"], "no predictions under the prefix 'nope'. Prefixes with predictions"),
        (["evaluate", JUDGED, "--attributes", "race5"], "Field 'demo_race5' is not there; need Classification."),
        (["evaluate", JUDGED, "--truth", "gender=nofield"], "Ground-truth field 'nofield' is not there"),
        (["evaluate", JUDGED, "--truth", "race5=race"], "Got ground truth for race5, expected only gender, age5."),
        (["evaluate", JUDGED, "--groups", "filepath"], "Group field 'filepath' is not there or no label."),
        (["evaluate", JUDGED, "--eval-key", "no key"], "expected letters, digits and underscores"),
        (["evaluate", JUDGED, "--bins", "side=1,2"], "Got bins for 'side', which holds no numbers."),
        (["evaluate", JUDGED, "--bins", "age=40,20"], "expected rising numbers such as 20, 40, 60."),
        (["report", "no-such"], "Unknown dataset 'no-such'. Known: "),
        (["report", JUDGED, "--eval-key", "nope"], "keeps no figures of the evaluation 'nope'"),
        (["compare", JUDGED, "--prefixes", "demo"], "expected at least two different ones."),
        (["compare", JUDGED, "--prefixes", "demo,nope"], "No attribute has predictions under all of demo, nope."),
        (["attributes", "--attributes-file", "{empty}/no.yaml"], "Cannot read the attribute file"),
        (["evaluate", JUDGED, "--attributes-file", "{empty}/no.yaml"], "Cannot read the attribute file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_two(
    arguments: list[str], said: str, judged: fo.Dataset, tmp_path: Path, run: Run
) -> None:
    done = run(*(argument.replace("{empty}", str(tmp_path)) for argument in arguments))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("facevlm: ")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["evaluat"], "invalid choice: 'evaluat'"),
        (["predict"], "the following arguments are required: dataset"),
        (["predict", "x", "--prompt", "gender"], "argument --prompt: got 'gender', expected NAME=VALUE"),
        (["predict", "x", "--prompt", "gender= "], "argument --prompt: got 'gender= ', expected NAME=VALUE"),
        (["evaluate", "x", "--truth", "=sex"], "argument --truth: got '=sex', expected NAME=VALUE"),
        (["evaluate", "x", "--bins", "age"], "argument --bins: got 'age', expected NAME=VALUE"),
        (["evaluate", "x", "--bins", "age=a,b"], "argument --bins: got 'age=a,b', expected FIELD=NUMBERS such as"),
        (["compare", "x"], "the following arguments are required: --prefixes"),
        (["predict", "x", "--batch-size", "few"], "argument --batch-size: invalid int value: 'few'"),
        (["predict", "x", "--decode", "guess"], "argument --decode: invalid choice: 'guess'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_command_line_is_answered_with_the_usage(arguments: list[str], said: str, run: Run) -> None:
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("usage: facevlm")
    assert said in done.err


def test_a_bad_attribute_file_is_named(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"attributes": {"hat": {"labels": "yes"}}}), encoding="utf-8")
    done = run("attributes", "--attributes-file", str(path))
    assert (done.status, done.out) == (2, "")
    assert "Attribute 'hat': expected 'labels' to be a list" in done.err


def test_a_json_file_that_cannot_be_written_is_bad_input(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    done = run("evaluate", JUDGED, "--json", str(tmp_path / "no" / "figures.json"))
    assert done.status == 2
    assert done.err.startswith("facevlm: ")


def test_a_report_that_cannot_be_written_is_bad_input(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    done = run("report", JUDGED, "--out", str(path))
    assert (done.status, done.out) == (2, "")
    assert "expected a folder" in done.err


@pytest.mark.parametrize("place", ["/nowhere/at/all", "{empty}"])
def test_a_model_that_cannot_be_loaded_is_status_one(place: str, faces: fo.Dataset, tmp_path: Path, run: Run) -> None:
    checkpoint = place.replace("{empty}", str(tmp_path))
    done = run("predict", faces.name, "--attributes", "gender", "--model", f"hf:{checkpoint}", "--prefix", "p")
    assert (done.status, done.out) == (1, "")
    assert f"facevlm: Cannot load model 'hf:{checkpoint}'" in done.err
    assert "Traceback" not in done.err
    faces.reload()
    assert not faces.has_field("p_gender")
    assert faces.list_runs() == []


# Help


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_the_help_of_a_command_names_every_option(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert set(re.findall(r"--[a-z][a-z-]*", done.out)) == OPTIONS[command] | {"--help"}


def test_the_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.status == 0
    assert all(re.search(rf"^    {command}\s", done.out, re.MULTILINE) for command in OPTIONS)
    assert run("--version").out == f"facevlm {facevlm.__version__}\n"
