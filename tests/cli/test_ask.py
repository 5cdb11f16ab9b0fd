"""facevlm ask: the plan, the picks, and a saved view of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import fiftyone as fo
import pytest

from facevlm.tasks import sources as sources_task
from tests.cli.running import Run

NAME = "test-cli-ask"


@pytest.fixture
def groups() -> Iterator[fo.Dataset]:
    dataset = sources_task.sample_groups(NAME)
    yield dataset
    dataset.delete()


def test_ask_says_its_plan_then_does_it(groups: fo.Dataset, run: Run) -> None:
    tried = run("ask", NAME, "gender of the leftmost face", "--dry-run")
    assert (tried.status, tried.out) == (0, "")
    assert tried.err.splitlines()[:2] == [
        "Asked: Perceived gender (gender).",
        "In each picture only the leftmost of these.",
    ]
    assert groups.get_field("demo_gender") is None
    done = run("ask", NAME, "gender of the leftmost face", "--yes", "--save-view", "left")
    assert (done.status, done.err.startswith(tried.err.strip())) == (0, True)
    assert done.rows("gender") == [["gender", "demo_gender", "8", "0", "0", "0", "0", *done.rows("gender")[0][7:]]]
    assert done.out.endswith("8 faces picked.\n")
    groups.reload()
    assert groups.load_saved_view("left").count("faces.detections") == 8
    again = run("ask", NAME, "gender of the leftmost face", "--yes", "--save-view", "left")
    assert again.status == 0
    groups.save_view("left", groups.limit(1), description="mine", overwrite=True)
    refused = run("ask", NAME, "gender of the leftmost face", "--yes", "--save-view", "left")
    assert refused.status != 0
    assert "A view 'left' is saved already and is not facevlm's, expected another name" in refused.err
    groups.reload()
    assert len(groups.load_saved_view("left")) == 1
    nobody = run("ask", NAME, "the sad child", "--yes", "--save-view", "sad")
    assert nobody.out.splitlines() == ["0 faces picked.", "No view 'sad' is saved, since nobody is picked."]


def test_what_was_picked_is_told_to_programs(groups: fo.Dataset, run: Run) -> None:
    told = json.loads(run("ask", NAME, "gender of the leftmost face", "--yes", "--json", "-").out)
    assert (told["plan"]["place"], told["plan"]["attributes"]) == ({"by": "x", "which": 1}, ["gender"])
    assert (len(told["faces"]), told["considered"] >= 8, told["applied"]["asked"]) == (8, True, 8)
    tried = json.loads(run("ask", NAME, "gender of the leftmost face", "--dry-run", "--json", "-").out)
    assert (tried["agreed"], tried["applied"]) == (False, None)


def test_a_view_that_somebody_saved_is_not_replaced(groups: fo.Dataset, run: Run) -> None:
    groups.save_view("mine", groups.limit(1))
    refused = run("ask", NAME, "gender of the leftmost face", "--yes", "--save-view", "mine")
    assert refused.status == 2
    assert "A view 'mine' is saved already and is not facevlm's" in refused.err
    groups.reload()
    assert groups.get_field("demo_gender") is None
    assert len(groups.load_saved_view("mine")) == 1
    assert [run("ask", NAME, "the leftmost face", "--yes", "--save-view", "left").status for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("who is this", "never answered"),
        ("weight of all", "none of the attributes that can be asked"),
        ("", "in words"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(groups: fo.Dataset, run: Run, request_: str, said: str) -> None:
    done = run("ask", NAME, request_)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("facevlm: ")
    assert said in done.err
    assert "Traceback" not in done.err
