"""The App in a real browser: both operators through their forms, the labels and the evaluation on the page."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect, sync_playwright

from facevlm import sources
from tests import chromium
from tests.chromium import CHROMIUM, SHOTS

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 90_000

pytestmark = chromium.needed

SERVE = """
import sys
import fiftyone as fo
session = fo.launch_app(remote=True, port=int(sys.argv[1]), address="127.0.0.1")
session.wait(-1)
"""


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """A FiftyOne server of its own; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as profile:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, viewport={"width": 1500, "height": 950}
        )
        context.set_default_timeout(PATIENCE)
        context.route("**/fonts.g*", lambda route: route.abort())
        yield context.pages[0]
        context.close()


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources.sample_faces(dataset_name)


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


def open_operator(page: Page, label: str) -> Locator:
    """Through the operator browser; returns the form."""
    page.keyboard.press("Backquote")
    page.fill("[data-cy=operators-browser-search]", label)
    page.keyboard.press("Enter")
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.wait_for()
    return form


def tick(form: Locator, title: str) -> None:
    form.get_by_label(title, exact=False).first.check(force=True)


def finish(page: Page) -> None:
    page.get_by_role("button", name="Done").click()


def test_apply_and_evaluate_through_their_forms(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Apply VLM face attributes")
    expect(form).to_contain_text("perceives")
    expect(form).to_contain_text("Tick at least one attribute")
    tick(form, "Perceived gender")
    tick(form, "Perceived race")
    expect(form).not_to_contain_text("Tick at least one attribute")
    shoot(page, "apply-form")
    form.get_by_role("button", name="Execute").click()
    page.get_by_text("96 faces asked").wait_for()
    shoot(page, "apply-result")
    finish(page)
    faces.reload()
    assert faces.count_values("demo_gender.outcome") == {"ok": 96}
    assert faces.get_field("demo_age5") is None
    page.locator("[data-cy=tag-demo_gender]").first.wait_for()
    label = faces.first().demo_gender.label
    expect(page.locator("[data-cy=tag-demo_gender]").first).to_have_text(label)
    shoot(page, "labels-in-grid")

    form = open_operator(page, "Evaluate face attributes against ground truth")
    expect(form).to_contain_text("race7 -> race5")
    shoot(page, "evaluate-form")
    form.get_by_role("button", name="Execute").click()
    page.get_by_text("demo_eval_gender_errors").first.wait_for()
    shoot(page, "evaluate-result")
    finish(page)
    faces.reload()
    assert faces.list_evaluations() == ["demo_eval_gender", "demo_eval_race5"]
    # The workspace of errors is open: the panel of errors in front, FiftyOne's own behind it.
    page.get_by_text("All labels are perceived or apparent").wait_for()
    shoot(page, "workspace-after-evaluate")
    page.locator("[data-cy=panel-tab-model_evaluation_panel_builtin]").click()
    # The name stands in the sidebar, too.
    page.get_by_text("2 Model Evaluations").wait_for()
    page.get_by_text("demo_eval_race5").last.click()
    row = page.get_by_role("row").filter(has_text="Macro F1")
    stored = faces.load_run_results("facevlm_demo_eval").evaluations
    value = next(e["overall"]["f1"] for e in stored if e["attribute"] == "race5")
    expect(row).to_contain_text(f"{value:.3f}".rstrip("0"), timeout=PATIENCE)
    page.wait_for_selector("[data-cy=tag-demo_race5]")
    shoot(page, "model-evaluation")


def test_bad_input_is_said_in_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Apply VLM face attributes")
    tick(form, "Perceived gender")
    # The App breaks off where a field changes while the form is still being resolved for the last change.
    expect(form).not_to_contain_text("Tick at least one attribute", timeout=PATIENCE)
    form.get_by_role("textbox").first.fill("9 faces")
    expect(form).to_contain_text("expected letters, digits and underscores", timeout=PATIENCE)
    shoot(page, "bad-prefix")
    page.keyboard.press("Escape")
    faces.reload()
    assert faces.list_runs() == []


def test_evaluate_before_apply_says_what_to_do(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Evaluate face attributes against ground truth")
    expect(form).to_contain_text("holds no predictions")
