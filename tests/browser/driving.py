"""Driving the App in a real browser: opening datasets and forms, filling these in, keeping pictures of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
from playwright.sync_api import Error, Locator, Page, Response, TimeoutError, expect

from facevlm.backends import Remote
from tests.chromium import SHOTS
from tests.servers.server import Server

PATIENCE = 90_000
"""Milliseconds."""
HOVERS = 9
TRIES = 6


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png")


def open_dataset(page: Page, app: str, dataset: fo.Dataset) -> None:
    for patience in (20_000, 40_000, PATIENCE):
        page.goto(f"{app}/datasets/{dataset.name}")
        try:
            page.wait_for_selector("[data-cy=looker]", timeout=patience)
            break
        except TimeoutError:
            assert patience < PATIENCE, "the grid did not appear"
    page.keyboard.press("Escape")


def open_picture(page: Page) -> Locator:
    """The first picture of the grid in the modal; a click on a grid that is still being drawn is lost."""
    modal = page.locator("[data-cy=modal-looker-container]").first
    for left in reversed(range(TRIES)):
        page.locator("[data-cy=looker]").first.click(force=True, position={"x": 60, "y": 60})
        try:
            modal.wait_for(timeout=PATIENCE / TRIES)
            break
        except TimeoutError:
            assert left, "the picture was not opened"
    return modal


def open_operator(page: Page, label: str) -> Locator:
    """Through the operator browser; returns the form."""
    page.keyboard.press("Backquote")
    page.fill("[data-cy=operators-browser-search]", label)
    page.keyboard.press("Enter")
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.wait_for()
    return form


def tick(form: Locator, title: str) -> None:
    """Tick a box; a click may meet it while the form is drawn anew, so it is clicked until it is ticked."""
    box = form.get_by_label(title, exact=False).first
    for left in reversed(range(TRIES)):
        try:
            box.check(force=True, timeout=PATIENCE / TRIES)
            break
        except Error:
            assert left, f"'{title}' was not ticked"


def finish(page: Page) -> None:
    page.get_by_role("button", name="Done").click()


def open_resolved(page: Page, label: str, **defaults: Any) -> Locator:
    """As :func:`open_operator`, after the form is resolved with these defaults."""
    with resolved(page, **defaults):
        form = open_operator(page, label)
    return form


@contextmanager
def resolved(page: Page, **params: Any) -> Iterator[None]:
    """Wait until the form is resolved for these values, of fields that are filled in and of defaults that follow.

    The App breaks off where a field changes while the form is still being resolved for the last change.
    """
    with page.expect_response(lambda response: _resolves(response, params)):
        yield


def _resolves(response: Response, params: Mapping[str, Any]) -> bool:
    if not response.url.endswith("/operators/resolve-type"):
        return False
    sent = (response.request.post_data_json or {}).get("params", {})
    return all(sent.get(name) == value for name, value in params.items())


def field(form: Locator, label: str) -> Locator:
    """The text box under a label or its description."""
    return form.locator(f"xpath=.//p[normalize-space()={label!r}]/following::input[1]")


def choose(page: Page, form: Locator, label: str, option: str) -> None:
    """Of the dropdown under a label."""
    form.locator(f"xpath=.//p[normalize-space()={label!r}]/following::*[@role='combobox'][1]").click()
    page.get_by_role("option", name=option).click()


def name_server(page: Page, form: Locator, server: Server) -> None:
    """Choose a model of the server, which is local and takes no key."""
    with resolved(page, model="api"):
        choose(page, form, "Model", "Another model behind an API")
    with resolved(page, api_model="m", concurrency=Remote().concurrency):
        field(form, "As the server names it").fill("m")
    with resolved(page, base_url=server.base_url):
        field(form, "base_url; empty: that of the model's own service").fill(server.base_url)
    expect(form).not_to_contain_text("No key for", timeout=PATIENCE)


def shows(page: Page, n: int, what: str = "sample") -> None:
    """Wait until the grid holds just so many."""
    entries = page.locator("[data-cy=entry-counts]").first
    expect(entries).to_have_text(re.compile(rf"^{n} {what}s?\s*$"), timeout=PATIENCE)


def hover(page: Page, sample: fo.Sample, box: list[float], said: str) -> None:
    """Keep moving the pointer onto a box until its label is shown: the picture may not be painted yet.

    The modal shows the picture in the middle and as large as there is room.
    """
    sample.compute_metadata()
    canvas = page.locator("[data-cy=modal-looker-container] canvas").first
    for left in reversed(range(HOVERS)):
        room = canvas.bounding_box()
        assert room is not None
        scale = min(room["width"] / sample.metadata.width, room["height"] / sample.metadata.height)
        size = (sample.metadata.width * scale, sample.metadata.height * scale)
        x, y = room["x"] + (room["width"] - size[0]) / 2, room["y"] + (room["height"] - size[1]) / 2
        page.mouse.move(room["x"] + room["width"] / 2, room["y"] + room["height"] / 2)
        page.mouse.move(x + size[0] * (box[0] + box[2] / 2), y + size[1] * (box[1] + box[3] / 2), steps=4)
        try:
            page.get_by_text(said, exact=True).first.wait_for(timeout=PATIENCE / HOVERS)
            break
        except TimeoutError:
            assert left, f"'{said}' was not shown"
