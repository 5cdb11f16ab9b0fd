"""Bad input to every command: one line, and an exit status that says whose fault it was."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import pytest
import yaml

from tests.cli.running import JUDGED, Run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["apply", "no-such", "--attributes", "gender"], "Unknown dataset 'no-such'. Known: "),
        (["evaluate", "no-such"], "Unknown dataset 'no-such'. Known: "),
        (["apply", JUDGED, "--attributes", "gender", "--model", "demoo"], "Unknown model 'demoo'."),
        (["apply", JUDGED, "--attributes", "gender", "--model", "hf:"], "Got the model 'hf:', expected hf:"),
        (["apply", JUDGED, "--attributes", "gendr"], "Did you mean 'gender'?"),
        (["apply", JUDGED, "--attributes", "race7"], "answers gender, race5, age5, emotion7; got 'race7'."),
        (["apply", JUDGED], "Got no attribute, expected at least one of gender, race5, age5, emotion7."),
        (["apply", JUDGED, "--attributes", " , "], "Got no attribute, expected at least one of"),
        (["apply", JUDGED, "--attributes", "gender", "--view", "fw"], "Unknown saved view 'fw'."),
        (["evaluate", JUDGED, "--view", "fw"], "Did you mean 'few'?"),
        (["apply", JUDGED, "--attributes", "gender", "--prefix", "9x"], "Got the field prefix '9x', expected"),
        (["apply", JUDGED, "--attributes", "gender", "--prefix", ""], "Got the field prefix ''"),
        (["apply", JUDGED, "--attributes", "gender", "--batch-size", "0"], "Got --batch-size 0, expected a whole"),
        (["apply", JUDGED, "--attributes", "gender", "--threads", "-1"], "Got --threads -1, expected a whole"),
        (["apply", JUDGED, "--attributes", "gender", "--prompt", "age5=how?"], "Got prompts for age5, expected only"),
        (["apply", JUDGED, "--images", "{empty}"], "holds no picture. Expected files that end in"),
        (["apply", JUDGED, "--images", "{empty}/no"], "which is not there. Give a folder with pictures."),
        (["demo", "--images", "{empty}"], "holds no picture. Expected files that end in"),
        (["demo", "--images", "{empty}/no"], "which is not there. Give a folder with pictures."),
        (["evaluate", JUDGED, "--prefix", "nope"], "no predictions under the prefix 'nope'. Prefixes with predictions"),
        (["evaluate", JUDGED, "--prefix", "nope", "--truth", "gender=gender"], "no predictions under the prefix"),
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
        (["sensitivity", "no-such", "--attributes", "gender"], "Unknown dataset 'no-such'. Known: "),
        (["sensitivity", JUDGED], "Got no attribute, expected at least one of"),
        (["sensitivity", JUDGED, "--attributes", "gender", "--paraphrase", "age5=old?"], "Got paraphrases for age5"),
        (["sensitivity", JUDGED, "--attributes", "gender", "--orders", "0"], "Got --orders 0, expected a whole number"),
        (["sensitivity", JUDGED, "--attributes", "gender", "--json", "{empty}"], "Cannot write figures to"),
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
        (["apply"], "the following arguments are required: dataset"),
        (["apply", "x", "--prompt", "gender"], "argument --prompt: got 'gender', expected NAME=VALUE"),
        (["apply", "x", "--prompt", "gender= "], "argument --prompt: got 'gender= ', expected NAME=VALUE"),
        (["evaluate", "x", "--truth", "=sex"], "argument --truth: got '=sex', expected NAME=VALUE"),
        (["evaluate", "x", "--bins", "age"], "argument --bins: got 'age', expected NAME=VALUE"),
        (["evaluate", "x", "--bins", "age=a,b"], "argument --bins: got 'age=a,b', expected FIELD=NUMBERS such as"),
        (["compare", "x"], "the following arguments are required: --prefixes"),
        (["apply", "x", "--batch-size", "few"], "argument --batch-size: invalid int value: 'few'"),
        (["apply", "x", "--decode", "guess"], "argument --decode: invalid choice: 'guess'"),
        (["apply", "x", "--dtype", "float99"], "argument --dtype: invalid choice: 'float99'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_command_line_is_answered_in_two_lines(arguments: list[str], said: str, run: Run) -> None:
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("facevlm")
    assert said in done.err
    assert done.err.splitlines()[1].startswith("See: facevlm")
    assert len(done.err.splitlines()) == 2


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


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{empty}/pipe", "nobody reads from this named pipe. They are printed above."),
        ("/dev/full", "No space left on device. They are printed above."),
    ],
)
def test_figures_that_cannot_be_written_are_printed_all_the_same(
    place: str, said: str, tmp_path: Path, run: Run
) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = place.replace("{empty}", str(tmp_path))
    done = run("power", "--groups", "2", "--base-rate", "0.9", "--n", "60", "--json", path)
    assert (done.status, done.err) == (2, f"facevlm: Cannot write figures to '{path}': {said}\n")
    assert "60 faces" in done.out


def test_figures_go_into_a_pipe_that_somebody_reads(tmp_path: Path, run: Run) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    keeps = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    done = run("power", "--groups", "2", "--base-rate", "0.9", "--n", "60", "--json", str(pipe))
    os.close(keeps)
    reader.join(30)
    assert done.status == 0, done.err
    assert json.loads(read[0])["groups"] == 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "it is a named pipe, expected a file. Expected a CSV file."),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, expected a file. Expected a CSV file."),
        (lambda path: path.write_text(f"id,decision\n{'a' * 200_000},approve\n"), ":1: not CSV (field larger than"),
        (lambda path: path.write_text("id,decision\nonly one\n"), ":2: too few or too many columns."),
        (lambda path: path.write_text("id,id,decision\n"), "has the column id more than once"),
        (lambda path: path.write_text("id;wanted\n"), "has the columns id, wanted; decision missing."),
    ],
)
def test_a_table_of_decisions_that_cannot_be_read_decides_nothing(
    make: Callable[[Path], object], said: str, judged: fo.Dataset, tmp_path: Path, run: Run
) -> None:
    make(tmp_path / "decisions.csv")
    done = run("review", JUDGED, "--attribute", "gender", "--decisions", str(tmp_path / "decisions.csv"), "--by", "me")
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    judged.reload()
    assert not judged.has_field("gender_reviewed")


def test_a_report_that_cannot_be_written_is_bad_input(judged: fo.Dataset, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    done = run("report", JUDGED, "--out", str(path))
    assert (done.status, done.out) == (2, "")
    assert "expected a folder" in done.err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/nowhere/at/all", "Cannot load model 'hf:/nowhere/at/all'"),
        ("{empty}", "{empty}: there is no config.json. Expected a folder written by save_pretrained"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_status_one(
    place: str, said: str, faces: fo.Dataset, tmp_path: Path, run: Run
) -> None:
    checkpoint = place.replace("{empty}", str(tmp_path))
    done = run("apply", faces.name, "--attributes", "gender", "--model", f"hf:{checkpoint}", "--prefix", "p")
    assert (done.status, done.out) == (1, "")
    assert f"facevlm: {said}".replace("{empty}", str(tmp_path)) in done.err
    assert "Traceback" not in done.err
    faces.reload()
    assert not faces.has_field("p_gender")
    assert faces.list_runs() == []
