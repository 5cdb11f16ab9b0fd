"""What the guide and CONTRIBUTING say about packages of one's own is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facevlm import attributes, detection, doors
from facevlm.backends import Options
from facevlm.detection import Search
from facevlm.types import Question

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
GROUP = re.compile(r'\[project\.entry-points\."(facevlm\.\w+)"\]')


@pytest.fixture(scope="module")
def package() -> dict[str, Any]:
    """The names that the module of the guide defines."""
    [code] = re.findall(r"```python\n# facevlm_grey\.py\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "facevlm_grey.py", "exec"), names)
    return names


def test_every_group_is_explained_and_has_an_example() -> None:
    rows = re.findall(r"^\| `(facevlm\.\w+)` \|", GUIDE, re.MULTILINE)
    assert sorted(rows) == sorted(doors.GROUPS.values())
    example = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert sorted(GROUP.findall(example)) == sorted(doors.GROUPS.values())
    shown = dict(re.findall(r'^(\w+) = "(facevlm_moods[\w.]*:\w+)"$', example, re.MULTILINE))
    declared = (Path(__file__).parent / "third_party" / "pyproject.toml").read_text(encoding="utf-8")
    assert len(shown) == len(doors.GROUPS)
    assert all(f'\n{name} = "{place}"\n' in declared for name, place in shown.items())


def test_the_package_of_the_guide_works(package: dict[str, Any]) -> None:
    declared = dict(re.findall(r'^(\w+) = "facevlm_grey:(\w+)"$', GUIDE, re.MULTILINE))
    assert declared == {"moods": "moods", "grey": "Grey", "middle": "open_middle"}
    registry = attributes.shipped().plus(package["moods"]())
    mood = registry.get("mood")
    grey = package["Grey"]("128", Options(), ["mood"], None)
    pictures = [Image.new("RGB", (9, 9), (level,) * 3) for level in (20, 220)]
    question = Question(mood, mood.question, tuple((label,) for label in mood.labels))
    assert [[reply.text for reply in row] for row in grey.answer(pictures, [question])] == [["calm"], ["tense"]]
    assert grey.info.model == "grey:128"
    [looked, _] = detection.look(package["open_middle"](Search()), pictures)
    assert (looked.outcome, looked.faces[0].box_xywh_rel) == ("ok", (0.25, 0.25, 0.5, 0.5))


def test_the_links_of_the_guide_lead_somewhere() -> None:
    links = re.findall(r"\]\((\.\./[^)]+)\)", GUIDE)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
