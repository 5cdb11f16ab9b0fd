"""The help of every command names its options."""

from __future__ import annotations

import re

import pytest

import facevlm
from tests.cli.running import Run

LOADING = {
    "--device",
    "--dtype",
    "--revision",
    "--quantize",
    "--attention",
    "--compile",
    "--memory-gb",
    "--trust-remote-code",
    "--decode",
}
QUESTION = {"--images", "--view", "--model", "--attributes", "--attributes-file", "--prompt"}
REMOTE = {
    "--base-url",
    "--key-name",
    "--concurrency",
    "--requests-per-minute",
    "--tokens-per-minute",
    "--timeout",
    "--attempts",
    "--max-failures",
    "--budget",
    "--samples",
    "--temperature",
    "--max-tokens",
    "--max-side",
    "--quality",
    "--detail",
    "--template",
    "--wording",
    "--order",
    "--prices",
    "--cache",
    "--no-cache",
}
RUNNING = {"--batch-size", "--threads", "--separate"}
AGREEING = {"--dry-run", "--yes"}
MODEL = LOADING | REMOTE
OPTIONS = {
    "demo": {"--images"},
    "apply": QUESTION
    | MODEL
    | RUNNING
    | AGREEING
    | {"--prefix", "--overwrite", "--faces", "--detect", "--face-labels", "--min-confidence"}
    | {"--min-face-px", "--margin", "--align"},
    "detect": {"--images", "--view", "--field", "--detector", "--weights", "--min-confidence", "--min-face-px"}
    | {"--max-faces", "--tiles", "--quality", "--overwrite", "--faces"},
    "describe": (QUESTION | REMOTE | AGREEING) - {"--prompt"}
    | {"--free", "--ask", "--who", "--faces", "--mark", "--prefix", "--overwrite"},
    "ask": MODEL
    | RUNNING
    | AGREEING
    | {
        "--images",
        "--view",
        "--model",
        "--attributes-file",
        "--faces",
        "--prefix",
        "--grounding",
        "--planner",
        "--save-view",
    },
    "probe": QUESTION | MODEL | AGREEING | {"--faces", "--seed", "--batch-size", "--json"},
    "evaluate": {
        "--view",
        "--prefix",
        "--attributes",
        "--attributes-file",
        "--truth",
        "--groups",
        "--bins",
        "--faces",
        "--pairs",
        "--eval-key",
        "--draws",
        "--json",
    },
    "report": {"--prefix", "--eval-key", "--out", "--pictures"},
    "compare": {
        "--view",
        "--prefixes",
        "--attributes",
        "--attributes-file",
        "--truth",
        "--groups",
        "--faces",
        "--save-views",
        "--json",
    },
    "sensitivity": (QUESTION | MODEL | RUNNING | AGREEING) - {"--prompt"}
    | {"--prefix", "--overwrite", "--paraphrase", "--orders", "--seed", "--groups", "--truth", "--json"},
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
    "paper": MODEL
    | RUNNING
    | AGREEING
    | {"--dataset", "--view", "--model", "--tables", "--truth", "--prefix", "--json"},
    "load": {"--list", "--split", "--name", "--limit", "--overwrite", "--option", "--check"}
    | {"--from", "--view", "--people", "--pictures", "--seed", "--height", "--remove-background"},
    "models": set(),
    "attributes": {"--attributes-file"},
    "cache": {"--model"},
}


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
