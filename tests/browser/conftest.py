"""The App and a browser for every test here."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from facevlm import sources
from tests.browser.driving import PATIENCE
from tests.chromium import CHROMIUM
from tests.ports import free_port

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVE = """
import sys
import fiftyone as fo
session = fo.launch_app(remote=True, port=int(sys.argv[1]), address="127.0.0.1")
session.wait(-1)
"""


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """A FiftyOne server of its own; yields its address."""
    port = free_port()
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
        expect.set_options(timeout=PATIENCE)
        context.route("**/fonts.g*", lambda route: route.abort())
        yield context.pages[0]
        context.close()


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    """The shipped faces, one a picture."""
    return sources.sample_faces(dataset_name)


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    """The shipped group pictures, with the boxes of the faces."""
    return sources.sample_groups(dataset_name)
