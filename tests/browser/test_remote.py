"""A model behind an API through the App's form in a real browser: server, where pictures go, cost, run."""

from __future__ import annotations

import fiftyone as fo
from playwright.sync_api import Page, expect

from tests import chromium
from tests.browser import driving
from tests.servers.server import running

pytestmark = chromium.needed


def test_a_model_behind_an_api_from_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    with running() as server:
        driving.open_dataset(page, app, faces)
        form = driving.open_resolved(page, "Apply VLM face attributes", model="demo")
        driving.name_server(page, form, server)
        driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
        expect(form).to_contain_text(f"96 pictures of faces go to 127.0.0.1:{server.port}")
        expect(form).to_contain_text("at no price")
        form.get_by_text("96 pictures of faces go to").scroll_into_view_if_needed()
        driving.shoot(page, "remote-form")
        assert server.served == 0
        driving.execute(page, form, "96 faces asked")
        driving.shoot(page, "remote-result")
        driving.finish(page)
        assert len(server.asked) == 96
    faces.reload()
    assert faces.count_values("m_gender.outcome") == {"ok": 96}
