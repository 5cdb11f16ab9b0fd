"""The page in a real browser: narrow, dark, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from facevlm import reports
from facevlm.attributes import define
from facevlm.evaluation.evaluate import Records, evaluate
from facevlm.reports.source import Source
from tests import chromium
from tests.chromium import CHROMIUM, SHOTS

LONG = "a_very_long_label_that_would_widen_any_table_in_which_it_stands"

pytestmark = chromium.needed


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    attribute = define("hair", ["dark", "fair", LONG], "which hair colour?")
    truth = ["dark", "fair", LONG] * 40
    groups = {"place": ["in", "out"] * 60, "another_field": [f"{LONG}_{k % 3}" for k in range(120)]}
    result = evaluate(attribute, Records(truth, ["dark"] * 120, ["ok"] * 120, groups), draws=50)
    evaluation = {"eval_key": "e", "ground_truth": {"hair": "h"}, "views": {}, "evaluations": [result.to_dict()]}
    paths = reports.write(reports.build(Source(LONG * 2, "p", evaluation)), tmp_path_factory.mktemp("page"))
    return paths[0]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_the_page_fits_any_width_and_scheme(page_file: Path, width: int, scheme: str) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{SHOTS}/report-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        box = page.evaluate("[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        folded = page.locator("details").first
        folded.locator("summary").first.click()
        opened = folded.locator("table").first.is_visible()
        browser.close()
    assert wide == width
    assert box or width > 1000
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    assert opened
    assert said == []
    assert asked == [page_file.as_uri()]


def test_the_printed_page_is_white_unfolded_and_cuts_no_table(page_file: Path) -> None:
    """On paper nothing scrolls and nothing is clicked; 182 mm is A4 within its margins, also in a dark browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 688, "height": 1000}, color_scheme="dark")
        page.goto(page_file.as_uri())
        page.emulate_media(media="print")
        wide = page.evaluate("document.documentElement.scrollWidth")
        paper, ink = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
        tables = page.locator("details table")
        folded = tables.count()
        hidden = [k for k in range(folded) if not tables.nth(k).is_visible()]
        links = page.locator("nav").is_visible()
        printed = page.pdf(format="A4", print_background=True)
        if SHOTS:
            (Path(SHOTS) / "report.pdf").write_bytes(printed)
        browser.close()
    assert wide == 688
    assert (paper, ink) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert folded > 0
    assert hidden == []
    assert not links
    assert printed.startswith(b"%PDF")
