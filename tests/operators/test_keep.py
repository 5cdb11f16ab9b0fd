"""Filters of the sidebar, which the App drops when a dataset that is loaded anew has arrived, and gets back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

URI = "@facevlm/face-attributes/keep_sidebar_filters"
WOMEN = {"gender.label": {"values": ["Female"], "exclude": False, "isMatching": True}}
MEN = {"gender.label": {"values": ["Male"], "exclude": False, "isMatching": True}}
QUIET = 3.0


def keep() -> ModuleType:
    """The module as the plugin has loaded it."""
    return sys.modules[type(foo.get_operator(URI)).__module__]


class App:
    """A page that holds filters, and a clock; calls what it is told to call when it is asked to."""

    def __init__(self, dataset: fo.Dataset, held: dict[str, Any]) -> None:
        self.dataset, self.held = dataset, held
        self.now = 1_000_000.0
        self.waiting: list[dict[str, Any]] = []

    def context(self, params: dict[str, Any]) -> ExecutionContext:
        request = {"dataset_name": self.dataset.name, "params": params, "filters": self.held}
        return ExecutionContext(request, operator_uri=URI, executor=Executor())

    def loads(self) -> None:
        """Load the dataset anew, which drops the filters."""
        self.dataset._doc.last_loaded_at = datetime.fromtimestamp(self.now, timezone.utc).replace(tzinfo=None)
        self.dataset._doc.save()
        self.held = {}

    def begin(self, earlier: dict[str, Any] | None = None) -> None:
        context = self.context({})
        keep().watch(context, earlier)
        self.take(context)

    def call(self, after: float = 0.0) -> bool:
        """Call what waits, so many seconds later; whether there was something."""
        self.now += after
        if not self.waiting:
            return False
        context = self.context(self.waiting.pop())
        foo.get_operator(URI).execute(context)
        self.take(context)
        return True

    def take(self, context: ExecutionContext) -> None:
        for one in context.executor.to_json()["requests"]:
            if one["operator_uri"] == URI:
                self.waiting.append(one["params"])
            else:
                assert one["operator_uri"] == "set_filters"
                self.held = one["params"]


@pytest.fixture
def app(dataset_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    # As in the App's server, where a dataset is noted as loaded by pages alone.
    monkeypatch.setenv("FIFTYONE_SERVER", "1")
    app = App(fo.Dataset(dataset_name), WOMEN)
    monkeypatch.setattr(keep(), "time", _Clock(app))
    yield app
    keep()._watches.clear()


class _Clock:
    def __init__(self, app: App) -> None:
        self._app = app

    def time(self) -> float:
        return self._app.now

    def sleep(self, seconds: float) -> None:
        self._app.now += seconds


def test_filters_that_a_load_dropped_come_back_as_often_as_it_does(app: App) -> None:
    app.begin()
    for _ in range(30):
        app.loads()
        assert app.call(0.1)
        assert app.held == WOMEN


def test_they_are_looked_after_until_nothing_was_loaded_for_a_while(app: App) -> None:
    app.begin()
    app.loads()
    app.call(0.1)
    loaded = app.now
    for _ in range(100):
        if not app.call():
            break
        assert app.held == WOMEN
    assert QUIET < app.now - loaded < 2 * QUIET
    app.held = {}
    assert not app.call()


def test_a_page_that_is_slow_to_call_is_given_as_much_more_time(app: App) -> None:
    app.begin()
    app.call(4)
    app.loads()
    for _ in range(5):
        assert app.call(4)
    app.held = {}
    app.call(1)
    assert app.held == WOMEN


def test_filters_that_the_user_has_set_meanwhile_stay(app: App) -> None:
    app.begin()
    app.held = MEN
    assert app.call()
    assert (app.held, app.call()) == (MEN, False)


def test_filters_that_the_user_drops_later_stay_dropped(app: App) -> None:
    app.begin()
    app.call(0.1)
    app.held = {}
    for _ in range(100):
        if not app.call(0.1):
            break
        app.held = {}
    assert app.held == {}


def test_one_watch_does_for_many_loads(app: App) -> None:
    for _ in range(8):
        app.begin()
    assert len(app.waiting) == 1


def test_a_watch_that_was_broken_off_does_not_keep_the_next_from_beginning(app: App) -> None:
    app.begin()
    app.waiting.clear()
    app.now += 60
    app.begin()
    assert len(app.waiting) == 1


def test_without_filters_nothing_is_looked_after_but_earlier_ones_come_back(app: App) -> None:
    app.held = {}
    app.begin()
    assert app.waiting == []
    app.begin(earlier=MEN)
    app.call()
    assert app.held == MEN


def test_a_watch_is_left(app: App) -> None:
    app.begin()
    keep().leave(app.context({}))
    app.held = {}
    assert app.call()
    assert (app.held, app.waiting) == ({}, [])
