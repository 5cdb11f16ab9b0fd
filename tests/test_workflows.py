"""CI, release and hooks name only what is there: make targets, tools of the checkout, one size of what is too large."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import ROOT, pyproject

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
MAKE = re.compile(r"^\s*(?:step )?(?:\w+=\S* )*make ([a-z-]+)", re.MULTILINE)
"""``step`` is .ci/run's own function, which tells how long a command took."""


def plain(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(path: Path) -> list[str]:
    """What the steps of all jobs run, in order."""
    return [step["run"] for job in plain(path)["jobs"].values() for step in job["steps"] if "run" in step]


def made(text: str) -> list[str]:
    """The make targets that a text calls."""
    return MAKE.findall(text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_make_targets_that_exist(path: Path) -> None:
    called = [target for command in commands(path) for target in made(command)]
    assert called
    assert set(called) <= TARGETS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_ends(path: Path) -> None:
    workflow = plain(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_both_ways_of_continuous_integration_run_the_same() -> None:
    here = set(made((ROOT / ".ci" / "run").read_text(encoding="utf-8")))
    there = {target for command in commands(ROOT / ".github" / "workflows" / "ci.yml") for target in made(command)}
    assert here <= TARGETS
    assert (here - {"install-dev"}) | {"build"} == there


def test_every_supported_python_is_tested() -> None:
    supported = pyproject()["project"]["requires-python"]
    matrix = plain(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    first, last = (int(part.split(".")[1]) for part in (matrix[0], matrix[-1]))
    assert supported == f">=3.{first},<3.{last + 1}"
    assert matrix == [f"3.{minor}" for minor in range(first, last + 1)]


def test_the_hooks_call_what_the_checkout_has() -> None:
    [repo] = plain(ROOT / ".pre-commit-config.yaml")["repos"]
    entries = {hook["id"]: hook["entry"] for hook in repo["hooks"]}
    assert entries["check"] == "make check"
    check = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    assert all(f"$(BIN)/ruff {word}" in check for word in ("check", "format"))
    assert entries["ruff-check"].startswith(".venv/bin/ruff check")
    assert entries["ruff-format"].startswith(".venv/bin/ruff format")


def test_forms_for_issues_are_forms() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = plain(path)
        assert {"name", "description", "body"} <= form.keys()
        assert all(part["type"] in ("markdown", "textarea", "input", "checkboxes") for part in form["body"])
