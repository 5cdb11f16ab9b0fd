"""The plugin's face for FiftyOne. Light: everything heavy is imported when an operator runs.

FiftyOne imports this file anew at every registry build, under a name of its own; the core is therefore
always imported as ``facevlm``, installed or from this folder, so that there is one copy of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent


def _provide(package: str) -> None:
    """Make ``import <package>`` work: the installed one, else the one in this folder."""
    if package in sys.modules or importlib.util.find_spec(package) is not None:
        return
    folder = ROOT / package
    spec = importlib.util.spec_from_file_location(
        package, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package; download the plugin again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


def register(plugin: Any) -> None:
    """Called by FiftyOne: register the operators."""
    _provide("facevlm")
    shell = importlib.import_module(".operators", __name__)
    for operator in shell.OPERATORS:
        plugin.register(operator)
    importlib.import_module("facevlm.store.evaluations").keep_custom_metrics()
