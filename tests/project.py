"""The files of this checkout that tests read as a user would: pyproject.toml, pages, and the modules as syntax."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
CODE = ("facevlm", "operators")


def pyproject() -> dict[str, Any]:
    """The plain data of pyproject.toml."""
    data: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return data


def layers() -> list[str]:
    """The layers of the import contract, the highest first."""
    [contract] = [c for c in pyproject()["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    return list(contract["layers"])


def section(page: str, heading: str) -> str:
    """What stands under a heading of the second order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section '{heading}'"
    return found[1]


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the library and the plugin: its path in this checkout, and its syntax tree."""
    for package in CODE:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))
