"""A real browser for tests; without one they skip."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = os.environ.get("FACEVLM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = os.environ.get("FACEVLM_SCREENSHOTS")
"""The folder that screenshots go to, if they are wanted."""

needed = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium, or set FACEVLM_CHROMIUM"),
]
