"""People of the group pictures through the App's form in a real browser, and their Detections in the grid."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest
from playwright.sync_api import Locator, Page, expect

import facevlm
from facevlm import sources
from tests.browser import test_app as shared
from tests.browser.test_faces import hover
from tests.browser.test_remote import CALM, TRIES
from tests.remote.onlooker import Onlooker
from tests.remote.server import Server, running

app, page, pytestmark = shared.app, shared.page, shared.pytestmark


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path))


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources.sample_groups(dataset_name)


def fill_in(page: Page, server: Server) -> Locator:
    """The form with a model of the server, one attribute and one question in words."""
    form = shared.open_operator(page, "Describe people in pictures")
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
    page.wait_for_timeout(CALM)
    shared.tick(form, "Clothing")
    expect(form).to_contain_text(f"8 pictures go to 127.0.0.1:{server.port}", timeout=20_000)
    return form


def test_people_are_described_from_the_form(page: Page, app: str, groups: fo.Dataset) -> None:
    with running(Onlooker.of(groups, ["gender"])) as server:
        for left in reversed(range(TRIES)):
            shared.open_dataset(page, app, groups)
            try:
                form = fill_in(page, server)
                break
            except AssertionError:
                assert left, "the form was not resolved"
        for k, text in enumerate(("Service", "Whom to ask about", "Answered in a few words", "8 pictures go to")):
            form.get_by_text(text).first.scroll_into_view_if_needed()
            shared.shoot(page, f"describe-form-{k}")
        assert server.served == 0
        form.get_by_role("button", name="Execute").click()
        page.get_by_text("8 pictures asked").wait_for()
        shared.shoot(page, "describe-result")
        shared.finish(page)
        assert len(server.asked) == 8
    groups.reload()
    assert groups.count_values("m_people.outcome") == {"ok": 8}
    assert groups.count("m_people.detections.clothing") == 28
    page.wait_for_selector("[data-cy=looker]")
    page.wait_for_timeout(CALM)
    shared.shoot(page, "describe-grid")


def test_who_is_nowhere_has_no_frame_but_a_label_in_the_corner(page: Page, app: str, groups: fo.Dataset) -> None:
    onlooker = Onlooker.of(groups, ["gender"])
    lost = {"number": None, "clothing": "an old hat"}
    onlooker.spoil = lambda people: [*people, lost]
    with running(onlooker) as server:
        asked = {"free": ["clothing"], "faces": "faces", "mark": "numbers", "base_url": server.base_url}
        facevlm.describe(groups.limit(1), "openai:m", prefix="m", progress=False, **asked)
    shared.open_dataset(page, app, groups)
    page.wait_for_timeout(CALM)
    page.locator("[data-cy=looker]").first.click(force=True, position={"x": 60, "y": 60})
    page.locator("[data-cy=modal-looker-container]").first.wait_for()
    page.wait_for_timeout(CALM)
    sample = groups.first()
    assert sample.m_people.detections[-1].bounding_box == [0, 0, 0, 0]
    hover(page, sample, sample.m_people.detections[-1].bounding_box)
    page.get_by_text("an old hat", exact=True).first.wait_for()
    page.get_by_text("meets none of the").first.wait_for()
    shared.shoot(page, "describe-nowhere")
