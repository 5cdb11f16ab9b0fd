"""What the pages name is there: modules, files, links, commands; and every word of the glossary in the code."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facevlm import doors
from facevlm.backends import cards
from facevlm.cli import parser
from tests.project import ROOT

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")),
]
DOTTED = re.compile(r"(?<![\w/.@~-])facevlm(?:\.[A-Za-z_]\w*)+")
PATHS = re.compile(r"(?<![\w/.@~-])(?:facevlm|operators|tests|tools|benchmarks|docs)/[\w./-]*[\w/]")
LINKS = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCKS = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULES = re.compile(r"python -m ((?:benchmarks|tools)(?:\.\w+)+)")
NO_MODULES = {"facevlm.json", *doors.GROUPS.values()}
"""Names of a file and of groups of entry points, which read like names of modules."""
WORDS = re.findall(
    r"^\| (.+?) \| (.+?) \| `(facevlm[\w.]*)` \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE
)

paged = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def resolve(name: str) -> Any:
    """What a dotted name stands for: a module, or what is in it; raises AttributeError or ImportError.

    Where a package has a function and a module of one name, it is the module.
    """
    parts = name.split(".")
    depth = max(k for k in range(1, len(parts) + 1) if _is_module(".".join(parts[:k])))
    found: Any = importlib.import_module(".".join(parts[:depth]))
    for part in parts[depth:]:
        fields = getattr(found, "__dataclass_fields__", {})
        found = fields[part] if part in fields else getattr(found, part)
    return found


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@paged
def test_names_of_the_code_exist(page: Path) -> None:
    for name in set(DOTTED.findall(page.read_text(encoding="utf-8"))) - NO_MODULES:
        try:
            resolve(name)
        except (AttributeError, ImportError) as error:
            pytest.fail(f"{page.name} names {name}: {error}")


@paged
def test_files_of_the_checkout_exist(page: Path) -> None:
    models = {f"facevlm/{name}" for name in (*cards.shipped(), "face-attributes")}
    for path in set(PATHS.findall(page.read_text(encoding="utf-8"))) - models:
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@paged
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINKS.findall(page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} links to {link}"


@paged
def test_modules_that_are_run_exist(page: Path) -> None:
    for name in MODULES.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / (name.replace(".", "/") + ".py")).is_file(), f"{page.name} runs {name}"


@paged
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of a block that begins with facevlm is read by the parser; nothing is carried out."""
    for line in _lines(page):
        try:
            args = parser().parse_args(shlex.split(line, comments=True)[1:])
        except SystemExit as end:
            pytest.fail(f"{page.name}: '{line}' ends with {end.code}: {capsys.readouterr().err}")
        assert isinstance(args, argparse.Namespace)


def _lines(page: Path) -> Iterator[str]:
    for block in BLOCKS.findall(page.read_text(encoding="utf-8")):
        yield from (line for line in block.splitlines() if re.match(r"facevlm\b", line))


def test_a_command_that_is_not_there_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["predict", "faces", "--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "meaning", "name"), WORDS, ids=[word for word, *_ in WORDS])
def test_a_word_of_the_glossary_stands_in_the_code(word: str, meaning: str, name: str) -> None:
    assert resolve(name) is not None
    assert meaning.endswith(".")
    assert ". " not in meaning, f"'{word}' takes more than one sentence"


def test_the_glossary_is_whole() -> None:
    lines = re.findall(r"^\| (?!word \|)", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    words = [word for word, *_ in WORDS]
    assert len(lines) == len(words) == len(set(words))
    outcomes = resolve("facevlm.types.OUTCOMES")
    assert set(outcomes) <= set(words)
    assert dataclasses.is_dataclass(resolve("facevlm.types.Prediction"))


def test_the_readme_leads_to_every_page() -> None:
    links = set(LINKS.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= links


def test_the_readme_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "facevlm").iterdir():
        if (path / "__init__.py").is_file():
            assert f"`facevlm/{path.name}/`" in text
