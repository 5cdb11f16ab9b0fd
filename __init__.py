"""The plugin's and the model zoo's face for FiftyOne. Light: everything heavy is imported when it is used.

FiftyOne imports this file anew at every registry build and for every zoo model, under names of its own; the core is
therefore always imported as ``facevlm``, installed or from this folder, so that there is one copy of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent


def _provide(package: str) -> None:
    """Make ``import <package>`` work: the installed one, else the one that this folder belongs to."""
    if not _is_core(sys.modules.get(package)) and not _is_installed(package):
        _load(package)


def _load(package: str) -> None:
    """Import the package that this folder holds, or in which it lies, in the place of what goes by its name."""
    folder = next((place for place in (ROOT / package, ROOT.parent) if _holds_core(place)), None)
    if folder is None:
        raise ImportError(f"{ROOT} comes without {package}. Install it (pip install facevlm), or the plugin again")
    spec = importlib.util.spec_from_file_location(
        package, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package; download the plugin again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


def _holds_core(folder: Path) -> bool:
    """Not so for a folder of that name on the path that holds plugins or zoo models, or is this one."""
    return (folder / "types.py").is_file() and (folder / "__init__.py").is_file()


def _is_core(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and _holds_core(Path(file).parent)


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    return spec is not None and spec.origin is not None and _holds_core(Path(spec.origin).parent)


def _core(module: str) -> Any:
    _provide("facevlm")
    return importlib.import_module(f"facevlm.{module}")


def register(plugin: Any) -> None:
    """Called by FiftyOne: register the operators."""
    _provide("facevlm")
    shell = importlib.import_module(".operators", __name__)
    for operator in shell.OPERATORS:
        plugin.register(operator)
    _core("store.model_evaluation").keep_custom_metrics()


def _card_name(model_name: str) -> str:
    """``demo`` for facevlm/demo."""
    return model_name.partition("/")[2]


def download_model(model_name: str, model_path: str) -> None:
    """Called by FiftyOne's model zoo: leave the file by which it knows that the model may be loaded.

    Weights are fetched by :func:`load_model`, which knows the attributes: of a model with a checkpoint for each, only
    those that are needed.
    """
    note = f"{model_name} keeps its weights in the cache of huggingface_hub, and fetches them when it is loaded.\n"
    Path(model_path).write_text(note, encoding="utf-8")


def load_model(model_name: str, model_path: str, attributes: Any = (), registry: Any = None, **options: Any) -> Any:
    """Called by FiftyOne's model zoo: the model, asked about ``attributes``; arguments as in ``facevlm.apply``."""
    name = _card_name(model_name)
    chosen = _core("backends.choice").resolve_attributes(attributes, _core("backends.cards").find(name), registry)
    return _core("store.zoo").load(name, chosen, **options)


def resolve_input(model_name: str, ctx: Any) -> Any:
    """Called by FiftyOne's model zoo: the form for what ``load_model`` needs to know."""
    return _core("store.zoo").form(_card_name(model_name))


if __name__ == "facevlm":
    # Python stands in a folder that holds a clone of that name: what is meant is the library in it.
    _load(__name__)
