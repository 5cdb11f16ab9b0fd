"""What a release uploads: a wheel that brings the plugin along, a source distribution that can be tested."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import facevlm
from tests.project import ROOT, pyproject

BUILD = """
import sys
from setuptools import build_meta
sys.argv[1:] = []
print(build_meta.build_{kind}({out!r}))
"""
LISTED = """
import json, sys
import fiftyone as fo, fiftyone.operators as foo, fiftyone.plugins as fop
import facevlm
from fiftyone.operators.registry import OperatorRegistry
registry = OperatorRegistry()
print(json.dumps({
    "library": facevlm.__file__,
    "plugins": [[p.name, p.version, p.directory] for p in fop.list_plugins(builtin=False)],
    "operators": [o.uri for o in registry.list_operators(builtin=False)],
    "errors": registry.list_errors(),
}))
"""
LINKS = re.compile(r"\]\(([^)\s]+)\)")


def built(kind: str, source: Path, out: Path) -> Path:
    """The file that setuptools makes of a source, which is left as it is."""
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind=kind, out=str(out))], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    clone, out = tmp_path_factory.mktemp("clone") / "facevlm", tmp_path_factory.mktemp("out")
    left_out = shutil.ignore_patterns(
        ".git", ".venv", "*.egg-info", "build", "dist", "__pycache__", ".*_cache", ".cache"
    )
    shutil.copytree(ROOT, clone, ignore=left_out)
    packed = built("sdist", clone, out)
    with tarfile.open(packed) as archive:
        archive.extractall(out, filter="data")
    return out / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made of the source distribution, as a release makes it."""
    return built("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    done = subprocess.run([*pip, "--target", str(target), str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def test_the_source_distribution_can_be_tested(source: Path) -> None:
    ours = {
        path.relative_to(ROOT) for room in ("tests", "operators", "facevlm", "docs") for path in python(ROOT / room)
    }
    assert {path for path in ours if not (source / path).is_file()} == set()
    for name in (
        "pyproject.toml",
        "Makefile",
        "constraints.txt",
        "fiftyone.yml",
        "README.md",
        "tests/golden/report.md",
    ):
        assert (source / name).is_file(), name


def python(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if "egg-info" not in str(path)]


def test_the_wheel_holds_the_plugin_once_and_nothing_of_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    plugin = {name.removeprefix("facevlm/_plugin/") for name in names if name.startswith("facevlm/_plugin/")}
    operators = {str(path.relative_to(ROOT)) for path in (ROOT / "operators").rglob("*.py")}
    assert plugin == operators | {"__init__.py", "fiftyone.yml", "requirements.txt"}
    assert {name.split("/")[0] for name in names} == {"facevlm", f"facevlm-{facevlm.__version__}.dist-info"}


def environment(site: Path, home: Path) -> dict[str, str]:
    """Of a user of their own, who has the wheel and no other copy of facevlm before it."""
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k not in ("FIFTYONE_PLUGINS_DIR", "FIFTYONE_DEFAULT_DATASET_DIR")}
    return kept | {"PYTHONPATH": str(site), "HOME": str(home)}


def said(site: Path, home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=home.parent, env=environment(site, home), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
def test_the_plugin_of_the_wheel_is_installed_and_its_operators_are_listed(installed: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    told = said(installed, home, "-m", "facevlm", "plugin", "install")
    link = home / "fiftyone" / "__plugins__" / "face-attributes"
    assert f"Linked {link} to {installed / 'facevlm' / '_plugin'}." in told
    listed: dict[str, Any] = json.loads(said(installed, home, "-c", LISTED).splitlines()[-1])
    assert listed["library"] == str(installed / "facevlm" / "__init__.py")
    assert listed["plugins"] == [["@facevlm/face-attributes", facevlm.__version__, str(link)]]
    described = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    names = [*described["operators"], *described["panels"]]
    assert sorted(listed["operators"]) == sorted(f"{described['name']}/{name}" for name in names)
    assert listed["errors"] == []
    said(installed, home, "-m", "facevlm", "plugin", "uninstall")
    assert not link.is_symlink()


def test_the_metadata_are_fit_to_be_published(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(packed.read(name))
        licences = {name.split("/licenses/")[1] for name in packed.namelist() if "/licenses/" in name}
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-4.0 AND LicenseRef-facevlm-demo-weights"
    assert licences == set(pyproject()["project"]["license-files"])
    assert metadata["Author"]
    pythons = {c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if "Python :: 3." in c}
    assert pythons == {f"3.{minor}" for minor in range(10, 14)}
    assert all("USER" not in url for url in metadata.get_all("Project-URL", []))
    links = LINKS.findall(str(metadata.get_payload()))
    assert links
    assert all(link.startswith("https://") for link in links), "nothing lies beside the page of a package"
