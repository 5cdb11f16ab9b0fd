"""What a user imports: light, typed, and named as the README says."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import facevlm
from tests.project import ROOT, pyproject
from tests.servers import warm


def test_importing_facevlm_loads_nothing_heavy() -> None:
    code = f"import sys, facevlm; print({set(HEAVY)} & set(sys.modules))"
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


IMPORTS = (
    "from facevlm import FacevlmError, Options, Prediction, Registry, Remote, Reply, Backend, BackendInfo",
    "from facevlm import ApplyResult, AskResult, CheckResult, DescribeResult, DetectResult, EvaluationResult",
    "from facevlm import images",
    "from facevlm import pipeline",
    "from facevlm import attributes, batch, datasets, paper, sources",
    "from facevlm.attributes import define, get",
    "from facevlm.attributes import Registry, load, shipped",
    "from facevlm.backends import Backend, BackendInfo, Briefing, Options, Remote, Secrets",
    "from facevlm.backends import Batching, Checker, Describing, Hosted, Speaker, Speller, Streaming",
    "from facevlm.backends import Options, loading, local, memory, open_backend",
    "from facevlm.backends import Options, memory",
    "from facevlm.backends import checkpoint",
    "from facevlm.backends import checkpoint as checkpoint_module",
    "from facevlm.backends.cards import find, location, questions_for",
    "from facevlm.backends.checkpoint import Checkpoint",
    "from facevlm.backends.families import FamilyInfo",
    "from facevlm.backends.families.base import Family",
    "from facevlm.backends.local import LocalBackend",
    "from facevlm.cli import main",
    "from facevlm.datasets import samples",
    "from facevlm.datasets import READERS, DatasetCard, FaceBox, Log, Reader, Record, reader, readers",
    "from facevlm.datasets import build_diversefaces, load",
    "from facevlm.datasets import FairFaceDataset, FaceTableDataset",
    "from facevlm.detection import Detector, DetectorInfo, FoundFace, Search, open_detector",
    "from facevlm.doors import Addition, PackageWarning, load",
    "from facevlm.errors import FacevlmError",
    "from facevlm.evaluation import Records, evaluate",
    "from facevlm.types import Attribute, Face, Prediction, Question, Reply",
    "import facevlm; facevlm.apply, facevlm.evaluate, facevlm.detect, facevlm.check, facevlm.compare",
    "import facevlm; facevlm.sensitivity, facevlm.sources.sample_faces, facevlm.sources.folder, facevlm.datasets.load",
    "import facevlm.backends as B; B._loaded, B.open_backend",
)
"""What code of others imports; it goes on to work when a file moves."""
HEAVY = ("torch", "transformers", "fiftyone", "openai")
EACH_ANEW = """
import sys
for line in {imports}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "facevlm"]:
        del sys.modules[name]
    exec(line, {{}})
    print("imported:", line)
"""


def test_names_that_others_build_on_are_importable_each_by_itself() -> None:
    done = warm.run(EACH_ANEW.format(imports=IMPORTS))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"imported: {line}" for line in IMPORTS]


@pytest.mark.parametrize(
    "line",
    [
        "from facevlm import Options, Remote, Reply, Registry, FacevlmError, Backend, BackendInfo, datasets",
        "from facevlm.backends import Options, open_backend; from facevlm.datasets import READERS, reader",
        "from facevlm.detection import names; from facevlm.backends.cards import find; find('demo'), names()",
    ],
)
def test_what_is_looked_up_by_name_loads_nothing_heavy(line: str) -> None:
    code = f"import sys; {line}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("module", ["facevlm", "facevlm.backends", "facevlm.datasets"])
def test_a_name_that_is_nowhere_is_said_to_be_missing(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing_of_this'"):
        importlib.import_module(module).nothing_of_this  # noqa: B018


FROM_A_CLONE = """
import pickle, sys
import facevlm
import facevlm.tasks.evaluate
from facevlm.types import Reply
from facevlm import attributes
from importlib import resources
assert pickle.loads(pickle.dumps(Reply(text="x"))) == Reply(text="x")
assert (resources.files("facevlm") / "assets" / "attributes.yaml").is_file()
print(facevlm.__name__, facevlm.apply.__module__, facevlm.__file__, facevlm.types.__file__)
"""
IN_A_CHILD = """
import multiprocessing
import facevlm.folders
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(facevlm.folders.cache))
"""
BARE = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]"
"""Whoever has a clone need not have installed the library."""


def beside_a_clone(tmp_path: Path, *arguments: str) -> str:
    """What Python says in a folder that holds a clone named facevlm, and no other copy of it on its path."""
    if not (tmp_path / "facevlm").exists():
        (tmp_path / "facevlm").symlink_to(ROOT)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, env=kept, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_clone_in_the_current_folder_is_the_library(tmp_path: Path) -> None:
    clone = tmp_path / "facevlm" / "facevlm"
    name, room, *files = beside_a_clone(tmp_path, "-c", f"{BARE}\n{FROM_A_CLONE}").split()
    assert (name, room) == ("facevlm", "facevlm.tasks.apply")
    assert [Path(file) for file in files] == [clone.resolve() / "__init__.py", clone.resolve() / "types.py"]


def test_a_clone_in_the_current_folder_has_its_command_line(tmp_path: Path) -> None:
    assert beside_a_clone(tmp_path, "-m", "facevlm", "--version") == f"facevlm {facevlm.__version__}\n"
    assert beside_a_clone(tmp_path, "-m", "facevlm.cli", "--version") == f"facevlm {facevlm.__version__}\n"


def test_processes_that_are_started_beside_a_clone_find_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(IN_A_CHILD)
    assert beside_a_clone(tmp_path, "script.py").strip()


def test_a_clone_that_is_the_library_is_a_plugin_still(tmp_path: Path) -> None:
    code = (
        "import facevlm, sys, fiftyone as fo, fiftyone.operators as foo; kept = sys.modules['facevlm']\n"
        "print(len([o for o in foo.list_operators(builtin=False) if 'facevlm' in o.uri]), facevlm is kept)"
    )
    assert beside_a_clone(tmp_path, "-c", f"{BARE}\n{code}").split() == [str(len(listed())), "True"]


def listed() -> list[str]:
    """Operators and panels of the plugin."""
    described = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    return [*described["operators"], *described["panels"]]
