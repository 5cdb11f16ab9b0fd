"""The page for agents names operators and parameters that exist, and every operator."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext

import facevlm
from facevlm.tasks import sources as sources_task
from facevlm.types import OUTCOMES
from tests.operators.test_plugin import NAME, OPERATORS, ROOT

PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = [
    (name, json.loads(block))
    for name, text in SECTIONS.items()
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)
]
MENU = "face_attributes_menu"
UNLISTED = {"hide_face_attribute_run", "keep_sidebar_filters"}
"""What buttons and panels of the App call, and nobody else."""
WORDS = {
    "truth_",
    "first",
    "whole",
    "resume",
    "overwrite",
    "batch",
    "api",
    "csv",
    "folders",
    "plan",
    "briefing",
}
"""Values and beginnings of names that the page explains."""
WAITING = {"collect_face_attribute_batches", "stop_face_attribute_runs"}
"""Their forms ask nothing while there is nothing to collect or to stop."""


@pytest.fixture(scope="module")
def judged() -> Any:
    made = sources_task.sample_faces("test-agents")
    for prefix in ("demo", "other"):
        facevlm.apply(made.limit(8), "demo", ["gender"], prefix=prefix, progress=False)
    facevlm.evaluate(made, prefix="demo", draws=20)
    box = fo.Detection(label="face", bounding_box=[0.1, 0.1, 0.8, 0.8])
    made.set_values("faces", [fo.Detections(detections=[box.copy()]) for _ in range(len(made))])
    yield made
    fo.delete_dataset(made.name)


def fields(name: str, dataset: fo.Dataset, params: dict[str, Any]) -> set[str]:
    uri = f"{NAME}/{name}"
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=uri)
    shape = foo.get_operator(uri).resolve_input(context).to_json()
    return set(shape["type"]["properties"])


def source(name: str) -> str:
    module = type(foo.get_operator(f"{NAME}/{name}")).__module__.rpartition(".")[2]
    return Path(ROOT, "operators", f"{module}.py").read_text(encoding="utf-8")


def test_every_operator_has_a_section_and_an_example() -> None:
    assert set(SECTIONS) == set(OPERATORS) - {MENU} - UNLISTED
    assert all(foo.get_operator(f"{NAME}/{name}").config.unlisted for name in UNLISTED)
    assert {name for name, _ in EXAMPLES} == set(SECTIONS)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+){2,})`", PAGE.partition("## Operators")[0]))
    assert {name for name in named if "face" in name or "wording" in name} <= set(SECTIONS)


@pytest.mark.parametrize(("name", "params"), EXAMPLES, ids=[f"{name}-{k}" for k, (name, _) in enumerate(EXAMPLES)])
def test_parameters_of_the_examples_are_fields_of_the_form(
    judged: fo.Dataset, name: str, params: dict[str, Any]
) -> None:
    if name in WAITING:
        assert all(f'"{one}"' in source(name) for one in params)
    else:
        assert set(params) <= fields(name, judged, params)


def test_parameters_that_the_text_names_exist(judged: fo.Dataset) -> None:
    for name, text in SECTIONS.items():
        examples = [params for told, params in EXAMPLES if told == name]
        if name == "load_face_dataset":
            examples += [{"data": "csv"}, {"data": "folders"}]
        known = set().union(*(fields(name, judged, params) for params in examples), *examples) | WORDS | set(OPERATORS)
        values = {str(value) for params in examples for value in params.values()}
        said = set(re.findall(r"`([a-z]\w*_?)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
        assert said <= known | values, name


def test_all_outcomes_are_explained() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(OUTCOMES)
