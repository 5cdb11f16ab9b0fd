"""The form that says how many faces a gap takes, while it is filled and when it is sent."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest
from fiftyone.operators.executor import ExecutionError

import facevlm
from tests.operators.test_verbs import URI, drawn, errors, execute, form, says

PLAN = URI + "plan_number_of_faces"


@pytest.fixture
def empty(dataset_name: str) -> fo.Dataset:
    return fo.Dataset(dataset_name, persistent=True)


def test_the_form_answers_while_it_is_filled(empty: fo.Dataset) -> None:
    usual = form(PLAN, empty)
    assert errors(usual) == {}
    assert {"gap", "groups", "base_rate"} <= set(usual)
    assert "n" not in usual
    told = facevlm.power(0.05, 2, 0.85)
    assert says(usual["answer"]).startswith(told.told)
    assert f"{told.n[0]:,} faces of each group" in told.told
    larger = says(form(PLAN, empty, gap=0.1, groups=5, base_rate=0.9)["answer"])
    assert larger.startswith(facevlm.power(0.1, 5, 0.9).told)
    assert drawn(PLAN, empty)["view"]["submit_button_label"] == "Answer"


def test_the_gap_that_so_many_faces_find(empty: fo.Dataset) -> None:
    params: dict[str, Any] = {"question": "gap", "groups": 3, "base_rate": 0.85}
    assert "gap" not in form(PLAN, empty, **params)
    answer = says(form(PLAN, empty, **params, n="60, 90, 400")["answer"])
    told = facevlm.power(None, 3, 0.85, n=[60, 90, 400]).told
    assert answer.startswith(told[:1].upper() + told[1:])
    assert f"**{told[:1].upper()}" in execute(PLAN, empty, **params, n="60, 90, 400")
    one = facevlm.power(None, 3, 0.85, n=200).told
    assert one in execute(PLAN, empty, **params, n="200").replace("\\", "")


def test_alpha_and_power_are_behind_a_box(empty: fo.Dataset) -> None:
    assert "alpha" not in form(PLAN, empty)
    asked = form(PLAN, empty, advanced=True, alpha=0.01, power=0.9)
    assert {"alpha", "power"} <= set(asked)
    assert says(asked["answer"]).startswith(facevlm.power(0.05, 2, 0.85, alpha=0.01, power=0.9).told)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"gap": 5.0}, "Got gap=5.0, expected a share above 0"),
    ({"gap": 0.0001}, "would not show"),
    ({"groups": 1}, "Got groups=1"),
    ({"base_rate": 85}, "such as 0.85 for 85 %"),
    ({"alpha": 0.9}, "Got alpha=0.9"),
    ({"question": "gap", "n": "10"}, "Got n=10"),
    ({"question": "gap", "n": "few"}, "Got 'few' faces of each group"),
    ({"question": "gap", "n": "60, 90", "groups": 3}, "Got n for 2 groups, expected it for 3"),
]


@pytest.mark.parametrize(("params", "said"), WRONG, ids=[str(params) for params, _ in WRONG])
def test_what_cannot_be_is_said_in_the_form_and_by_the_run(
    empty: fo.Dataset, params: dict[str, Any], said: str
) -> None:
    asked = form(PLAN, empty, **params)
    assert said in errors(asked)["answered"].replace("\\", "")
    assert "answer" not in asked
    with pytest.raises(ExecutionError, match=said.split("(")[0].replace(".", r"\.")):
        execute(PLAN, empty, **params)
