"""No function is lost: what there was before the code moved into rooms is there now, or stands in the list of renames.

``golden/public_0.json`` was written then: names of the library with their parameters, commands with their flags,
operators, panels, and the parameters of forms.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import facevlm
from facevlm import cli
from facevlm.backends import Options, Remote
from facevlm.backends.options import described

ROOT = Path(__file__).resolve().parents[1]
BEFORE: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "public_0.json").read_text())
RENAMED = {
    "batching.cancel": "batch.cancel",
    "batching.collect": "batch.collect",
    "batching.overview": "batch.overview",
    "batching.prefixes": "batch.prefixes",
    "batching.status": "batch.status",
    "batching.submit": "batch.submit",
}
"""Names of the library; the command ``predict`` is an alias of ``apply``."""


@pytest.mark.parametrize("name", sorted(BEFORE["python"]))
def test_a_name_of_the_library_is_there_with_its_parameters(name: str) -> None:
    value: Any = facevlm
    for part in RENAMED.get(name, name).split("."):
        value = getattr(value, part)
    if inspect.isfunction(value):
        assert set(BEFORE["python"][name]) <= set(inspect.signature(value).parameters)


def test_renamed_names_are_new_and_old_modules_are_found() -> None:
    assert set(RENAMED) <= set(BEFORE["python"])
    assert not set(RENAMED.values()) & set(BEFORE["python"])
    assert facevlm.__getattr__("batching") is facevlm.batch


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    steps = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not steps:
        yield name, {flag for action in parser._actions for flag in action.option_strings}
    for step, below in steps[0].choices.items() if steps else ():
        yield from commands(below, f"{name} {step}".strip())


def test_every_command_and_flag_is_there() -> None:
    now = dict(commands(cli.parser()))
    assert set(BEFORE["commands"]) <= set(now)
    lost = {name: sorted(set(flags) - now[name]) for name, flags in BEFORE["commands"].items()}
    assert {name: flags for name, flags in lost.items() if flags} == {}


def test_the_words_of_a_verb_are_one_in_python_and_on_the_command_line() -> None:
    verbs = {"apply", "ask", "check", "compare", "describe", "detect", "evaluate", "probe", "report"}
    verbs |= {"power", "review", "sensitivity", "train", "truth"}
    assert verbs <= set(dict(commands(cli.parser())))
    assert all(inspect.isfunction(getattr(facevlm, verb)) for verb in verbs)
    rooms = {path.stem for path in (ROOT / "facevlm" / "tasks").glob("[a-z]*.py")}
    assert verbs | {"load", "paper", "plugin", "sources", "look", "outlook", "try_one"} == rooms


def test_every_operator_panel_and_parameter_of_a_form_is_there() -> None:
    listed = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    assert set(BEFORE["operators"]["names"]) <= {*listed["operators"], *listed["panels"]}
    table = {row.name for kind in (Options, Remote) for row in described(kind)}
    texts = {text for path in (ROOT / "operators").rglob("*.py") for text in _texts(path)}
    assert set(BEFORE["operators"]["parameters"]) <= texts | table


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
