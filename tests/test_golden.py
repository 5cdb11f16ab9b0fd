"""The demo's evaluation and report as files, in which any change shows; --update-golden writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest

import facevlm
from facevlm import reports
from facevlm.reports import markdown
from facevlm.reports import text as report
from facevlm.store import reporting
from facevlm.tasks import sources as sources_task
from facevlm.tasks.evaluate import EvaluationResult

GOLDEN = Path(__file__).parent / "golden"
ATTRIBUTES = ["gender", "age5", "race5", "emotion7"]
NAME = "test-golden"
PASSING = re.compile(r"^\| (versions|device|date|seconds|faces asked)\b.*\n", re.MULTILINE)
"""Lines of the report that differ from run to run."""


@pytest.fixture(scope="module")
def result() -> Iterator[EvaluationResult]:
    dataset = sources_task.sample_faces(NAME)
    facevlm.apply(dataset, "demo", ATTRIBUTES, progress=False)
    yield facevlm.evaluate(dataset, ATTRIBUTES)
    fo.delete_dataset(NAME)


def check(name: str, text: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_demos_evaluation_is_as_it_was(result: EvaluationResult, request: pytest.FixtureRequest) -> None:
    check("demo_evaluation.txt", report.text(result.evaluations), request)


def test_the_demos_report_is_as_it_was(result: EvaluationResult, request: pytest.FixtureRequest) -> None:
    text = markdown.render(reports.build(reporting.read(fo.load_dataset(NAME))))
    check("report.md", PASSING.sub("", text), request)


def test_in_a_session_a_result_is_one_line(result: EvaluationResult) -> None:
    said = repr(result)
    assert said.startswith("<EvaluationResult demo_eval: accuracy gender ")
    assert f"{result['emotion7'].overall.accuracy:.1%} of 96>" in said
    assert "\n" not in said
