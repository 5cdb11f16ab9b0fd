"""The house rules: what may import what, how many modules lie flat, how long an argument list is, one class a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.project import CODE, ROOT, layers, modules, pyproject, section

MOST_FLAT, MOST_LAYERS, MOST_PARAMETERS = 6, 12, 12


def test_contributing_tells_the_layers_as_the_contract_has_them() -> None:
    text = section("CONTRIBUTING.md", "What may import what")
    assert text.split("```text\n")[1].split("\n```")[0].splitlines() == layers()


def test_contributing_has_a_line_for_every_room() -> None:
    rooms = section("CONTRIBUTING.md", "Rooms")
    for path in (ROOT / "facevlm").iterdir():
        if (path / "__init__.py").is_file() or path.name == "assets":
            assert f"\n| `facevlm/{path.name}/` | " in rooms
        elif path.suffix == ".py" and not path.stem.startswith("__"):
            assert f"`{path.stem}`" in rooms


def test_every_room_stands_in_the_contract() -> None:
    placed = {name.strip() for layer in layers() for name in layer.split("|")}
    flat = {f"facevlm.{path.stem}" for path in (ROOT / "facevlm").glob("*.py") if not path.stem.startswith("__")}
    rooms = {f"facevlm.{path.parent.name}" for path in (ROOT / "facevlm").glob("*/__init__.py")}
    assert placed == flat | rooms | {"operators"}


def test_the_house_is_low_and_its_hall_is_empty() -> None:
    flat = [path.stem for path in (ROOT / "facevlm").glob("*.py") if not path.stem.startswith("__")]
    assert len(flat) <= MOST_FLAT, flat
    assert len(layers()) <= MOST_LAYERS


def test_every_package_is_shipped() -> None:
    shipped = pyproject()["tool"]["setuptools"]["packages"]
    folders = {path.parent for room in CODE for path in (ROOT / room).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    rooms = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    plugin = ["facevlm._plugin", *(f"facevlm._plugin.{room}" for room in rooms if room.startswith("operators"))]
    assert sorted(shipped) == sorted([*(room for room in rooms if room.startswith("facevlm")), *plugin])


def test_argument_lists_are_short() -> None:
    long = {f"{path}: {function.name} takes {n}" for path, function, n in _functions() if n > MOST_PARAMETERS}
    assert long == set()


def _functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Path, function and the number of its named parameters, without ``self`` or ``cls``."""
    counted = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                counted.append((path, node, len(names) - (names[:1] in (["self"], ["cls"]))))
    return counted


def test_a_class_name_means_one_class() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
    assert {path.split("/")[0] for path, _ in modules()} == set(CODE)


def test_every_module_says_what_it_is_for() -> None:
    bare = [path for path, tree in modules() if not ast.get_docstring(tree) and Path(path).name != "__main__.py"]
    assert bare == []
