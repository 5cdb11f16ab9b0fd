"""The plugin through FiftyOne's own loader: no errors, one copy of the core, several layouts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop
import pytest
import yaml
from fiftyone.operators.registry import OperatorRegistry

ROOT = Path(__file__).resolve().parents[2]
NAME = "@facevlm/face-attributes"
OPERATORS = (
    "apply_vlm_face_attributes",
    "ask_about_faces",
    "check_face_dataset",
    "collect_face_attribute_batches",
    "compare_face_attribute_runs",
    "describe_people",
    "detect_faces",
    "evaluate_face_attributes",
    "face_attributes_menu",
    "hide_face_attribute_run",
    "keep_sidebar_filters",
    "load_face_dataset",
    "measure_wording_sensitivity",
    "plan_number_of_faces",
    "stop_face_attribute_runs",
    "train_face_attribute_model",
    "try_on_one_face",
    "write_face_attribute_report",
)
PANELS = ("face_attribute_errors",)
URIS = {f"{NAME}/{name}" for name in (*OPERATORS, *PANELS)}

UNINSTALLED = """
import importlib.util, sys
root = {root!r}
sys.path = [p for p in sys.path if p not in ("", root)]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
assert importlib.util.find_spec("facevlm") is None
spec = importlib.util.spec_from_file_location("plugin", root + "/__init__.py", submodule_search_locations=[root])
module = sys.modules["plugin"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module._provide("facevlm")
import facevlm.types
assert facevlm.types.__file__.startswith(root)
print("provided")
"""


def operators() -> OperatorRegistry:
    return OperatorRegistry()


def test_both_operators_are_registered_without_errors() -> None:
    registry = operators()
    assert registry.list_errors() == []
    assert {o.uri for o in registry.list_operators(builtin=False)} == URIS


def test_fiftyone_yml_names_every_operator() -> None:
    described = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    assert {f"{described['name']}/{name}" for name in (*described["operators"], *described["panels"])} == URIS


def test_there_is_one_copy_of_every_core_module() -> None:
    operators()
    operators()
    copies = [name for name in sys.modules if name.endswith((".facevlm.types", ".facevlm.errors"))]
    assert copies == []
    shells = [m for name, m in sys.modules.items() if name.endswith(".operators.apply") and "plugins" in name]
    assert shells
    assert all(shell.ApplyRun.__module__ == "facevlm.tasks.apply" for shell in shells)


def test_the_core_is_provided_where_it_is_not_installed(tmp_path: Path) -> None:
    code = UNINSTALLED.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={})
    assert done.stdout == "provided\n", done.stderr


@pytest.mark.parametrize("layout", ["symlink", "folder itself", "download"])
def test_the_plugin_is_found_in_every_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "plugins"
    if layout == "symlink":
        folder.mkdir()
        (folder / "any-name").symlink_to(ROOT)
    elif layout == "download":
        (folder / "facevlm" / "facevlm").mkdir(parents=True)
        (folder / "facevlm" / "facevlm" / "fiftyone.yml").write_text((ROOT / "fiftyone.yml").read_text())
    monkeypatch.setattr(fo.config, "plugins_dir", str(ROOT if layout == "folder itself" else folder))
    assert [p.name for p in fop.list_plugins(builtin=False)] == [NAME]


def test_requirements_of_the_plugin_are_those_of_the_package() -> None:
    listed = set((ROOT / "requirements.txt").read_text().split("\n")) - {""}
    package = (ROOT / "pyproject.toml").read_text()
    assert listed
    assert all(f'"{line}"' in package for line in listed)
