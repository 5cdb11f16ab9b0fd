"""What a user imports: light, typed, and named as the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import facevlm
from tests.project import ROOT, pyproject


def test_importing_facevlm_loads_nothing_heavy() -> None:
    code = "import sys, facevlm; print({'torch', 'fiftyone', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there() -> None:
    for name in facevlm.__all__:
        assert getattr(facevlm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'aply'"):
        facevlm.aply  # noqa: B018


def test_the_version_is_one() -> None:
    project = pyproject()
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "facevlm.__version__"}
    assert yaml.safe_load((ROOT / "fiftyone.yml").read_text())["version"] == facevlm.__version__
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0].split()[0] == facevlm.__version__


def test_the_readme_speaks_of_commands_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "app"):
        assert f"make {target}" in text
        assert f"\n{target}: " in makefile
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    for file, _, heading in (link.partition("#") for link in links if not link.startswith("http")):
        assert (ROOT / file).exists()
        assert not heading or heading in anchors(ROOT / file)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
