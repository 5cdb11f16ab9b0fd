"""Every test of remote models has a reply cache, and an environment without keys, of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.types import Question


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FACEVLM_CACHE", str(folder))
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("OPENAI_") or name == "FACEVLM_PRICES":
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def questions() -> list[Question]:
    return questions_for(find("openai:m"), [get("gender"), get("age5")])
