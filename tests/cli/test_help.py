"""The help of every command names its options."""

from __future__ import annotations

import re

import pytest

import facevlm
from tests.cli.running import Run

LOADING = {
    "--device",
    "--devices",
    "--dtype",
    "--revision",
    "--adapter",
    "--merge-adapter",
    "--no-merge-adapter",
    "--quantize",
    "--attention",
    "--compile",
    "--memory-gb",
    "--trust-remote-code",
    "--decode",
    "--decision",
}
QUESTION = {"--images", "--prune", "--view", "--model", "--attributes", "--attributes-file", "--prompt"}
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
    "demo": {"--images", "--prune"},
    "apply": QUESTION
    | MODEL
    | RUNNING
    | AGREEING
    | {"--prefix", "--overwrite", "--faces", "--detect", "--face-labels", "--min-confidence"}
    | {"--min-face-px", "--margin", "--align", "--json"},
    "detect": {
        "--images",
        "--prune",
        "--view",
        "--field",
        "--detector",
        "--weights",
        "--min-confidence",
        "--min-face-px",
    }
    | {"--max-faces", "--tiles", "--quality", "--overwrite", "--faces", "--json"},
    "describe": (QUESTION | REMOTE | AGREEING) - {"--prompt"}
    | {"--free", "--ask", "--who", "--faces", "--mark", "--prefix", "--overwrite", "--json"},
    "ask": MODEL
    | RUNNING
    | AGREEING
    | {
        "--images",
        "--json",
        "--prune",
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
        "--full",
        "--truth",
        "--groups",
        "--adjust",
        "--sets",
        "--cluster",
        "--bins",
        "--faces",
        "--pairs",
        "--eval-key",
        "--draws",
        "--runs",
        "--json",
    },
    "review": {
        "--view",
        "--attribute",
        "--prefix",
        "--field",
        "--agree",
        "--faces",
        "--runs",
        "--by",
        "--yes",
        "--json",
    }
    | {"--attributes-file", "--approve", "--queue", "--decide", "--decisions", "--undo", "--overwrite"}
    | {"--order", "--label", "--groups", "--half-width", "--seed", "--limit"},
    "report": {"--prefix", "--eval-key", "--out", "--pictures"},
    "compare": {
        "--view",
        "--prefixes",
        "--attributes",
        "--attributes-file",
        "--truth",
        "--groups",
        "--cluster",
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
    "power": {"--groups", "--base-rate", "--n", "--alpha", "--power", "--json"},
    "train": {"--view", "--base", "--attributes", "--attributes-file", "--out", "--truth", "--faces", "--margin"}
    | {"--groups", "--method", "--dry-run", "--recipe", "--epochs", "--batch", "--accumulate", "--learning-rate"}
    | {"--label-smoothing", "--rank", "--alpha", "--patience", "--objective", "--class-weights", "--no-augment"}
    | {"--prompt", "--merge", "--seed", "--validation", "--test", "--split", "--subject", "--balance", "--device"}
    | {
        "--revision",
        "--trust-remote-code",
        "--mixed-precision",
        "--checkpointing",
        "--save-steps",
        "--workers",
        "--json",
    },
    "paper": MODEL
    | RUNNING
    | AGREEING
    | {"--dataset", "--view", "--model", "--tables", "--truth", "--prefix", "--json"},
    "load": {"--list", "--split", "--name", "--limit", "--overwrite", "--option", "--check", "--json"}
    | {"--from", "--view", "--people", "--pictures", "--seed", "--height", "--remove-background"},
    "models": {"--json"},
    "attributes": {"--attributes-file", "--json"},
    "truth": {"--view", "--path-column", "--map", "--overwrite", "--json"},
    "plugin": {"--replace", "--json"},
    "cache": {"--model", "--json"},
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
