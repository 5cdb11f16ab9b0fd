"""A report in the App: what it comes to is read at once, it is opened in a tab and downloaded."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest
from playwright.sync_api import Download, Page, expect

import facevlm
from operators.report import LABEL
from tests import chromium
from tests.browser import driving

pytestmark = chromium.needed


@pytest.fixture
def judged(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["emotion7"], progress=False)
    facevlm.evaluate(faces, draws=20)
    return faces


def downloaded(page: Page) -> Download:
    """What the browser saves once the button is pressed."""
    saved: list[Download] = []
    page.on("download", lambda download: saved.append(download))
    button = page.get_by_role("button", name="Download the report")
    driving.repeat(page, lambda: button.click(timeout=driving.STEP), lambda: bool(saved), "download the report")
    return saved[0]


def opened(page: Page) -> Page:
    """The tab that the link opens."""
    tabs: list[Page] = []
    page.context.on("page", lambda tab: tabs.append(tab))
    link = page.get_by_role("link", name="Open the report")
    driving.repeat(page, lambda: link.click(timeout=driving.STEP), lambda: bool(tabs), "open the report")
    return tabs[0]


def test_a_report_is_read_opened_and_downloaded(page: Page, app: str, judged: fo.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "a report's folder"
    driving.open_dataset(page, app, judged)
    form = driving.open_operator(page, LABEL)
    driving.write(page, driving.field(form, "Folder"), str(folder), folder=str(folder))
    driving.execute(page, form, "Judged by the ground truth")
    expect(page.get_by_text("It is worst for emotion 'happy' in emotion7: 50.0 % of 48 faces").first).to_be_visible()
    driving.shoot(page, "report-written")
    written = (folder / "report.html").read_bytes()
    saved = downloaded(page)
    assert saved.suggested_filename == f"{judged.name}-report.html"
    assert Path(saved.path()).read_bytes() == written
    tab = opened(page)
    expect(tab.get_by_role("heading", level=1)).to_contain_text("Perceived face attributes")
    expect(tab.get_by_text("Judged by the ground truth").first).to_be_visible()
    driving.shoot(tab, "report-opened")
    tab.close()
    driving.finish(page)
    # A report that was written before, or by a scheduled run, is there in the form.
    form = driving.open_operator(page, LABEL)
    driving.write(page, driving.field(form, "Folder"), str(folder), folder=str(folder))
    expect(form.get_by_text("This folder holds a report of").first).to_be_visible()
    driving.shoot(page, "report-earlier")
    assert Path(downloaded(page).path()).read_bytes() == written
