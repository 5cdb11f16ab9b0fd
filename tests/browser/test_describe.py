"""People of the group pictures through the App's form in a real browser, and their Detections in the grid."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from playwright.sync_api import Locator, Page, expect

import facevlm
from tests import chromium
from tests.browser import driving
from tests.servers.onlooker import Onlooker
from tests.servers.server import Server, running

pytestmark = chromium.needed


def fill_in(page: Page, server: Server) -> Locator:
    """The form with a model of the server, one attribute and one question in words."""
    form = driving.open_resolved(page, "Describe people in pictures", model="gpt-4o")
    driving.name_server(page, form, server)
    driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
    driving.tick(page, form, "Clothing", free_clothing=True)
    expect(form).to_contain_text(f"8 pictures go to 127.0.0.1:{server.port}")
    return form


def test_people_are_described_from_the_form(page: Page, app: str, groups: fo.Dataset) -> None:
    with running(Onlooker.of(groups, ["gender"])) as server:
        driving.open_dataset(page, app, groups)
        form = fill_in(page, server)
        for k, text in enumerate(("Service", "Whom to ask about", "Answered in a few words", "8 pictures go to")):
            form.get_by_text(text).first.scroll_into_view_if_needed()
            driving.shoot(page, f"describe-form-{k}")
        assert server.served == 0
        driving.execute(page, form, "8 pictures asked")
        driving.shoot(page, "describe-result")
        driving.finish(page)
        assert len(server.asked) == 8
    groups.reload()
    assert groups.count_values("m_people.outcome") == {"ok": 8}
    assert groups.count("m_people.detections.clothing") == 28
    expect(page.get_by_text("m_people", exact=True).first).to_be_visible()
    page.wait_for_selector("[data-cy=looker]")
    driving.shoot(page, "describe-grid")


def test_who_is_nowhere_has_no_frame_but_a_label_in_the_corner(page: Page, app: str, groups: fo.Dataset) -> None:
    onlooker = Onlooker.of(groups, ["gender"])
    lost = {"number": None, "clothing": "an old hat"}
    onlooker.spoil = lambda people: [*people, lost]
    with running(onlooker) as server:
        asked: dict[str, Any] = {"free": ["clothing"], "faces": "faces", "mark": "numbers", "base_url": server.base_url}
        facevlm.describe(groups.limit(1), "openai:m", prefix="m", progress=False, **asked)
    driving.open_dataset(page, app, groups)
    driving.open_picture(page)
    sample = groups.first()
    assert sample.m_people.detections[-1].bounding_box == [0, 0, 0, 0]
    driving.hover(page, sample, sample.m_people.detections[-1].bounding_box, "an old hat")
    page.get_by_text("meets none of the").first.wait_for()
    driving.shoot(page, "describe-nowhere")
