"""What closing does to a run that is under way: its prompt, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

from facevlm.store import runs
from tests import chromium
from tests.browser import driving
from tests.servers.server import Act, Request, Server, obedient, running
from tests.waiting import until

pytestmark = chromium.needed
AT_ONCE, SLOW = 32, 30.0
"""Pictures that the server answers without delay, and seconds that it takes for each of the others at first."""


class Slow:
    """Answers some pictures at once, and the others slowly until it is told to hurry."""

    def __init__(self) -> None:
        self._left, self.delay = AT_ONCE, SLOW

    def __call__(self, request: Request) -> Act:
        self._left -= not request.is_probe
        return replace(obedient(request), delay=self.delay if self._left < 0 else 0.5)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def under_way(page: Page, app: str, faces: fo.Dataset, slow: Slow) -> Iterator[Server]:
    """A run that asks about 96 faces, has told its pace, and has stored its first answers."""
    with running(slow) as server:
        driving.open_dataset(page, app, faces)
        form = driving.open_resolved(page, "Apply VLM face attributes", model="demo")
        driving.name_server(page, form, server)
        driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
        button, stop = form.get_by_role("button", name="Execute"), page.get_by_role("button", name="Stop", exact=True)
        driving.repeat(page, lambda: button.click(timeout=driving.STEP), stop.is_visible, "see the run under way")
        driving.shoot(page, "under-way")
        until(lambda: answered(faces) > 0, "the first answers are stored")
        yield server


def answered(dataset: fo.Dataset) -> int:
    dataset.reload()
    return int(dataset.count("m_gender")) if dataset.get_field("m_gender") else 0


def status(dataset: fo.Dataset) -> str | None:
    """That of the run, whose record another process makes."""
    dataset.reload()
    return runs.read(dataset, runs.run_key("m")).get("status")


def test_a_run_goes_on_while_the_user_works_on_and_tells_its_end(
    page: Page, faces: fo.Dataset, under_way: Server, slow: Slow
) -> None:
    driving.press(page, "Work on meanwhile", "Press Done, and work on")
    driving.shoot(page, "work-on-meanwhile")
    driving.finish(page)
    slow.delay = 1.0
    told, n = page.locator("[data-cy=operators-prompt-view-modal]"), len(under_way.asked)
    assert n < 96
    until(lambda: len(under_way.asked) > n, "the run goes on")
    expect(told).to_have_count(0)
    page.get_by_text("96 faces asked").first.wait_for()
    driving.shoot(page, "end-told")
    assert answered(faces) == 96


def test_a_run_is_stopped_by_its_button(page: Page, faces: fo.Dataset, under_way: Server) -> None:
    driving.press(page, "Stop", "Run it again to go on with the rest")
    driving.shoot(page, "stopped")
    assert 0 < answered(faces) < 96
    assert status(faces) == "stopped"


def test_a_run_whose_page_is_loaded_anew_stops_and_is_gone_on_with(
    page: Page, faces: fo.Dataset, under_way: Server
) -> None:
    page.reload()
    until(lambda: status(faces) == "stopped", "the run has stopped")
    n = answered(faces)
    assert 0 < n < 96
    assert len(under_way.asked) < 96
