"""Filters of the sidebar, which the App drops when a dataset that is loaded anew has arrived, and gets back."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

AFTER = 12
URI = "@facevlm/face-attributes/keep_sidebar_filters"
WOMEN = {"gender.label": {"values": ["Female"], "exclude": False, "isMatching": True}}
MEN = {"gender.label": {"values": ["Male"], "exclude": False, "isMatching": True}}


def told(dataset: fo.Dataset, held: dict[str, Any], left: int) -> list[tuple[str, Any]]:
    """What the App is to do next, where its sidebar holds these filters."""
    request = {"dataset_name": dataset.name, "params": {"filters": WOMEN, "left": left}, "filters": held}
    executor = Executor()
    foo.get_operator(URI).execute(ExecutionContext(request, operator_uri=URI, executor=executor))
    return [(one["operator_uri"], one["params"]) for one in executor.to_json()["requests"]]


@pytest.fixture
def dataset(dataset_name: str) -> fo.Dataset:
    return fo.Dataset(dataset_name)


def test_filters_that_are_gone_come_back(dataset: fo.Dataset) -> None:
    assert told(dataset, {}, 0) == [("set_filters", WOMEN)]


def test_filters_that_came_back_are_looked_after_for_a_while(dataset: fo.Dataset) -> None:
    assert told(dataset, {}, 60) == [("set_filters", WOMEN), (URI, {"filters": WOMEN, "left": AFTER - 1})]


def test_as_long_as_they_are_there_the_app_is_asked_again(dataset: fo.Dataset) -> None:
    assert told(dataset, WOMEN, 3) == [(URI, {"filters": WOMEN, "left": 2})]
    assert told(dataset, WOMEN, 0) == []


def test_filters_that_the_user_has_set_meanwhile_stay(dataset: fo.Dataset) -> None:
    assert told(dataset, MEN, 3) == []
