"""Questions to models behind an API."""

from __future__ import annotations

import pytest

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.types import Question


@pytest.fixture
def questions() -> list[Question]:
    return questions_for(find("openai:m"), [get("gender"), get("age5")])
