"""A model behind an API through the App's form in a real browser: server, warning, cost, run."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

from tests.browser import test_app as shared
from tests.remote.server import running

app, page, faces, pytestmark = shared.app, shared.page, shared.faces, shared.pytestmark


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path))


def test_a_model_behind_an_api_from_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    with running() as server:
        shared.open_dataset(page, app, faces)
        form = shared.open_operator(page, "Apply VLM face attributes")
        form.get_by_role("combobox").first.click()
        page.get_by_role("option", name="Another model behind an API").click()
        # The App breaks off where a field changes while the form is still being resolved for the last change.
        expect(form).to_contain_text("As the server names it", timeout=shared.PATIENCE)
        page.wait_for_timeout(1000)
        form.get_by_role("textbox").first.fill("m")
        expect(form).to_contain_text("Server", timeout=shared.PATIENCE)
        page.wait_for_timeout(1000)
        form.get_by_role("textbox").nth(1).fill(server.base_url)
        expect(form).not_to_contain_text("No key for", timeout=shared.PATIENCE)
        page.wait_for_timeout(1000)
        shared.tick(form, "Perceived gender")
        expect(form).to_contain_text(f"96 pictures of faces go to 127.0.0.1:{server.port}", timeout=shared.PATIENCE)
        expect(form).to_contain_text("at no price")
        form.get_by_text("96 pictures of faces go to").scroll_into_view_if_needed()
        shared.shoot(page, "remote-form")
        form.get_by_role("button", name="Execute").click()
        page.get_by_text("96 faces asked").wait_for()
        shared.shoot(page, "remote-result")
        shared.finish(page)
        assert len(server.asked) == 96
    faces.reload()
    assert faces.count_values("m_gender.outcome") == {"ok": 96}
