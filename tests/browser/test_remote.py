"""A model behind an API through the App's form in a real browser: server, where pictures go, cost, run."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import test_app as shared
from tests.remote.server import Server, running

app, page, faces, pytestmark = shared.app, shared.page, shared.faces, shared.pytestmark
TRIES = 4
CALM = 2000
"""Milliseconds. The App breaks off where a field changes while the form is still being resolved for the last change."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path))


def fill_in(page: Page, server: Server) -> Locator:
    """The form with a model of the server and one attribute ticked."""
    form = shared.open_operator(page, "Apply VLM face attributes")
    form.get_by_role("combobox").first.click()
    page.get_by_role("option", name="Another model behind an API").click()
    expect(form).to_contain_text("As the server names it", timeout=20_000)
    page.wait_for_timeout(CALM)
    form.get_by_role("textbox").first.fill("m")
    expect(form).to_contain_text("Server", timeout=20_000)
    page.wait_for_timeout(CALM)
    form.get_by_role("textbox").nth(1).fill(server.base_url)
    page.wait_for_timeout(CALM)
    expect(form).not_to_contain_text("No key for", timeout=20_000)
    shared.tick(form, "Perceived gender")
    expect(form).to_contain_text(f"96 pictures of faces go to 127.0.0.1:{server.port}", timeout=20_000)
    return form


def test_a_model_behind_an_api_from_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    with running() as server:
        for left in reversed(range(TRIES)):
            shared.open_dataset(page, app, faces)
            try:
                form = fill_in(page, server)
                break
            except AssertionError:
                assert left, "the form was not resolved"
        expect(form).to_contain_text("at no price")
        form.get_by_text("96 pictures of faces go to").scroll_into_view_if_needed()
        shared.shoot(page, "remote-form")
        assert server.served == 0
        form.get_by_role("button", name="Execute").click()
        page.get_by_text("96 faces asked").wait_for()
        shared.shoot(page, "remote-result")
        shared.finish(page)
        assert len(server.asked) == 96
    faces.reload()
    assert faces.count_values("m_gender.outcome") == {"ok": 96}
