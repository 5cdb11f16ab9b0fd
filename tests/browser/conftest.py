"""The App and a browser for every test here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from playwright.sync_api import BrowserContext, Error, Page, expect, sync_playwright

from facevlm.tasks import sources as sources_task
from tests.browser.driving import NOTE, PATIENCE, STILL, shoot
from tests.chromium import CHROMIUM
from tests.ports import free_port
from tests.servers import tied
from tests.waiting import until

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVER = Path(fo.__file__).parent / "server" / "main.py"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What the page said and showed when a test failed."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and isinstance(page, Page):
        try:
            report.sections.append(("the page", page.inner_text("body", timeout=5_000)))
            shoot(page, f"failed-{item.name}")
        except Error as gone:
            report.sections.append(("the page", f"cannot be read: {gone}"))
    return report


@pytest.fixture(scope="session")
def app() -> Iterator[str]:
    """A FiftyOne server of its own, as ``fo.launch_app`` starts it; yields its address.

    Without the session that comes with it, which would tell the page what to show. It fetches nothing.
    """
    port = free_port()
    command = [sys.executable, str(SERVER), "--port", str(port), "--address", "127.0.0.1"]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return True
        return False

    with tied.running(command, stdout=subprocess.DEVNULL, env=offline) as server:
        until(answers, "the App's server answers")
        yield address


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser's own folder, where it keeps what it has compiled of the App."""
    return tmp_path_factory.mktemp("profile")


# Not for the session: while it lives, no other test can run an event loop.
@pytest.fixture(scope="module")
def browser(profile: Path) -> Iterator[BrowserContext]:
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, viewport={"width": 1500, "height": 950}
        )
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        context.route("**/fonts.g*", lambda route: route.abort())
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A page of its own, which knows nothing of the test before."""
    opened = browser.new_page()
    opened.add_init_script(NOTE)
    opened.add_init_script(STILL)
    yield opened
    opened.evaluate("localStorage.clear(); sessionStorage.clear()")
    opened.close()
    browser.clear_cookies()


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    """The shipped faces, one a picture."""
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    """The shipped group pictures, with the boxes of the faces."""
    return sources_task.sample_groups(dataset_name)
