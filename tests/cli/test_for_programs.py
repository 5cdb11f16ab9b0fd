"""The command line for programs and logs: figures as JSON, no bars, short errors in the words of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.attributes import shipped
from facevlm.backends import cards
from tests.cli.running import COUNT, JUDGED, Run

COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "power": (["power", "0.05", "--groups", "2", "--base-rate", "0.85"], []),
    "evaluate": (["evaluate", JUDGED, "--attributes", "gender", "--draws", "20"], ["eval_key", "evaluations"]),
    "apply": (["apply", JUDGED, "--attributes", "gender", "--overwrite"], ["asked", "fields", "outcomes", "warnings"]),
    "detect": (["detect", JUDGED, "--detector", "haar"], ["asked", "faces", "outcomes"]),
    "check": (["check", JUDGED], []),
    "load": (["load", "--list"], ["fairface", "utkface"]),
    "models": (["models"], ["models", "models behind an API"]),
    "model": (["models", "demo"], ["model", "licence"]),
    "attributes": (["attributes"], ["gender"]),
    "cache": (["cache", "info"], ["path", "bytes", "replies"]),
    "plugin": (["plugin", "status"], ["installed", "places"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_figures_go_to_standard_output_alone(name: str, judged: fo.Dataset, run: Run, tmp_path: Path) -> None:
    words, keys = COMMANDS[name]
    done = run(*words, "--json", "-")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert set(keys) <= set(told)
    assert done.err, "what people read is said beside it"
    assert run(*words, "--json", str(tmp_path / "told.json")).status == 0
    assert set(json.loads((tmp_path / "told.json").read_text())) == set(told)


def test_lists_hold_what_is_there(run: Run) -> None:
    assert set(json.loads(run("models", "--json", "-").out)["models"]) == set(cards.shipped())
    assert set(json.loads(run("attributes", "--json", "-").out)) == set(shipped().attributes)


def test_counts_of_a_run_are_those_that_are_printed(judged: fo.Dataset, run: Run) -> None:
    told = json.loads(run("apply", JUDGED, "--attributes", "gender", "--overwrite", "--json", "-").out)
    assert (told["asked"], told["outcomes"]) == (COUNT, {"gender": {"ok": COUNT}})


def test_there_are_no_bars_without_a_terminal(judged: fo.Dataset, run: Run) -> None:
    done = run("apply", JUDGED, "--attributes", "gender", "--overwrite")
    assert "%|" not in done.err
    assert "\r" not in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apply", JUDGED, "--attributes", "gender", "--batch-size", "0"], "--batch-size 0"),
        (["evaluate", JUDGED, "--draws", "0"], "--draws 0"),
        (["evaluate", JUDGED, "--eval-key", "no key"], "--eval-key "),
        (["detect", JUDGED, "--min-confidence", "7"], "--min-confidence 7"),
        (["sensitivity", JUDGED, "--attributes", "gender", "--orders", "-1"], "--orders -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_as_it_was_given(words: list[str], said: str, judged: fo.Dataset, run: Run) -> None:
    done = run(*words)
    assert done.status == 2
    assert said in done.err
    assert len(done.err.splitlines()) <= 3


def test_the_help_tells_the_exit_status(run: Run) -> None:
    told = " ".join(run("--help").out.split())
    assert "Exit status: 0; 1 for a failure" in told
    assert "2 for bad input" in told
