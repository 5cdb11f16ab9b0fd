"""Where facevlm finds what is shipped with it, and keeps what it may lose."""

from __future__ import annotations

import os
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
"""What is shipped beside the code."""


def cache() -> Path:
    """``FACEVLM_CACHE``, or facevlm's folder in the user's cache."""
    own = os.environ.get("FACEVLM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(own) if own else Path(base) / "facevlm"
